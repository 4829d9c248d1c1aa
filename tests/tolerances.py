"""The one tolerance table: how close two tensors of a dtype must be."""

import torch

_TOLERANCES = {  # dtype: (rtol, atol)
    torch.float64: (1e-9, 1e-10),
    torch.float32: (1e-4, 1e-5),
    torch.bfloat16: (3e-2, 1e-2),
    torch.float16: (4e-3, 1e-3),
}


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """Keyword arguments for `torch.testing.assert_close`."""
    rtol, atol = _TOLERANCES[dtype]
    return {"rtol": rtol, "atol": atol}
