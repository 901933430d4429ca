"""What passes between a run and the process of its rewards: JSON, a message a line; arrays in base64. Nothing
is unpickled."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ARRAY = "__array__"
PLAIN = (bool, int, float, str, type(None))


def _encoded(value: Any) -> Any:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {ARRAY: [value.dtype.str, value.shape, base64.b64encode(value.tobytes()).decode()]}
    raise TypeError(f"{type(value).__name__} does not reach a reward's process")


def _decoded(value: dict[str, Any]) -> Any:
    if list(value) != [ARRAY]:
        return value
    dtype, shape, content = value[ARRAY]
    return np.frombuffer(base64.b64decode(content), dtype).reshape(shape).copy()


def dumps(message: Mapping[str, Any]) -> bytes:
    """A message as a line. Raises TypeError for what is neither JSON nor an array."""
    # Both ends are Python, and a column of one's own may hold a NaN.
    return json.dumps(message, default=_encoded, allow_nan=True).encode() + b"\n"


def loads(line: bytes) -> dict[str, Any]:
    return json.loads(line, object_hook=_decoded)


def of_rows(columns: Mapping[str, Any], rows: Sequence[int], count: int) -> dict[str, Any]:
    """The columns of some of `count` rows; what is not a list of a value a row stays as it is."""
    return {
        name: [values[n] for n in rows]
        if isinstance(values, (list, tuple)) and len(values) == count
        else values
        for name, values in columns.items()
    }
