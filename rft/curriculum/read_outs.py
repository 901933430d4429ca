"""Read-outs of stage 0: what every video token and every patch of a scene should tell, and the linear heads
that learn to tell it.

A real backbone's pre-training gives its tokens such meaning; a tiny one learns it here in minutes, and from
the text loss alone not in hours. The heads are dropped after the stage (ours: the paper starts from a
trained backbone). They know the classes and objects of generated scenes alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rft.curriculum.config import ReadOuts
from rft.curriculum.views import View
from tvad.common.errors import InputError
from tvad.data.questions import LETTERS
from tvad.data.sample import Sample
from tvad.data.scenes.actors import COLOURS
from tvad.data.scenes.script import ANOMALIES
from tvad.model.ahd import patch_targets

OBJECTS = ("person", "car", "bicycle", "bag", "thrown", "smoke", "fire")  # kinds of the scenes' tracks
MOTION_UNITS = 14.0  # of the picture's side: a walker's way between two frames is then of the size of 1


def check_readable(samples: Sequence[Sample], objects: bool) -> None:
    """Read-outs know the scenes' anomaly classes and, with `objects`, their kinds of objects. Raises
    InputError that names a sample with others."""
    for sample in samples:
        if sample.anomalous is None:
            raise InputError(f"{sample.id}: no label; read-outs need to know whether it is normal")
        if sample.anomalous and sample.category not in ANOMALIES:
            raise InputError(
                f"{sample.id}: class {sample.category!r} has no read-out; attributes and objects are for"
                f" scenes ({', '.join(ANOMALIES)})"
            )
        for track in (sample.tracks or ()) if objects else ():
            if track.kind not in OBJECTS:
                raise InputError(
                    f"{sample.id}: track {track.id} is a {track.kind!r}; objects reads out"
                    f" {', '.join(OBJECTS)}"
                )


def _class_of(sample: Sample) -> int:
    """Index of the anomaly class + 1; 0 for a normal sample."""
    return list(ANOMALIES).index(sample.category or "") + 1 if sample.anomalous else 0


def token_targets(view: View, grid: list[int], merge: int = 2) -> dict[str, torch.Tensor]:
    """What every video token of a clip should tell (stage 0, `AttributeHeads`), in the order of the language
    model's video tokens.

    kind (m,): index of the anomaly class + 1 where the token shows the anomaly, else 0; colour (m,): of the
    one at fault, -1 where unknown; box (m, 8): its box in the step's two frames, 0..1, NaN where there is
    none.
    """
    t, h, w = grid[0], grid[1] // merge, grid[2] // merge
    sample, mask = view.sample, view.masked()
    lit = patch_targets(mask, h, w).reshape(t, h * w).bool()
    kind = torch.zeros(t, h * w, dtype=torch.long)
    colour = torch.full((t, h * w), -1)
    box = torch.full((t, h * w, 8), float("nan"))
    if sample.anomalous:
        kind[lit] = _class_of(sample)
        asked = [q for q in sample.questions if q.topic == "colour"]
        if asked:
            colour[lit] = list(COLOURS).index((asked[0].options or ())[LETTERS.index(asked[0].answer)])
        height, width = mask.shape[1:]
        # A token covers two frames: 4 numbers for each, for every token that shows the anomaly in either.
        for frame in range(2 * t):
            rows, columns = (
                torch.nonzero(mask[min(frame, len(mask) - 1)].any(axis)).flatten() for axis in (1, 0)
            )
            if len(rows):
                edges = torch.tensor(
                    [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
                )
                box[frame // 2, lit[frame // 2], 4 * (frame % 2) : 4 * (frame % 2) + 4] = edges
    return {"kind": kind.flatten(), "colour": colour.flatten(), "box": box.reshape(-1, 8)}


def object_targets(view: View, grid: list[int]) -> dict[str, torch.Tensor]:
    """What every patch of a clip should tell (stage 0, `ObjectHeads`), row by row of the grid (t, h, w) in
    patches, n = t*h*w.

    kind (n,): index of the anomaly class + 1 where the patch shows the anomaly, else 0; objects (n, K): 1 for
    each of `OBJECTS` whose box touches the patch in one of the step's two frames; motion (n, 4): how far such
    an object's centre moves between the two, and its width and height, as shares of the picture's width and
    height; NaN where nothing is, or not in both frames.
    """
    t, h, w = grid
    lit = patch_targets(view.masked(), h, w)
    kind = lit * _class_of(view.sample)
    objects = np.zeros((t, h, w, len(OBJECTS)), np.float32)
    motion = np.full((t, h, w, 4), np.nan, np.float32)
    height, width = view.masked().shape[1:]
    size = np.array([width, height, width, height])
    last = len(view.frames.indices) - 1
    # The two frames of each step, the last one twice where their number is odd.
    pairs = [
        (int(view.frames.indices[2 * step]), int(view.frames.indices[min(2 * step + 1, last)]))
        for step in range(t)
    ]
    for track in view.tracks:
        name = OBJECTS.index(track.kind)
        for step, frames in enumerate(pairs):
            boxes = (
                np.array([track.boxes[f] for f in frames if f in track.boxes], float).reshape(-1, 4) / size
            )
            if not len(boxes):
                continue
            (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
            where = step, slice(int(y0 * h), int(y1 * h) + 1), slice(int(x0 * w), int(x1 * w) + 1)
            objects[(*where, name)] = 1
            if len(boxes) == 2:
                centres = (boxes[:, :2] + boxes[:, 2:]) / 2
                motion[where] = np.concatenate([centres[1] - centres[0], boxes[0, 2:] - boxes[0, :2]])
    return {
        "kind": kind.flatten(),
        "objects": torch.from_numpy(objects).flatten(0, 2),
        "motion": torch.from_numpy(motion).flatten(0, 2),
    }


def kind_loss(logits: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of anomaly classes (n, 1 + classes); 0, nothing unusual, is common and weighs a third.
    (All weights of this file are ours.)"""
    weight = logits.new_full((logits.shape[1],), 3.0)
    weight[0] = 1.0
    return F.cross_entropy(logits, kinds, weight=weight)


class AttributeHeads(nn.Module):
    """Class, colour and box from every video token."""

    def __init__(self, dim: int, kinds: int, colours: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.kind, self.colour, self.box = (
            nn.Linear(dim, kinds + 1),
            nn.Linear(dim, colours),
            nn.Linear(dim, 8),
        )

    def forward(self, tokens: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        """tokens (m, D) and `token_targets` -> loss."""
        tokens = self.norm(tokens)
        loss = kind_loss(self.kind(tokens), targets["kind"])
        if bool((targets["colour"] >= 0).any()):
            loss = loss + 0.3 * F.cross_entropy(self.colour(tokens), targets["colour"], ignore_index=-1)
        known = ~targets["box"].isnan()
        if bool(known.any()):
            loss = loss + 2.0 * F.smooth_l1_loss(self.box(tokens)[known], targets["box"][known], beta=0.05)
        return loss


class ObjectHeads(nn.Module):
    """Anomaly class, objects and their motion from every patch of the tower's last block. Every person in
    every clip teaches something here, which the anomalies' masks alone do in one clip of two."""

    def __init__(self, dim: int, kinds: int, objects: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.kind, self.objects, self.motion = (
            nn.Linear(dim, kinds + 1),
            nn.Linear(dim, objects),
            nn.Linear(dim, 4),
        )

    def forward(self, patches: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        """patches (n, d), row by row of each clip's grid, and `object_targets` -> loss."""
        patches = self.norm(patches)
        loss = kind_loss(self.kind(patches), targets["kind"])
        loss = loss + 3.0 * F.binary_cross_entropy_with_logits(self.objects(patches), targets["objects"])
        known = ~targets["motion"].isnan()
        if bool(known.any()):
            loss = loss + 2.0 * F.smooth_l1_loss(
                self.motion(patches)[known], MOTION_UNITS * targets["motion"][known], beta=0.1
            )
        return loss


def attach(model, wanted: ReadOuts) -> list[str]:
    """Put the wanted heads onto a model; returns name patterns of their parameters."""
    config = model.config
    if wanted.attributes:
        heads = AttributeHeads(config.text_config.hidden_size, len(ANOMALIES), len(COLOURS))
        model.attribute_heads = heads.to(model.device)
    if wanted.objects:
        model.object_heads = ObjectHeads(config.vision_config.hidden_size, len(ANOMALIES), len(OBJECTS)).to(
            model.device
        )
    return [
        f"{name}.*"
        for name, used in (("attribute_heads", wanted.attributes), ("object_heads", wanted.objects))
        if used
    ]


def detach(model, wanted: ReadOuts) -> None:
    """Take the heads away again."""
    if wanted.attributes:
        del model.attribute_heads
    if wanted.objects:
        del model.object_heads
