"""Options that name questions for a language model, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from eckart.cli.options.parsing import usage_error
from eckart.cli.options.shared import ModelOptions, option
from eckart.cli.shown.output import Result
from eckart.cli.shown.tables import make_table
from eckart.errors import InputError
from eckart.report.formats import significant

if TYPE_CHECKING:
    from torch import nn

    from eckart.records import Score


@dataclass(frozen=True)
class TaskOptions:
    """Which questions, and where their files are."""

    tasks: Annotated[
        str | None,
        option("Tasks", "Names of tasks with commas between, such as arc_easy,piqa,lambada."),
    ] = None
    task_data: Annotated[
        Path | None, option("Tasks", "Folder of NAME.jsonl or NAME.*.jsonl, for each task.")
    ] = None
    items: Annotated[int | None, option("Tasks", "Items of each; all if not given.", min=1)] = None

    @property
    def is_given(self) -> bool:
        """Whether any task was named."""
        return self.tasks is not None

    def files(self) -> dict[str, Path]:
        """The file of each task.

        Raises:
            InputError: one is missing, or there are several.
        """
        if self.task_data is None:
            raise usage_error("--task-data", "give the folder with the files of the tasks")
        names = [name.strip() for name in (self.tasks or "").split(",") if name.strip()]
        if not names:
            raise usage_error("--tasks", "name at least one task")
        return {name: _file(self.task_data, name) for name in names}

    def measured(self, model: ModelOptions, network: nn.Module) -> Result:
        """What the network answers, as a table and a document."""
        from eckart.scores import answered, read_items  # brings torch

        tokenizer = model.tokenizer()
        if tokenizer is None:
            raise InputError(f"{model.model} has no tokenizer, which tasks need: give a model hf:…")
        found = {}
        for name, path in self.files().items():
            got = answered(network, read_items(path, self.items), tokenizer)
            kinds = {"accuracy": got.accuracy, "normalised": got.normalised}
            kinds["perplexity"] = got.perplexity
            found[name] = {kind: score for kind, score in kinds.items() if score is not None}
        document = {
            name: {kind: score.as_json() for kind, score in scores.items()}
            for name, scores in found.items()
        }
        rows = [_row(name, kind, score) for name, of in found.items() for kind, score in of.items()]
        columns = {"task": False, "score": False, "value": True, "±": True, "items": True}
        shown = [make_table(model.model, columns, rows)]
        return Result({"model": model.model, "tasks": document}, shown)


def _row(name: str, kind: str, score: Score) -> tuple[str, ...]:
    error = significant(score.standard_error, 2)
    return (name, kind, significant(score.value, 4), error, f"{score.n:,}")


def _file(folder: Path, name: str) -> Path:
    found = sorted({*folder.glob(f"{name}.jsonl"), *folder.glob(f"{name}.*.jsonl")})
    if len(found) == 1:
        return found[0]
    known: Any = sorted({path.name.partition(".")[0] for path in folder.glob("*.jsonl")})
    said = f"{len(found)} files ({', '.join(p.name for p in found)})" if found else "no file"
    raise InputError(
        f"task {name!r:.80}: {folder} has {said} of it; tasks there: {', '.join(known) or 'none'}"
    )
