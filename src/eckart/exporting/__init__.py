"""A network as a file for other programs to run."""

from eckart.exporting.one_network import export
from eckart.exporting.onnx_file import OnnxFile, onnx_graph
from eckart.exporting.preparing import Ready, ready
from eckart.exporting.registry import FORMATS, Format, register_format
from eckart.exporting.torch_program import TorchProgram

register_format(OnnxFile())
register_format(TorchProgram())

__all__ = ["FORMATS", "Format", "Ready", "export", "onnx_graph", "ready", "register_format"]
