"""ONNX files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch

from eckart.errors import InputError
from eckart.exporting.preparing import Ready
from eckart.exporting.tracing import told_of_tracing
from eckart.storage.writing import written

_MOST_BYTES = 1_900_000_000  # protobuf holds two gigabytes


@final
class OnnxFile:
    """What ONNX Runtime, OpenVINO and others run."""

    name = "onnx"

    def write(self, network: Ready, path: Path) -> None:
        """Trace and write; weights above 1.9 GB go to a second file beside it."""
        library, graph = _library(), onnx_graph(network)
        if sum(p.nbytes for p in network.model.parameters()) > _MOST_BYTES:
            library.save(graph, path, external_data=f"{path.name}.data")
            return
        with written(path) as file:
            file.write(library.to_proto(graph).SerializeToString())


def onnx_graph(network: Ready) -> Any:
    """The network as a model of ``onnx_ir``, in memory.

    Raises:
        InputError: a library is missing, or the network cannot be traced.
    """
    _library()
    with told_of_tracing(OnnxFile.name, network), _quiet():
        program = _traced(network)
    _strip(program.model)
    return program.model


def _traced(network: Ready) -> Any:
    """The program, with codes in the place of weights that were in codes."""
    from eckart.exporting.onnx_activations import put_activations  # brings onnx_ir
    from eckart.exporting.onnx_codes import OPSET, put_codes

    program: Any = torch.onnx.export(
        network.model,
        network.args,
        kwargs=network.kwargs,
        dynamic_shapes=network.dynamic_shapes,
        opset_version=OPSET if network.codes else None,
        optimize=not network.codes,
        dynamo=True,
        verbose=False,
    )
    if network.codes:
        put_codes(program.model, network.codes)
        program.optimize()
        put_activations(program.model, network.codes)
    return program


def _strip(model: Any) -> None:
    """Remove where in somebody's source each node comes from: half of a small file, and private."""
    model.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _library() -> Any:
    """The library that writes the file.

    Raises:
        InputError: it is not installed.
    """
    try:
        import onnx_ir
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise InputError(
            f"exporting to ONNX needs onnxscript ({error}): pip install 'eckart[onnx]'"
        ) from error
    return onnx_ir


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
