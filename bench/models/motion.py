"""How much moves where, without a model: what practitioners would try first. Each is blurred, so that an
object is one spot, and kept on a coarse grid."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from tqdm import tqdm

from tvad.data import video
from tvad.data.sample import Sample

KINDS = ("difference", "flow", "mog2")
# What counts as half anomalous: grey levels, pixels, share.
HALF = {"difference": 30.0, "flow": 2.0, "mog2": 0.5}
APART = 2  # frames that difference and flow compare: the one before and the one behind
BLUR = 1 / 60  # standard deviation, of the mean of the sides: 5 pixels of UCSD Ped2's 360 x 240
CELL = 4  # pixels of a map's cell
NORMAL = 0.995  # quantile over the cells of normal footage that counts as half anomalous (ours)


def energies(kind: str, images: Iterable[np.ndarray]) -> np.ndarray:
    """(T, h, w) float32 of frames (H, W, 3) uint8, in the unit of `HALF`."""
    return np.stack([_cells(field) for field in _OF[kind](images)])


def relative(energy: np.ndarray, half: float) -> np.ndarray:
    """0..1, 0.5 at `half`; their order stays."""
    return energy / (energy + half)


def half_of(kind: str, normal: list[Sample]) -> float:
    """What counts as half anomalous, from normal videos."""
    cells = []
    for sample in tqdm(normal, unit="video", desc=kind, disable=None, leave=False):
        with video.Reader(sample.clip()) as reader:
            cells.append(energies(kind, (image for _, image in reader.frames())).ravel())
    return max(float(np.quantile(np.concatenate(cells), NORMAL)), 1e-6)


def _grey(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return (cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in images)


def _around(images: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames before and behind each; at the ends itself."""
    held: deque[np.ndarray] = deque(maxlen=APART + 1)
    for image in _grey(images):
        held.append(image)
        if len(held) > 1:
            yield held[0], image
    yield held[-2 if len(held) > 1 else -1], held[-1]


def _difference(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return (cv2.absdiff(a, b).astype(np.float32) for a, b in _around(images))


def _flow(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for a, b in _around(images):
        moved = np.zeros((*a.shape, 2), np.float32)
        cv2.calcOpticalFlowFarneback(a, b, moved, 0.5, 3, 15, 3, 5, 1.2, 0)
        yield np.hypot(moved[..., 0], moved[..., 1])


def _mog2(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    background = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    return (background.apply(image).astype(np.float32) / 255 for image in _grey(images))


_OF: dict[str, Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]] = {
    "difference": _difference,
    "flow": _flow,
    "mog2": _mog2,
}


def _cells(field: np.ndarray) -> np.ndarray:
    height, width = field.shape
    blurred = cv2.GaussianBlur(field, (0, 0), BLUR * (height + width) / 2)
    size = max(1, width // CELL), max(1, height // CELL)
    return cv2.resize(blurred, size, interpolation=cv2.INTER_AREA)
