"""Save a smaller network and load it into a fresh dense one: safetensors and JSON, no pickle."""

from eckart.checkpoint.loading import load, load_pretrained
from eckart.checkpoint.merging import merge
from eckart.checkpoint.saving import save

__all__ = ["load", "load_pretrained", "merge", "save"]
