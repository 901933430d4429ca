"""What a batch of a supervised stage shows of a sample: all of its clip, or a random run of frames, mirrored
or not, with the mask and the tracks that belong to it."""

from dataclasses import dataclass, replace

import torch

from tvad.data.sample import Sample, Track
from tvad.data.video import Frames

NO_MASK = "no mask and not labelled normal, but this stage trains on heatmaps or read-outs"


@dataclass
class View:
    """What a batch shows of a sample: frames (T sampled ones), mask (T, H, W) bool or None, tracks by the
    video's frames and in its pixels."""

    sample: Sample
    frames: Frames
    mask: torch.Tensor | None
    tracks: tuple[Track, ...]

    def masked(self) -> torch.Tensor:
        """The mask; ValueError where the clip has none."""
        if self.mask is None:
            raise ValueError(f"{self.sample.id}: {NO_MASK}")
        return self.mask


def draw_view(view: View, crop: int | None, mirror: bool, generator: torch.Generator) -> View:
    """A random run of `crop` sampled frames (None: all), with `mirror` half of the time left for right."""
    frames, mask, tracks = view.frames, view.mask, view.tracks
    if crop is not None and crop < len(frames.images):
        start = int(torch.randint(len(frames.images) - crop + 1, (), generator=generator))
        part = slice(start, start + crop)
        frames = frames.part(part)
        mask = None if mask is None else mask[part]
    if mirror and bool(torch.rand((), generator=generator) < 0.5):
        width = frames.images.shape[2]
        frames = replace(frames, images=frames.images[:, :, ::-1])
        mask = None if mask is None else mask.flip(2)
        tracks = tuple(
            replace(
                t, boxes={f: (width - 1 - b[2], b[1], width - 1 - b[0], b[3]) for f, b in t.boxes.items()}
            )
            for t in tracks
        )
    return View(view.sample, frames, mask, tracks)
