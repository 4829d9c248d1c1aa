"""Accuracy by bytes of what other packages make of ResNet-20 with the same calibration images.

A package that is not installed is left out, with the reason in its row.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.quantised import OnnxSession, quantised
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.reference import Reference, reference
from benchmarks.subjects.scoring import accuracy

_STEPS = 500  # of each layer; the default is 10,000
_SCALE_AND_BIAS = 8  # bytes of each output


def onnx_runtime(on: Reference) -> Row:
    """Static quantisation: 8 bits per weight and activation, one scale per channel of a weight."""
    import onnx

    with TemporaryDirectory() as folder:
        seconds, made = timed(lambda: quantised(on.model, on.batches, Path(folder)))
        stored = sum(len(tensor.raw_data) for tensor in onnx.load(made).graph.initializer)
        found = OnnxSession(made).accuracy(*on.test)
    return {"stored": stored, "accuracy": found, "s": seconds}


def nncf(mode: str) -> Callable[[Reference], Row]:
    """Weight compression; NNCF keeps convolutions at 8 bits whatever the mode."""

    def made(on: Reference) -> Row:
        import nncf
        import nncf.torch

        logging.getLogger("nncf").setLevel(logging.ERROR)
        data = nncf.Dataset([batch[0][:1] for batch in on.batches])
        options: dict[str, Any] = {"mode": nncf.CompressWeightsMode[mode], "dataset": data}
        if mode.startswith("INT4"):
            options |= {"ratio": 0.8, "group_size": -1, "all_layers": True}
        seconds, model = timed(lambda: nncf.compress_weights(on.model, **options))
        return of_torch(model, on) | {"s": seconds}

    return made


def adaround(bits: int) -> Callable[[Reference], Row]:
    """AIMET's AdaRound after folding batch norms: all layers at one width, a scale per channel."""

    def made(on: Reference) -> Row:
        from aimet_torch.adaround.adaround_weight import Adaround, AdaroundParameters
        from aimet_torch.batch_norm_fold import fold_all_batch_norms

        model, images = copy.deepcopy(on.model), [batch[0] for batch in on.batches]
        fold_all_batch_norms(model, images[0].shape)
        how = AdaroundParameters(images, len(images), default_num_iterations=_STEPS)
        run = Adaround.apply_adaround
        with TemporaryDirectory() as folder:
            seconds, rounded = timed(
                lambda: run(model, images[0], how, folder, "rounded", default_param_bw=bits)
            )
        layers = [m for m in rounded.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        stored = sum(m.weight.numel() * bits / 8 + _SCALE_AND_BIAS * len(m.weight) for m in layers)
        return {"stored": stored, "accuracy": accuracy(rounded, *on.test), "s": seconds}

    return made


def of_torch(model: nn.Module, on: Reference) -> Row:
    """What a network of torch stores, and how good it is."""
    stored = sum(tensor.nbytes for tensor in model.state_dict().values())
    return {"stored": stored, "accuracy": accuracy(model, *on.test)}


PACKAGES: dict[str, Callable[[Reference], Row]] = {
    "ONNX Runtime, static, 8-bit weights and activations": onnx_runtime,
    "NNCF, 8-bit weights": nncf("INT8_ASYM"),
    "AIMET, AdaRound, 4 bits": adaround(4),
    "AIMET, AdaRound, 3 bits": adaround(3),
    "NNCF, 4-bit weights in 0.8 of the layers": nncf("INT4_SYM"),
}


def measure(
    output: Path,
    data: Path | None = None,
    *,
    packages: Sequence[str] = tuple(PACKAGES),
    calibration: int = CALIBRATION_IMAGES,
    test: int = 0,
) -> None:
    """Measure what is not in the file yet."""
    results = Results(output)
    for package in packages:
        if results.has(network="resnet20", method=package):
            continue
        on = reference("resnet20", data, calibration, test)
        whole = sum(tensor.nbytes for tensor in on.model.state_dict().values())
        row: Row = {"network": "resnet20", "method": package, "images": len(on.test[0])}
        try:
            found = PACKAGES[package](on)
        except ImportError as error:
            results.add(row | {"not installed": str(error)})
            continue
        results.add(row | found | {"bytes": found["stored"] / whole})


MEASUREMENT = Measurement(measure, choices={"packages": PACKAGES}, threads=1)
