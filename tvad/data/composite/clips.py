"""A clip of normal footage with actors in it: behind what stands in front of them, with exact masks and
boxes."""

from dataclasses import dataclass

import cv2
import numpy as np

from tvad.data.composite.actors import Actor, Piece
from tvad.data.composite.footage import Looking, blobs_of

SOLID = 0.4  # of alpha: a pixel is the actor's
FEWEST = 12  # visible pixels of an actor that is there
CLOSED = 5  # pixels of gaps within a mask that count as the object, as people who annotate draw it

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Light:
    """What is done to a whole clip, footage and actors alike: gain, offset in grey levels, noise's standard
    deviation."""

    gain: float
    offset: float
    noise: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Light":
        return cls(float(rng.uniform(0.85, 1.15)), float(rng.uniform(-12, 12)), float(rng.uniform(0, 2.5)))


@dataclass(frozen=True)
class Composite:
    """frames (T, H, W, 3) uint8; mask (T, H, W) bool; boxes: of every actor by frame, inclusive pixels, where
    it can be seen."""

    frames: np.ndarray
    mask: np.ndarray
    boxes: list[dict[int, Box]]


def _put(piece: Piece, width: int, height: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
    """Where a piece lies in a picture of the whole size (rows, columns), and its alpha and colour there,
    between pixels too; None where it lies outside."""
    left, above = int(np.floor(piece.x)), int(np.floor(piece.y))
    h, w = piece.alpha.shape
    shift = np.array([[1, 0, piece.x - left], [0, 1, piece.y - above]], np.float32)
    alpha, colour = (cv2.warpAffine(part, shift, (w + 1, h + 1)) for part in (piece.alpha, piece.colour))
    x0, y0, x1, y1 = max(0, left), max(0, above), min(width, left + w + 1), min(height, above + h + 1)
    if x0 >= x1 or y0 >= y1:
        return None
    inside = slice(y0 - above, y1 - above), slice(x0 - left, x1 - left)
    return (slice(y0, y1), slice(x0, x1)), alpha[inside], colour[inside]


def _in_front(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(H, W) the row in which what is seen at a pixel stands, 0 for the background."""
    rows = np.zeros(image.shape[:2], np.float32)
    for blob in blobs_of(image, background):
        part = rows[blob.y : blob.y + blob.height, blob.x : blob.x + blob.width]
        part[blob.lit] = np.maximum(part[blob.lit], blob.foot)
    return rows


def compose(
    images: np.ndarray,
    background: np.ndarray,
    actors: list[Actor],
    looking: Looking,
    light: Light,
    seed: list[int],
) -> Composite:
    """Put actors into frames (T, H, W, 3). seed: of the noise."""
    rng = np.random.default_rng(seed)
    count, height, width = images.shape[:3]
    frames, masks = np.empty_like(images), np.zeros((count, height, width), bool)
    boxes: list[dict[int, Box]] = [{} for _ in actors]
    for t, image in enumerate(images):
        shown = image.astype(np.float32)
        stands = _in_front(image, background)
        owner = np.full((height, width), -1)
        # From the back to the front.
        for n in sorted(range(len(actors)), key=lambda n: actors[n].pieces[t].foot):
            piece = actors[n].pieces[t]
            if piece.shadow is not None:
                _darken(shown, piece, stands)
            if (found := _put(piece, width, height)) is None:
                continue
            part, alpha, colour = found
            free = stands[part] <= piece.foot + 1
            alpha = alpha * free
            # The camera's grain lies on all that it sees, on what was put in as well.
            grain = rng.normal(0, looking.grain, alpha.shape) * alpha
            kept = colour * free[..., None] + grain[..., None]
            shown[part] = shown[part] * (1 - alpha[..., None]) + kept
            owner[part][alpha > SOLID] = n
        shown = (shown - 128) * light.gain + 128 + light.offset
        noise = rng.normal(0, light.noise, (height, width, 1 if looking.grey else 3))
        frames[t] = np.clip(shown + noise, 0, 255).astype(np.uint8)
        for n, actor in enumerate(actors):
            rows, columns = np.nonzero(owner == n)
            if len(rows) < FEWEST:
                continue
            boxes[n][t] = (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
            if actor.anomalous:
                lit = (owner == n).astype(np.uint8)
                kernel = np.ones((CLOSED, CLOSED), np.uint8)
                masks[t] |= cv2.morphologyEx(lit, cv2.MORPH_CLOSE, kernel) > 0
    return Composite(frames, masks, boxes)


def _darken(shown: np.ndarray, piece: Piece, stands: np.ndarray) -> None:
    """The ground under an actor."""
    x, wide, strength = piece.shadow or (0.0, 0.0, 0.0)
    height, width = stands.shape
    axes = max(1, int(wide / 2)), max(1, int(wide / 9))
    left, above = int(x) - axes[0] - 4, int(piece.foot) - axes[1] - 4
    x0, y0 = max(0, left), max(0, above)
    x1, y1 = min(width, left + 2 * axes[0] + 9), min(height, above + 2 * axes[1] + 9)
    if x0 >= x1 or y0 >= y1:
        return
    dark = np.zeros((2 * axes[1] + 9, 2 * axes[0] + 9), np.float32)
    cv2.ellipse(dark, (axes[0] + 4, axes[1] + 4), axes, 0, 0, 360, 1.0, -1)
    dark = cv2.GaussianBlur(dark, (0, 0), 1.2)[y0 - above : y1 - above, x0 - left : x1 - left] * strength
    shown[y0:y1, x0:x1] *= (1 - dark * (stands[y0:y1, x0:x1] == 0))[..., None]
