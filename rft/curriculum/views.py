"""What a batch of a supervised stage shows of a sample: all of its clip, or a random run of frames, a part of
the picture, mirrored or not, with the mask and the tracks that belong to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from rft.curriculum.config import Data
from tvad.data.sample import Sample, Track
from tvad.data.video import Frames

AROUND = 0.8  # of the draws of a region show something anomalous, where there is such (ours)
Corners = tuple[float, float, float, float]
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


def draw_view(view: View, data: Data, generator: torch.Generator) -> View:
    """What `data` asks for: a random run of `crop` sampled frames, in a share `still` of the views one of
    them for all, of those a `region`, with `mirror` half of the time left for right; all of the clip where it
    asks for nothing."""
    if data.crop is not None and data.crop < len(view.frames.images):
        start = _below(len(view.frames.images) - data.crop + 1, generator)
        part = slice(start, start + data.crop)
        mask = None if view.mask is None else view.mask[part]
        view = replace(view, frames=view.frames.part(part), mask=mask)
    if data.still and _chance(data.still, generator):
        view = _still(view, _below(len(view.frames.images), generator))
    if data.region is not None:
        view = _part_of_picture(view, data.region, generator)
    if data.mirror and _chance(0.5, generator):
        width = view.frames.images.shape[2]
        view = View(
            view.sample,
            replace(view.frames, images=view.frames.images[:, :, ::-1]),
            None if view.mask is None else view.mask.flip(2),
            _moved(view.tracks, lambda b: (width - 1 - b[2], b[1], width - 1 - b[0], b[3])),
        )
    return view


def _still(view: View, n: int) -> View:
    """The n-th of the frames in place of each, at their times."""
    count = len(view.frames.images)
    return replace(
        view,
        frames=replace(view.frames, images=view.frames.images[n : n + 1].repeat(count, 0)),
        mask=None if view.mask is None else view.mask[n : n + 1].expand(count, -1, -1),
    )


def _part_of_picture(view: View, size: list[int], generator: torch.Generator) -> View:
    """A part of `size` (width, height) of the picture, as much as there is."""
    height, width = view.frames.images.shape[1:3]
    w, h = min(size[0], width), min(size[1], height)
    x, y = _below(width - w + 1, generator), _below(height - h + 1, generator)
    lit = None if view.mask is None else view.mask.any(0).nonzero()
    if lit is not None and len(lit) and _chance(AROUND, generator):
        # An anomalous pixel, anywhere in the part.
        row, column = lit[_below(len(lit), generator)].tolist()
        x = min(max(column - _below(w, generator), 0), width - w)
        y = min(max(row - _below(h, generator), 0), height - h)
    images = view.frames.images[:, y : y + h, x : x + w]
    return View(
        view.sample,
        replace(view.frames, images=images),
        None if view.mask is None else view.mask[:, y : y + h, x : x + w],
        # What of a box lies outside is cut; what lies outside as a whole is gone.
        _moved(
            view.tracks,
            lambda b: (max(b[0] - x, 0), max(b[1] - y, 0), min(b[2] - x, w - 1), min(b[3] - y, h - 1)),
        ),
    )


def _moved(tracks: tuple[Track, ...], to: Callable[[Corners], Corners]) -> tuple[Track, ...]:
    """Tracks with their boxes where `to` puts them; without boxes of which nothing is left."""
    found = []
    for track in tracks:
        boxes = {frame: to(box) for frame, box in track.boxes.items()}
        boxes = {frame: b for frame, b in boxes.items() if b[0] <= b[2] and b[1] <= b[3]}
        if boxes:
            kept = tuple(frame for frame in track.anomalous if frame in boxes)
            found.append(replace(track, boxes=boxes, anomalous=kept))
    return tuple(found)


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _chance(share: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < share)
