"""`baseline:` answers without looking: random, prior (the most frequent answer; of a dialogue the most
frequent reply to the same words, all references counted), longest option, text=DATA (a bag of words over
question and options, learned on the data set or CSV DATA); oracle gives the reference.
Two copy the replies of another data set's dialogues, for splits whose windows are neighbours:
neighbour=DATA (the first reply to the same words of the nearest window of the same source video in DATA;
where DATA has none, its most frequent reply, which is counted and said), window=DATA (of a random window,
drawn by question). Of other questions they give DATA's most frequent answer, as prior=DATA does of all.
Three more answer as prior does and give heatmaps that know nothing of the pixels: constant (a number a
video, drawn by its name), centre (brightest in the middle), length (longer videos are brighter). Three give
heatmaps of what moves, as practitioners would make them without a model: difference (between frames), flow
(Farneback's optical flow), mog2 (OpenCV's background subtraction); difference=DATA, flow=DATA and mog2=DATA
set what counts as half anomalous on the normal videos of the data set DATA.

Which answers there are is read off the whole data set of a question (or off DATA), not off those that are
asked beside it."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from bench.blind import longest, multiple_choice, read, text_only
from bench.models import motion
from bench.models.base import Completion, Request, Sampling, seeds_of
from bench.windows import Replies
from tvad.answer import NONE, Answer, Box, Spans, render
from tvad.common import quiet
from tvad.common.errors import InputError
from tvad.data.check import readable
from tvad.data.dialogue import once
from tvad.data.questions import LETTERS
from tvad.data.sample import DIALOGUE_TURN, Question
from tvad.data.video import Frames

MAPS = ("constant", "centre", "length")
COPIES = ("neighbour", "window")
MUST = ("text", *COPIES)  # be given data
NAMES = ("random", "prior", "longest", "oracle", *MAPS, *motion.KINDS, *MUST)
TRAINED = ("prior", *motion.KINDS, *MUST)  # may be given data
SIDE = 32  # cells of a map's side: squares of a wide picture are as wide as it
SPREAD = 0.25  # standard deviation of `centre`, in sides of the picture


class Baseline:
    name = "baseline"

    def __init__(self, which: str):
        self.which, _, train = which.partition("=")
        # Of a data set: (kind, words of a turn or "") -> its answers.
        self._answers: dict[str, dict[tuple[str, str], Counter[str]]] = {}
        self._from, self._said = "", set[str]()  # the data set that answers; those whose turns were counted
        if (
            self.which not in NAMES
            or (self.which in MUST and not train)
            or (train and self.which not in TRAINED)
        ):
            known = (*NAMES[: -len(MUST)], *(f"{name}=DATA" for name in MUST))
            raise InputError(f"baseline:{which}: unknown; known: {', '.join(known)}")
        self._half = motion.HALF.get(self.which, 1.0)
        if train and self.which in motion.KINDS:
            normal = [sample for sample in readable(train)[0] if sample.anomalous is False]
            if not normal:
                raise InputError(f"baseline:{which}: {train} has no normal video")
            self._half = motion.half_of(self.which, normal)
        elif train and self.which != "text":
            self._from = train
            self._known(train, [])
            if self.which in COPIES:
                self.replies = Replies(read(train)[0])
        elif train:
            self.train = multiple_choice(read(train)[0])
            if not self.train:
                raise InputError(f"baseline:{which}: {train} has no multiple-choice question")

    def _known(self, root: str, requests: list[Request]) -> dict[tuple[str, str], Counter[str]]:
        """What is asked -> the answers to it in a data set, and how often each occurs. Samples that lie in
        none have those that are asked for company."""
        if root not in self._answers:
            here = {r.item.sample.id: r.item.sample for r in requests if not r.item.sample.root}
            found: dict[tuple[str, str], Counter[str]] = {}
            for sample in read(root)[0] if root else here.values():
                for question in sample.questions:
                    found.setdefault((question.kind, ""), Counter())[question.answer] += 1
                for asked, reply in sample.dialogue or ():
                    for words in (asked, ""):  # turns in another form have the replies to all words
                        found.setdefault((DIALOGUE_TURN, words), Counter())[reply] += 1
            if not root:
                return found
            self._answers[root] = found
        return self._answers[root]

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        questions = [request.item.question for request in requests]
        letters: dict[int, str] = {}
        if self.which == "text":
            asked = [n for n, q in enumerate(questions) if q.options]
            letters = (
                dict(
                    zip(
                        asked,
                        text_only(self.train, [(requests[n].item.sample, questions[n]) for n in asked]),
                        strict=True,
                    )
                )
                if asked
                else {}
            )
        seeds = seeds_of(requests, sampling.seed)
        for root in {r.item.sample.root for r in requests} - self._said:
            self._say(root)
        roots = [self._from or r.item.sample.root for r in requests]
        known = {root: self._known(root, requests) for root in {*roots}}
        return [
            self._answer(request, known[roots[n]], sampling, seeds[n], letters.get(n))
            for n, request in enumerate(requests)
        ]

    def _say(self, root: str) -> None:
        """How many turns of a data set the neighbour has nothing to copy for."""
        self._said.add(root)
        if self.which == "neighbour" and root:
            asked = [(s, words) for s in read(root)[0] for words, _ in once(s.dialogue or ())]
            alone = sum(self.replies.near(sample, words) is None for sample, words in asked)
            quiet.note(
                f"baseline:neighbour: {alone} of {len(asked)} turns of {root} get the most frequent reply: no"
                f" window of their video in {self._from} replies to the same words"
            )

    def _copy(self, request: Request, rng: np.random.Generator) -> str | None:
        """The reply of another window; None where there is none to copy."""
        item = request.item
        if self.which not in COPIES or item.question.kind != DIALOGUE_TURN:
            return None
        if self.which == "neighbour":
            return self.replies.near(item.sample, item.question.text)
        return self.replies.drawn(item.sample, item.question.text, rng)

    def _answers_to(self, question: Question, answers: dict[tuple[str, str], Counter[str]]) -> Counter[str]:
        for words in (question.text, ""):
            if found := answers.get((question.kind, words)):
                return found
        raise InputError(
            f"baseline:{self.which}: {self._from or 'the data set'} answers no question of kind"
            f" {question.kind!r}"
        )

    def _answer(self, request, answers, sampling, seed, letter):
        question = request.item.question
        if self.which == "oracle":
            return [Completion(request.item.sample.solution(question))] * sampling.n
        rng, known = np.random.default_rng(seed), self._answers_to(question, answers)
        # Of equally frequent ones the first by name, so that the order of rows does not matter.
        prior = min(known, key=lambda answer: (-known[answer], answer))
        done = []
        for _ in range(sampling.n):
            if self.which == "random":
                answer = str(
                    rng.choice(list(LETTERS[: len(question.options)]) if question.options else sorted(known))
                )
            elif self.which == "longest" and question.options:
                answer = longest(question)
            elif letter is not None:
                answer = letter
            elif (copy := self._copy(request, rng)) is not None:
                answer = copy
            else:
                answer = prior
            if question.kind != DIALOGUE_TURN:
                spans: Spans = NONE if answer == "Normal" else ((0.0, request.frames.duration),)
                answer = render(
                    Answer("A guess.", answer, spans, (Box((250.0, 250.0, 750.0, 750.0)),)), question.kind
                )
            done.append(Completion(answer))
        return done

    def frame_maps(self, images: Iterator[np.ndarray]) -> np.ndarray | None:
        if self.which not in motion.KINDS:
            return None
        return motion.relative(motion.energies(self.which, images), self._half)

    def heatmaps(self, frames):
        if self.which in motion.KINDS:
            every = [motion.relative(motion.energies(self.which, clip.images), self._half) for clip in frames]
            return [np.stack([maps[n : n + 2].mean(0) for n in range(0, len(maps), 2)]) for maps in every]
        if self.which not in MAPS:
            return None
        return [np.broadcast_to(self._map(clip), (-(-len(clip.images) // 2), SIDE, SIDE)) for clip in frames]

    def _map(self, clip: Frames) -> np.ndarray:
        """A map that is shown at every step, 0..1, (SIDE, SIDE) or one number."""
        if self.which == "length":
            return np.array(clip.duration / (1 + clip.duration))  # rising, whatever the longest is
        if self.which == "constant":
            return np.random.default_rng(list(clip.name.encode(errors="backslashreplace"))).random(())
        away = (np.arange(SIDE) + 0.5) / SIDE - 0.5
        return np.exp(-(away[:, None] ** 2 + away**2) / (2 * SPREAD**2))
