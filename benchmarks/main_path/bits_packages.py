"""Accuracy by bytes of what other packages make of ResNet-20 with the same calibration images.

A package that is not installed is left out, with the reason in its row.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import CALIBRATION_IMAGES, Labelled
from benchmarks.subjects.reference import Reference, reference
from benchmarks.subjects.scoring import accuracy

_BATCH = 100


class Images:
    """Gives ONNX Runtime one batch of calibration images after the other."""

    def __init__(self, batches: Sequence[Labelled]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch by the name of its input; None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {"x": batch[0].contiguous().numpy()}


def onnx_runtime(on: Reference) -> Row:
    """Static quantisation: 8 bits per weight and activation, one scale per channel of a weight."""
    import onnx
    from onnxruntime import InferenceSession, quantization

    with TemporaryDirectory() as folder:
        plain, made = (Path(folder) / name for name in ("float.onnx", "int8.onnx"))
        eckart.export(on.model, plain, on.batches[0][0][:1])
        quantise = quantization.quantize_static
        options = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
        seconds, _ = timed(lambda: quantise(plain, made, Images(on.batches), **options))
        stored = sum(len(t.raw_data) for t in onnx.load(made).graph.initializer)
        session = InferenceSession(made, providers=["CPUExecutionProvider"])
        images, labels = on.test
        logits = [session.run(None, {"x": x.numpy()})[0] for x in images.split(_BATCH)]
    found = torch.cat([torch.from_numpy(some) for some in logits]).argmax(1)
    return {"stored": stored, "accuracy": float((found == labels).double().mean()), "s": seconds}


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


def of_torch(model: nn.Module, on: Reference) -> Row:
    """What a network of torch stores, and how good it is."""
    stored = sum(tensor.nbytes for tensor in model.state_dict().values())
    return {"stored": stored, "accuracy": accuracy(model, *on.test)}


PACKAGES: dict[str, Callable[[Reference], Row]] = {
    "ONNX Runtime, static, 8-bit weights and activations": onnx_runtime,
    "NNCF, 8-bit weights": nncf("INT8_ASYM"),
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
