"""What the studies share: images as tensors, training, and the page that a study fills in."""
