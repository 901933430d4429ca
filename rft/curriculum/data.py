"""Batches for supervised stages: one row per clip, its questions and its dialogue as branches behind the clip
(`tvad.model.packing`)."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from tvad.answer import Answer, Box, render
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.narrate import narratives
from tvad.data.sample import Question, Sample, Track
from tvad.data.scenes.actors import COLOURS
from tvad.data.scenes.describe import symbolic_questions
from tvad.data.scenes.script import ANOMALIES
from tvad.data.video import Frames
from tvad.model.ahd import patch_targets
from tvad.model.packing import pack
from tvad.prompts import messages, question_text

VISION_END = "<|vision_end|>"
OBJECTS = ("person", "car", "bicycle", "bag", "thrown", "smoke", "fire")  # kinds of the scenes' tracks


def target_text(question: Question, box_step: int) -> str:
    """The reference as training target; box coordinates rounded to `box_step` of 1000, so that few digits
    carry the place."""
    boxes = tuple(Box(tuple(round(c / box_step) * box_step for c in b.xyxy), b.t) for b in question.boxes)  # type: ignore[arg-type]
    return render(Answer(question.rationale, question.answer, question.span, boxes), question.kind)  # type: ignore[arg-type]


@dataclass
class Branches:
    """Tokenises chats into a prefix (up to the clip's end) and a branch with per-token loss weights."""

    processor: object
    answer_weight: float = 1.0
    box_step: int = 10

    def __post_init__(self):
        self.tokenizer = self.processor.tokenizer
        self.assistant = "<|im_start|>assistant\n"
        self.end = "<|im_end|>"
        self.letters = {self.tokenizer.convert_tokens_to_ids(c) for c in "ABCDEFGH"}

    def prefix(self, grid: torch.Tensor, clip: Frames) -> torch.Tensor:
        text = self.processor.apply_chat_template(messages(""), tokenize=False)
        text = self.processor.expand(text[: text.index(VISION_END) + len(VISION_END)], grid, clip)
        return self._ids(text)

    def _ids(self, text: str) -> torch.Tensor:
        return torch.tensor(self.tokenizer(text)["input_ids"], dtype=torch.long)

    def conversation(
        self, turns: list[tuple[str, str]], weight_letters: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turns (asked, answered) after the clip -> ids (n,), weights (n,): 0 where nothing is to be
        learned."""
        ids, weights = [], []
        for n, (asked, answered) in enumerate(turns):
            opening = "" if n == 0 else "\n<|im_start|>user\n"
            question = self._ids(f"{opening}{asked}{self.end}\n{self.assistant}")
            reply = self._ids(f"{answered}{self.end}")
            weight = torch.ones(len(reply))
            if weight_letters:
                weight[torch.tensor([int(t) in self.letters for t in reply])] = self.answer_weight
            ids += [question, reply]
            weights += [torch.zeros(len(question)), weight]
        return torch.cat(ids), torch.cat(weights)

    def of(self, question: Question) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conversation(
            [(question_text(question), target_text(question, self.box_step))], question.kind == "mcq"
        )


@dataclass
class View:
    """What a batch shows of a sample: frames (T sampled ones), mask (T, H, W) bool or None, tracks by the
    video's frames and in its pixels."""

    sample: Sample
    frames: Frames
    mask: torch.Tensor | None
    tracks: tuple[Track, ...]


def draw_view(view: View, crop: int | None, mirror: bool, generator: torch.Generator) -> View:
    """A random run of `crop` sampled frames (None: all), with `mirror` half of the time left for right."""
    frames, mask, tracks = view.frames, view.mask, view.tracks
    if crop is not None and crop < len(frames.images):
        start = int(torch.randint(len(frames.images) - crop + 1, (), generator=generator))
        part = slice(start, start + crop)
        frames = replace(
            frames, images=frames.images[part], times=frames.times[part], indices=frames.indices[part]
        )
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


class ClipCollator:
    """Samples -> a packed batch with pixels, token weights and heatmap targets.

    kinds: limits the questions (None: all); dialogue, narratives: add the anomaly-focused dialogue, words
    about every object; heatmap, attributes, objects: add their targets; crop, mirror: `draw_view`. A batch
    that asks nothing has no text.

    What a batch shows depends on `seed`, `process` and its number `drawn` alone: loaders collate ahead, so
    the state of a generator at a checkpoint would be that of a later batch.
    """

    def __init__(
        self,
        branches: Branches,
        store: ClipStore,
        kinds: list[str] | None = None,
        dialogue: bool = False,
        heatmap: bool = False,
        attributes: bool = False,
        narratives: bool = False,
        objects: bool = False,
        crop: int | None = None,
        mirror: bool = False,
        seed: int = 0,
    ):
        self.branches, self.store, self.kinds, self.dialogue, self.heatmap = (
            branches,
            store,
            kinds,
            dialogue,
            heatmap,
        )
        self.attributes, self.narratives, self.objects, self.crop, self.mirror = (
            attributes,
            narratives,
            objects,
            crop,
            mirror,
        )
        self.seed, self.process, self.drawn = seed, 0, 0

    def view(self, sample: Sample, generator: torch.Generator) -> View:
        wanted = self.heatmap or self.attributes or self.objects
        mask = self.store.mask(sample) if wanted else None
        if wanted and mask is None:
            raise ValueError(f"{sample.id}: no mask, but this stage trains on heatmaps")
        return draw_view(
            View(sample, self.store.frames(sample), mask, sample.tracks or ()),
            self.crop,
            self.mirror,
            generator,
        )

    def __call__(self, samples: list[Sample]) -> dict:
        processor = self.branches.processor
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence([self.seed, self.process, self.drawn]).generate_state(1)[0])
        )
        self.drawn += 1
        views = [self.view(sample, generator) for sample in samples]
        frames = [view.frames for view in views]
        vision = processor.vision_inputs(frames)
        grids = vision["video_grid_thw"]
        batch = {"clips": vision}
        if self.heatmap:
            batch["heat_targets"] = torch.cat(
                [
                    patch_targets(view.mask, h, w).flatten()
                    for view, (_, h, w) in zip(views, grids.tolist(), strict=True)
                ]
            )
        for name, wanted, targets in (
            ("token_targets", self.attributes, token_targets),
            ("object_targets", self.objects, object_targets),
        ):
            if wanted:
                parts = [targets(view, grid) for view, grid in zip(views, grids.tolist(), strict=True)]
                batch[name] = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        if self.kinds == [] and not self.dialogue and not self.narratives:
            return batch
        prefixes, parts, weights = [], [], []
        for sample, grid, clip in zip(samples, grids, frames, strict=True):
            prefix = self.branches.prefix(grid, clip)
            found = [
                self.branches.conversation(turns, letters) for turns, letters in self.conversations(sample)
            ]
            prefixes.append(prefix)
            parts.append([ids for ids, _ in found])
            weights.append(torch.cat([torch.zeros(len(prefix)), *(w for _, w in found)]))
        return batch | self._packed(prefixes, parts, weights)

    def conversations(self, sample: Sample) -> list[tuple[list[tuple[str, str]], bool]]:
        """What this stage says about a sample: turns (asked, answered), and whether letters weigh more."""
        asked = [q for q in sample.questions if self.kinds is None or q.kind in self.kinds]
        found = [
            ([(question_text(q), target_text(q, self.branches.box_step))], q.kind == "mcq") for q in asked
        ]
        if self.dialogue and sample.dialogue:
            found.append((list(sample.dialogue), False))
        if self.narratives:
            found += [([turn], False) for turn in narratives(sample)]
        return found

    def _packed(self, prefixes, parts, weights) -> dict:
        packed = pack(prefixes, parts, self.branches.tokenizer.pad_token_id)
        return {"packed": packed, "weights": torch.nn.utils.rnn.pad_sequence(weights, batch_first=True)}


def check_readable(samples: list[Sample], objects: bool) -> None:
    """Read-outs know the scenes' anomaly classes and, with `objects`, their kinds of objects. Raises
    InputError that names a sample with others."""
    for sample in samples:
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


def token_targets(view: View, grid: list[int], merge: int = 2) -> dict[str, torch.Tensor]:
    """What every video token of a clip should tell (stage 0, `AttributeHeads`), in the order of the language
    model's video tokens.

    kind (m,): index of the anomaly class + 1 where the token shows the anomaly, else 0; colour (m,): of the
    one at fault, -1 where unknown; box (m, 8): its box in the step's two frames, 0..1, NaN where there is
    none.
    """
    t, h, w = grid[0], grid[1] // merge, grid[2] // merge
    sample, mask = view.sample, view.mask
    assert mask is not None
    lit = patch_targets(mask, h, w).reshape(t, h * w).bool()
    kind = torch.zeros(t, h * w, dtype=torch.long)
    colour = torch.full((t, h * w), -1)
    box = torch.full((t, h * w, 8), float("nan"))
    if sample.anomalous:
        kind[lit] = list(ANOMALIES).index(sample.category) + 1
        asked = [q for q in sample.questions if q.topic == "colour"]
        if asked:
            colour[lit] = list(COLOURS).index(asked[0].options["ABCD".index(asked[0].answer)])
        height, width = mask.shape[1:]
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
    assert view.mask is not None
    lit = patch_targets(view.mask, h, w)
    kind = lit * (list(ANOMALIES).index(view.sample.category) + 1 if view.sample.anomalous else 0)
    objects = np.zeros((t, h, w, len(OBJECTS)), np.float32)
    motion = np.full((t, h, w, 4), np.nan, np.float32)
    height, width = view.mask.shape[1:]
    size = np.array([width, height, width, height])
    last = len(view.frames.indices) - 1
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


class TextCollator(ClipCollator):
    """Symbolic questions without a clip: numbers of questions -> packed rows of `per_row` branches behind the
    system message."""

    def __init__(self, branches: Branches, seed: int, per_row: int = 8):
        self.branches, self.seed, self.per_row = branches, seed, per_row

    def __call__(self, numbers: list[int]) -> dict:
        text = self.branches.processor.apply_chat_template(messages(""), tokenize=False)
        prefix = self.branches._ids(text[: text.index("<|vision_start|>")])
        prefixes, parts, weights = [], [], []
        for number in numbers:
            seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
            found = [self.branches.of(q) for q in symbolic_questions(seed, self.per_row)]
            prefixes.append(prefix)
            parts.append([ids for ids, _ in found])
            weights.append(torch.cat([torch.zeros(len(prefix)), *(w for _, w in found)]))
        return self._packed(prefixes, parts, weights)
