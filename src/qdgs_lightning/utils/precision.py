"""In which floating-point numbers a network computes, as YAML names them."""

from typing import Literal

import torch

from qdgs_lightning.errors import QDGSError

Precision = Literal["float32", "float16", "bfloat16"]
MatmulPrecision = Literal["highest", "high", "medium"]
"""How `torch.set_float32_matmul_precision` names it; GPUs know TF32 (high) from Ampere on."""

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class PrecisionError(QDGSError):
    """A precision that nothing computes in."""


def dtype_of(precision: Precision) -> torch.dtype:
    """Return what a precision is called in torch.

    Raises:
        PrecisionError: There is none of this name.
    """
    if precision not in _DTYPES:
        raise PrecisionError(f"precision is {precision!r}; give one of {', '.join(_DTYPES)}.")
    return _DTYPES[precision]
