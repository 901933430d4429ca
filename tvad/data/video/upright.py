"""Which way up a picture is shown: the display matrix that phones write beside pictures that they store
lying."""

from typing import Any

import av
import numpy as np


def turn_of(frame: av.VideoFrame) -> np.ndarray | None:
    """The frame's display matrix as (2, 2) of -1, 0, 1; None where it is shown as it is stored. A matrix of
    another angle than quarters of a turn counts as the nearest of them."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    # ISO/IEC 14496-12, 8.3.2.3: rows a b u, c d v, x y w; (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.int64).tolist()
    if a * a + d * d >= b * b + c * c:
        turn = np.array([[np.sign(a) or 1, 0], [0, np.sign(d) or 1]])
    else:
        turn = np.array([[0, np.sign(b) or 1], [np.sign(c) or 1, 0]])
    return None if np.array_equal(turn, np.eye(2)) else turn


def size_of(height: int, width: int, turn: np.ndarray | None) -> tuple[int, int]:
    """(height, width) of the shown picture."""
    return (width, height) if turn is not None and turn[0, 1] else (height, width)


def upright(image: np.ndarray, turn: np.ndarray | None) -> np.ndarray:
    """The stored picture (H, W, 3) as it is shown."""
    if turn is None:
        return image
    if turn[0, 1]:
        image = image.swapaxes(0, 1)
    # What points along the shown picture's axis: where it points backwards, the picture is mirrored there.
    across, down = turn[:, 0].sum(), turn[:, 1].sum()
    return np.ascontiguousarray(image[:: int(down), :: int(across)])
