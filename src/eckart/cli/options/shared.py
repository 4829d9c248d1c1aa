"""The options that commands share, in groups, and the objects they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import eckart
from eckart.cli.options.parsing import parse_numbers, parse_weights, usage_error
from eckart.cli.shown.output import file_to_read, say
from eckart.cli.sources.data import CALIBRATED_ON, REPORTED_ON, ImageData, open_source
from eckart.cli.sources.hub_models import Dtype, HubModel
from eckart.cli.sources.images import Batches, Preprocessing
from eckart.cli.sources.models import check_model, load_model
from eckart.cli.sources.text_data import Shown, TextData, Windows
from eckart.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from eckart.scores import Evaluate

Data = ImageData | TextData
Examples = Batches | Windows
_IMAGES_IN_A_BATCH, _SEQUENCES_IN_A_BATCH = 100, 4


def option(panel: str, help: str, *names: str, **rest: Any) -> Any:  # noqa: A002
    """An option in a panel of the help page."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **rest)


def needed(data: Data | None) -> Data:
    """The data; a usage error where none were named."""
    if data is None:
        raise usage_error(
            "--data",
            "needed here: an image folder or a Hugging Face data set; or --text for models hf:…",
        )
    return data


def judge(examples: Examples) -> Evaluate:
    """What is reported of images or of text."""
    if isinstance(examples, Windows):
        return eckart.perplexity(Shown(examples))
    return eckart.accuracy(examples)


@dataclass(frozen=True)
class ModelOptions:
    """Which network."""

    model: Annotated[
        str,
        typer.Argument(
            help="torchvision:NAME, path/to/file.py:factory, or hf: and a folder, an id on the hub "
            "or a GGUF file",
            show_default=False,
            metavar="MODEL",
        ),
    ]
    weights: Annotated[Path | None, option("Network", "Safetensors file with its weights.")] = None
    num_classes: Annotated[int | None, option("Network", "Outputs, for torchvision.", min=1)] = None
    dtype: Annotated[
        Dtype | None, option("Network", "Of the weights, for hf:; float32 if not given.")
    ] = None

    def check(self) -> None:
        """Raise ``InputError`` for what can be refused before anything is imported."""
        check_model(self.model, self.weights, self.num_classes, self.dtype)

    def tokenizer(self) -> Any:
        """The tokenizer of a model of transformers; None where there is none."""
        hub = HubModel.named(self.model)
        return None if hub is None else hub.tokenizer()

    def load(self, *, filled_later: bool = False) -> nn.Module:
        """The network, in eval mode; random weights are pointed out unless they do not matter."""
        if self.weights is None and self.model.startswith("torchvision:") and not filled_later:
            say(f"{self.model}: the weights are random; give --weights FILE.safetensors")
        return load_model(self.model, self.weights, self.num_classes, self.dtype)


@dataclass(frozen=True)
class ImageOptions:
    """Where the images are, and how they become tensors."""

    data: Annotated[
        str | None,
        option(
            "Data",
            "Folder of class/image or split/class/image; or Hugging Face data set, folder or id.",
        ),
    ] = None
    image_size: Annotated[
        int | None, option("Data", "Side of the square cut from the centre.", min=1)
    ] = None
    resize: Annotated[
        int | None,
        option("Data", "Shorter side before the cut; the image size if not given.", min=1),
    ] = None
    mean: Annotated[str, option("Data", "Subtracted from pixels in 0…1, by channel.")] = "0"
    std: Annotated[str, option("Data", "What they are then divided by, by channel.")] = "1"
    channels: Annotated[
        int | None, option("Data", "1 or 3; as the images have if not given.", min=1, max=3)
    ] = None
    image_column: Annotated[str | None, option("Data", "Name of the column of images.")] = None
    label_column: Annotated[str | None, option("Data", "Name of the column of labels.")] = None
    batch_size: Annotated[
        int | None, option("Data", "Images, 100, or sequences of text, 4, in a batch.", min=1)
    ] = None
    seed: Annotated[int, option("Data", "Of the images' order and the random probes.")] = 0

    def open(self, text: TextOptions, model: ModelOptions) -> Data | None:
        """The data, if they were named, images or text; nothing is decoded yet."""
        if text.is_given:
            if self.data is not None:
                raise usage_error("--data / --text", "give images or text, not both")
            return text.open(model, self.batch_size or _SEQUENCES_IN_A_BATCH)
        if self.data is None:
            return None
        mean, std = parse_numbers(self.mean, "--mean"), parse_numbers(self.std, "--std")
        preprocessing = Preprocessing(self.image_size, self.resize, mean, std, self.channels)
        source = open_source(self.data, self.image_column, self.label_column)
        return ImageData(source, preprocessing, self.batch_size or _IMAGES_IN_A_BATCH, self.seed)


@dataclass(frozen=True)
class TextOptions:
    """Which text a language model reads, and how it is cut."""

    text: Annotated[Path | None, option("Text", "File to calibrate on, for a model hf:….")] = None
    perplexity: Annotated[Path | None, option("Text", "File to report the perplexity of.")] = None
    sequences: Annotated[int, option("Text", "Sequences of each file to read.", min=1)] = 32
    length: Annotated[int, option("Text", "Tokens in each.", min=2)] = 512

    @property
    def is_given(self) -> bool:
        """Whether any text was named."""
        return self.text is not None or self.perplexity is not None

    def open(self, model: ModelOptions, batch_size: int) -> TextData:
        """The text, with the model's tokenizer; the files are not read yet.

        Raises:
            InputError: the model reads no text, or not so many tokens at a time.
        """
        hub = HubModel.named(model.model)
        if hub is None:
            raise usage_error("--text / --perplexity", "text is for a model of transformers, hf:…")
        for path in (self.text, self.perplexity):
            file_to_read(path)
        hub.check_reads_text(self.length, predicts=self.perplexity is not None)
        tokenizer = hub.tokenizer()
        if tokenizer is None:
            raise InputError(f"{model.model} has no tokenizer beside it, which text needs")
        return TextData(
            tokenizer, self.text, self.perplexity, self.sequences, self.length, batch_size
        )


@dataclass(frozen=True)
class CalibrationOptions:
    """Which images calibrate."""

    split: Annotated[
        str | None, option("Data", "Split to calibrate on; train, if there is one.")
    ] = None
    examples: Annotated[int, option("Data", "Images to calibrate on.", min=1)] = 2000
    outputs: Annotated[
        str | None,
        option(
            "Data",
            "Outputs of the network that count: paths or patterns, with commas between, and "
            "weights such as boxes=2; all if not given.",
        ),
    ] = None

    @property
    def chosen(self) -> dict[str, float] | None:
        """The outputs that count, with their weights; None is all of them."""
        return None if self.outputs is None else parse_weights(self.outputs, "--outputs")

    def named(self, data: ImageData) -> str:
        """The split."""
        return data.split_named(self.split, CALIBRATED_ON, "--split")

    def take(self, data: Data | None) -> Examples:
        """The images, which need no labels, or the text."""
        data = needed(data)
        if isinstance(data, TextData):
            return data.calibration()
        return data.take(self.named(data), self.examples, labelled=False)

    def reserve(self, data: Data, examples: int) -> None:
        """Let what follows leave these out; they calibrated in an earlier run."""
        if isinstance(data, TextData):
            data.reserve(examples)
            return
        split = data.guess_split(self.split, CALIBRATED_ON)
        if split is not None:
            data.reserve(split, examples)


@dataclass(frozen=True)
class EvaluationOptions:
    """Which images are reported on."""

    eval_split: Annotated[
        str | None, option("Data", "Split to report on; test or validation, if there is one.")
    ] = None
    eval_examples: Annotated[
        int | None, option("Data", "Images to report on; all if not given.", min=1)
    ] = None

    def named(self, data: Data | None) -> bool:
        """Whether there is anything to report on."""
        return data.reported_on is not None if isinstance(data, TextData) else data is not None

    def take(self, data: Data | None) -> Examples:
        """The images or the text, without what was used before."""
        data = needed(data)
        if isinstance(data, TextData):
            return data.report()
        split = data.split_named(self.eval_split, REPORTED_ON, "--eval-split")
        return data.take(split, self.eval_examples, labelled=True)


@dataclass(frozen=True)
class SelectionOptions:
    """Which images choose among networks."""

    select_split: Annotated[
        str | None,
        option("Data", "Split to meet a tolerance on; the one calibrated on if not given."),
    ] = None
    select_examples: Annotated[int, option("Data", "Images to meet a tolerance on.", min=1)] = 2000

    def take(self, data: Data | None, calibration: CalibrationOptions) -> Examples:
        """The images or the text, without what was used before."""
        data = needed(data)
        if isinstance(data, TextData):
            return data.calibration()
        given = self.select_split or calibration.named(data)
        return data.take(data.split_named(given, (), ""), self.select_examples, labelled=True)


@dataclass(frozen=True)
class RunOptions:
    """How a command runs and speaks; the entry point reads ``--json`` and ``--debug`` itself."""

    threads: Annotated[int | None, option("Run", "Threads torch may use.", min=1)] = None
    json: Annotated[bool, option("Run", "Print one JSON document.", "--json")] = False
    debug: Annotated[bool, option("Run", "Show the traceback of errors.", "--debug")] = False

    def start(self) -> None:
        """Set the threads: once the options are checked, because it imports torch."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
