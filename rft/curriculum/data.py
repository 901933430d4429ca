"""Batches for supervised stages: one row per clip, its questions and its dialogue as branches behind the clip
(`tvad.model.packing`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch.utils.data import Dataset

from rft.curriculum.config import Data, ReadOuts, Texts
from rft.curriculum.geometry import BoxDigits, as_tensors
from rft.curriculum.read_outs import object_targets, token_targets
from rft.curriculum.views import View, draw_view
from tvad.answer import Box
from tvad.control import chat, plain, tokens_of
from tvad.data import dialogue
from tvad.data.dataset import ClipStore
from tvad.data.narrate import narratives
from tvad.data.questions import LETTERS
from tvad.data.sample import Question, Sample
from tvad.data.scenes.describe import symbolic_questions
from tvad.data.video import Frames
from tvad.model.ahd import patch_targets
from tvad.model.classifier import clip_text
from tvad.model.packing import pack
from tvad.model.processing import TvadProcessor
from tvad.prompts import messages, question_text

VISION_START = "<|vision_start|>"
Turns = list[tuple[str, str]]  # (asked, answered)


def target_text(question: Question, box_step: int, reasoning: bool = True) -> str:
    """The reference as training target, with its reasoning or without; box coordinates rounded to `box_step`
    of 1000, so that few digits carry the place."""

    def rounded(box: Box) -> Box:
        x1, y1, x2, y2 = (round(c / box_step) * box_step for c in box.xyxy)
        return Box((x1, y1, x2, y2), box.t)

    rationale = question.rationale if reasoning else None
    boxes = tuple(rounded(box) for box in question.boxes)
    return replace(question, boxes=boxes, rationale=rationale).solution()


@dataclass
class Branches:
    """Tokenises chats into a prefix (up to the clip's end) and a branch with per-token loss weights."""

    processor: TvadProcessor
    answer_weight: float = 1.0
    box_step: int = 10
    reasoning: bool = True
    geometry: bool = False

    def __post_init__(self):
        self.tokenizer = self.processor.tokenizer
        self.controls = tokens_of(self.processor)
        self.assistant = "<|im_start|>assistant\n"
        self.end = "<|im_end|>"
        self.boxes = BoxDigits(self.tokenizer)
        self.letters = [self.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS]

    def opening(self) -> torch.Tensor:
        """The system message alone (P,)."""
        text = chat(self.processor, messages(""), answers=False)
        return self._ids(text[: text.index(VISION_START)])

    def prefix(self, grid: torch.Tensor, clip: Frames) -> torch.Tensor:
        """The system message and the clip (P,)."""
        return self._ids(self.processor.expand(clip_text(self.processor), grid, clip))

    def _ids(self, text: str) -> torch.Tensor:
        return torch.tensor(self.tokenizer(text)["input_ids"], dtype=torch.long)

    def conversation(self, turns: Turns, letters: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Turns after the clip -> ids (n,), weights (n,): 0 where nothing is to be learned; the first so many
        `letters` weigh `answer_weight`."""
        ids, weights = [], []
        heavy = set(self.letters[:letters])
        for n, (asked, answered) in enumerate(turns):
            # The prefix ends inside the user's first turn, behind the clip.
            opening = "" if n == 0 else "\n<|im_start|>user\n"
            asked, answered = plain(asked, self.controls), plain(answered, self.controls)
            question = self._ids(f"{opening}{asked}{self.end}\n{self.assistant}")
            reply = self._ids(f"{answered}{self.end}")
            weight = torch.ones(len(reply))
            if heavy:
                weight[torch.tensor([int(t) in heavy for t in reply])] = self.answer_weight
            ids += [question, reply]
            weights += [torch.zeros(len(question)), weight]
        return torch.cat(ids), torch.cat(weights)

    def wrong(self, turns: Turns) -> list[tuple[int, list[int]]]:
        """Places in a conversation's ids and what would make a box impossible there
        (`geometry.BoxDigits`)."""
        found = []
        for n, (_, answered) in enumerate(turns):
            whole = len(self.conversation(turns[: n + 1], 0)[0])
            answered = plain(answered, self.controls)
            begin = whole - len(self._ids(f"{answered}{self.end}"))
            found += [(begin + place, tokens) for place, tokens in self.boxes.wrong(f"{answered}{self.end}")]
        return found

    def of(self, question: Question) -> tuple[Turns, int]:
        """A question as a conversation: its turn, and how many letters weigh more (of few options eight, as
        in the shipped checkpoints' training)."""
        letters = max(8, len(question.options or ())) if question.kind == "mcq" else 0
        return [(question_text(question), target_text(question, self.box_step, self.reasoning))], letters

    def batch(self, prefixes: list[torch.Tensor], conversations: list[list[tuple[Turns, int]]]) -> dict:
        """Rows of a prefix and its conversations as branches: `packed`, and `weights` (B, L) of the
        tokens."""
        parts, weights, wrong = [], [], []
        for prefix, row in zip(prefixes, conversations, strict=True):
            found = [self.conversation(turns, letters) for turns, letters in row]
            parts.append([ids for ids, _ in found])
            weights.append(torch.cat([torch.zeros(len(prefix)), *(w for _, w in found)]))
            if self.geometry:
                begins = accumulate((len(ids) for ids, _ in found), initial=len(prefix))
                wrong.append(
                    [
                        (begin + place, tokens)
                        for begin, (turns, _) in zip(begins, row, strict=False)  # the last one ends the row
                        for place, tokens in self.wrong(turns)
                    ]
                )
        batch = {
            "packed": pack(prefixes, parts, self.tokenizer.pad_token_id),
            "weights": torch.nn.utils.rnn.pad_sequence(weights, batch_first=True),
        }
        return batch | ({"wrong": as_tensors(wrong)} if self.geometry else {})


@dataclass(frozen=True)
class Drawn:
    """A sample of which a batch shows what the numbers `key` draw."""

    sample: Sample
    key: tuple[int, ...]


class DrawnSamples(Dataset):
    """Samples for training, each drawn by its epoch and its number in the data: neither the workers of a
    loader nor the processes that share a step, nor where a run was resumed, change what is seen of it."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = samples
        # Shared memory: workers that stay from one epoch to the next hold a copy of all else.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Called by the loader (accelerate's `DataLoaderShard`) as an epoch begins."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Drawn:
        return Drawn(self.samples[number], (int(self._epoch), number))


class ClipCollator:
    """Samples -> a packed batch with pixels, token weights and targets of heatmaps and read-outs. A batch
    that asks nothing has no text, and clips for the classifier have a row without questions. What it shows of
    a `Drawn` sample by `data` depends on `seed` and its key alone, of another it shows all."""

    def __init__(
        self,
        branches: Branches,
        store: ClipStore,
        texts: Texts | None = None,
        heatmap: bool = False,
        read_outs: ReadOuts | None = None,
        classifier: bool = False,
        data: Data | None = None,
        seed: int = 0,
    ):
        self.branches, self.store, self.texts, self.heatmap = branches, store, texts or Texts(), heatmap
        self.read_outs, self.data, self.seed = read_outs or ReadOuts(), data, seed
        self.classifier = classifier

    @property
    def wants_masks(self) -> bool:
        """Whether it must be known which pixels of every clip are anomalous."""
        return bool(self.heatmap or self.read_outs.attributes or self.read_outs.objects)

    def view(self, given: Sample | Drawn) -> View:
        """What the batch shows of a sample; ValueError where it lacks the mask that this stage needs."""
        sample = given.sample if isinstance(given, Drawn) else given
        mask = self.store.mask(sample) if self.wants_masks else None
        view = View(sample, self.store.frames(sample), mask, sample.tracks or ())
        if self.wants_masks:
            view.masked()
        if not isinstance(given, Drawn) or self.data is None:
            return view
        seed = int(np.random.SeedSequence([self.seed, *given.key]).generate_state(1)[0])
        return draw_view(view, self.data, torch.Generator().manual_seed(seed))

    def __call__(self, given: Sequence[Sample | Drawn]) -> dict:
        views = [self.view(each) for each in given]
        frames = [view.frames for view in views]
        vision = self.branches.processor.vision_inputs(frames)
        grids = vision["video_grid_thw"]
        # As numbers: a trainer casts floating tensors to the type of its weights (DeepSpeed), times are not
        # for that.
        batch: dict = {"clips": vision | {"second_per_grid_ts": vision["second_per_grid_ts"].tolist()}}
        if self.heatmap:
            batch["heat_targets"] = torch.cat(
                [
                    patch_targets(view.masked(), h, w).flatten()
                    for view, (_, h, w) in zip(views, grids.tolist(), strict=True)
                ]
            )
        for name, wanted, targets in (
            ("token_targets", self.read_outs.attributes, token_targets),
            ("object_targets", self.read_outs.objects, object_targets),
        ):
            if wanted:
                told = [targets(view, grid) for view, grid in zip(views, grids.tolist(), strict=True)]
                batch[name] = {key: torch.cat([part[key] for part in told]) for key in told[0]}
        if self.classifier:
            batch["anomalous"] = labels_of([view.sample for view in views])
        asks = self.texts.kinds != [] or self.texts.dialogue or self.texts.narratives
        if not asks and not self.classifier:
            return batch
        # One row a clip: the frames are encoded once for all that is asked about them.
        prefixes = [self.branches.prefix(grid, clip) for grid, clip in zip(grids, frames, strict=True)]
        return batch | self.branches.batch(prefixes, [self.conversations(view.sample) for view in views])

    def teaches(self, sample: Sample) -> bool:
        """Whether there is anything to learn of a sample: a word of it, or for the classifier its label."""
        return bool(self.conversations(sample)) or (self.classifier and sample.anomalous is not None)

    def conversations(self, sample: Sample) -> list[tuple[Turns, int]]:
        """What this stage says about a sample: turns, and whether letters weigh more."""
        kinds = self.texts.kinds
        found = [self.branches.of(q) for q in sample.questions if kinds is None or q.kind in kinds]
        if self.texts.dialogue and (turns := dialogue.once(dialogue.turns(sample, self.texts.form))):
            found.append((list(turns), 0))
        if self.texts.narratives:
            found += [([turn], 0) for turn in narratives(sample)]
        return found


def labels_of(samples: Sequence[Sample]) -> torch.Tensor:
    """(B,) 1 for anomalous, 0 for normal, -1 where that is not known."""
    return torch.tensor([-1 if s.anomalous is None else int(s.anomalous) for s in samples])


class TextCollator:
    """Symbolic questions without a clip: numbers of questions -> packed rows of `per_row` branches behind the
    system message."""

    def __init__(self, branches: Branches, seed: int, per_row: int = 8):
        self.branches, self.seed, self.per_row = branches, seed, per_row

    def __call__(self, numbers: list[int]) -> dict:
        rows = []
        for number in numbers:
            seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
            rows.append([self.branches.of(q) for q in symbolic_questions(seed, self.per_row)])
        return self.branches.batch([self.branches.opening()] * len(rows), rows)
