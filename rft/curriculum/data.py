"""Batches for supervised stages: one row per clip, its questions and its dialogue as branches behind the clip (`tvad.model.packing`)."""

from dataclasses import dataclass

import numpy as np
import torch

from tvad.answer import Answer, Box, render
from tvad.data.dataset import ClipStore
from tvad.data.narrate import narratives
from tvad.data.sample import Question, Sample
from tvad.data.scenes.actors import COLOURS
from tvad.data.scenes.describe import symbolic_questions
from tvad.data.scenes.script import ANOMALIES
from tvad.data.video import Frames
from tvad.model.ahd import patch_targets
from tvad.model.packing import pack
from tvad.prompts import messages, question_text

VISION_END = "<|vision_end|>"


def target_text(question: Question, box_step: int) -> str:
    """The reference as training target; box coordinates rounded to `box_step` of 1000, so that few digits carry the place."""
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

    def conversation(self, turns: list[tuple[str, str]], weight_letters: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Turns (asked, answered) after the clip -> ids (n,), weights (n,): 0 where nothing is to be learned."""
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
        return self.conversation([(question_text(question), target_text(question, self.box_step))], question.kind == "mcq")


class ClipCollator:
    """Samples -> a packed batch with pixels, token weights and heatmap targets.

    kinds: limits the questions (None: all); dialogue, narratives: add the anomaly-focused dialogue, words about every object;
    heatmap, attributes: add their targets. A batch that asks nothing has no text.
    """

    def __init__(self, branches: Branches, store: ClipStore, kinds: list[str] | None = None, dialogue: bool = False, heatmap: bool = False,
                 attributes: bool = False, narratives: bool = False):  # fmt: skip
        self.branches, self.store, self.kinds, self.dialogue, self.heatmap = branches, store, kinds, dialogue, heatmap
        self.attributes, self.narratives = attributes, narratives

    def __call__(self, samples: list[Sample]) -> dict:
        processor = self.branches.processor
        frames = [self.store.frames(sample) for sample in samples]
        vision = processor.vision_inputs(frames)
        grids = vision["video_grid_thw"]
        batch = {"clips": vision}
        if self.heatmap:
            targets = []
            for sample, (_, h, w) in zip(samples, grids.tolist()):
                mask = self.store.mask(sample)
                if mask is None:
                    raise ValueError(f"{sample.id}: no mask, but this stage trains on heatmaps")
                targets.append(patch_targets(mask, h, w).flatten())
            batch["heat_targets"] = torch.cat(targets)
        if self.attributes:
            parts = [token_targets(sample, self.store, grid) for sample, grid in zip(samples, grids.tolist())]
            batch["token_targets"] = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        if self.kinds == [] and not self.dialogue and not self.narratives:
            return batch
        prefixes, parts, weights = [], [], []
        for sample, grid, clip in zip(samples, grids, frames):
            prefix = self.branches.prefix(grid, clip)
            found = [self.branches.conversation(turns, letters) for turns, letters in self.conversations(sample)]
            prefixes.append(prefix)
            parts.append([ids for ids, _ in found])
            weights.append(torch.cat([torch.zeros(len(prefix)), *(w for _, w in found)]))
        return batch | self._packed(prefixes, parts, weights)

    def conversations(self, sample: Sample) -> list[tuple[list[tuple[str, str]], bool]]:
        """What this stage says about a sample: turns (asked, answered), and whether letters weigh more."""
        asked = [q for q in sample.questions if self.kinds is None or q.kind in self.kinds]
        found = [([(question_text(q), target_text(q, self.branches.box_step))], q.kind == "mcq") for q in asked]
        if self.dialogue and sample.dialogue:
            found.append((list(sample.dialogue), False))
        if self.narratives:
            found += [([turn], False) for turn in narratives(sample)]
        return found

    def _packed(self, prefixes, parts, weights) -> dict:
        packed = pack(prefixes, parts, self.branches.tokenizer.pad_token_id)
        return {"packed": packed, "weights": torch.nn.utils.rnn.pad_sequence(weights, batch_first=True)}


def token_targets(sample: Sample, store: ClipStore, grid: list[int], merge: int = 2) -> dict[str, torch.Tensor]:
    """What every video token of a clip should tell (stage 0, `AttributeHeads`), in the order of the language model's video tokens.

    kind (m,): index of the anomaly class + 1 where the token shows the anomaly, else 0; colour (m,): of the one at fault, -1 where
    unknown; box (m, 8): its box in the step's two frames, 0..1, NaN where there is none.
    """
    t, h, w = grid[0], grid[1] // merge, grid[2] // merge
    mask = store.mask(sample)
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
            rows, columns = (torch.nonzero(mask[min(frame, len(mask) - 1)].any(axis)).flatten() for axis in (1, 0))
            if len(rows):
                edges = torch.tensor([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])
                box[frame // 2, lit[frame // 2], 4 * (frame % 2) : 4 * (frame % 2) + 4] = edges
    return {"kind": kind.flatten(), "colour": colour.flatten(), "box": box.reshape(-1, 8)}


class TextCollator(ClipCollator):
    """Symbolic questions without a clip: numbers of questions -> packed rows of `per_row` branches behind the system message."""

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
