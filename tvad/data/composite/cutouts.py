"""Walkers cut out of normal footage, over some frames a step apart."""

from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.data.composite.footage import Blob, Looking, background_of, followed, stretches, upright
from tvad.data.sample import Sample

MARGIN = 2  # pixels around what moves
A_VIDEO = 60  # walkers of one video at most
EDGE = 0.6  # pixels by which an outline is softened


@dataclass(frozen=True)
class Cutout:
    """A walker over T frames. pictures: (h, w, 3) uint8 each; alphas: (h, w) 0..1; corners: (x, y) of each
    picture; feet: (x, y) where he stands, each in pixels of the footage as it is looked at."""

    pictures: list[np.ndarray]
    alphas: list[np.ndarray]
    corners: list[tuple[int, int]]
    feet: list[tuple[float, float]]

    @property
    def way(self) -> tuple[float, float]:
        """Pixels a step, to the right and down."""
        steps = len(self.feet) - 1
        (x0, y0), (x1, y1) = self.feet[0], self.feet[-1]
        return (x1 - x0) / steps, (y1 - y0) / steps


def _cut(images: np.ndarray, chain: list[Blob]) -> Cutout:
    pictures, alphas, corners, feet = [], [], [], []
    for image, blob in zip(images, chain, strict=True):
        height, width = image.shape[:2]
        x0, y0 = max(0, blob.x - MARGIN), max(0, blob.y - MARGIN)
        x1, y1 = min(width, blob.x + blob.width + MARGIN), min(height, blob.y + blob.height + MARGIN)
        lit = np.zeros((y1 - y0, x1 - x0), np.uint8)
        top, left = blob.y - y0, blob.x - x0
        lit[top : top + blob.height, left : left + blob.width] = blob.lit
        lit = cv2.dilate(lit, np.ones((3, 3), np.uint8))
        pictures.append(image[y0:y1, x0:x1].copy())
        alphas.append(cv2.GaussianBlur(lit.astype(np.float32), (0, 0), EDGE))
        corners.append((x0, y0))
        feet.append((blob.centre[0], blob.foot))
    return Cutout(pictures, alphas, corners, feet)


def _fits(blob: Blob, looking: Looking) -> bool:
    return 0.75 < blob.height / looking.tall(blob.foot) < 1.25


def cutouts_of(samples: list[Sample], looking: Looking, frames: int, seed: int) -> list[Cutout]:
    """Walkers of normal videos, whole and alone over `frames` frames, in the order of the videos. Raises
    InputError where there is none."""
    rng = np.random.default_rng([seed, 2])
    found: list[Cutout] = []
    for sample in tqdm(samples, unit="video", desc="cut out", disable=None, leave=False):
        own: list[Cutout] = []
        for images, _ in stretches(sample, looking.rate, (looking.width, looking.height)):
            people = list(upright(images, background_of(images)))
            for start in range(len(images) - frames + 1):
                for blob in people[start]:
                    chain = [blob]
                    for later in people[start + 1 : start + frames]:
                        chain += [b for a, b in followed([chain[-1]], later)][:1]
                    if len(chain) == frames and all(_fits(b, looking) for b in chain):
                        own.append(_cut(images[start : start + frames], chain))
        chosen = sorted(rng.choice(len(own), min(len(own), A_VIDEO), replace=False).tolist()) if own else []
        found += [own[n] for n in chosen]
    if not found:
        names = ", ".join(sample.id for sample in samples[:3]) + (", …" if len(samples) > 3 else "")
        raise InputError(f"nobody walks alone in this footage ({names}): no walker can be cut out of it")
    return found
