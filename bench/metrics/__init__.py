"""Pure functions over arrays. What is no finite number is refused: a NaN would become a figure in silence."""

from typing import Any

import numpy as np


def finite(what: str, values: Any) -> np.ndarray:
    """`values` as an array of floats. Raises ValueError, naming them as `what`, for NaN and infinite ones."""
    array = np.asarray(values, float)
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f"{what}: {int(bad.sum())} of {array.size} values are NaN or infinite, the first at"
            f" {np.argwhere(bad)[0].tolist() if array.ndim else 0}"
        )
    return array
