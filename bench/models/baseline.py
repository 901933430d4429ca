"""`baseline:` answers without looking: random, prior (the most frequent answer), longest option, text=DATA (a
bag of words over question and options, learned on the data set or CSV DATA); oracle gives the reference."""

import zlib
from collections import Counter

import numpy as np

from bench.blind import longest, multiple_choice, read, text_only
from bench.models.base import Completion, Request, Sampling
from tvad.answer import NONE, Answer, Box, Spans, render
from tvad.common.errors import InputError
from tvad.data.questions import LETTERS
from tvad.data.sample import DIALOGUE_TURN

NAMES = ("random", "prior", "longest", "oracle", "text")


class Baseline:
    name = "baseline"

    def __init__(self, which: str):
        self.which, _, train = which.partition("=")
        if self.which not in NAMES or (self.which == "text") != bool(train):
            raise InputError(f"baseline:{which}: unknown; known: {', '.join(NAMES[:-1])}, text=DATA")
        if train:
            self.train = multiple_choice(read(train)[0])
            if not self.train:
                raise InputError(f"baseline:{which}: {train} has no multiple-choice question")

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        questions = [request.item.question for request in requests]
        prior = {}
        for kind in {q.kind for q in questions}:
            prior[kind] = Counter(q.answer for q in questions if q.kind == kind).most_common(1)[0][0]
        pools = {kind: sorted({q.answer for q in questions if q.kind == kind}) for kind in prior}
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
        return [
            self._answer(request, prior, pools, sampling, letters.get(n))
            for n, request in enumerate(requests)
        ]

    def _answer(self, request, prior, pools, sampling, letter):
        question = request.item.question
        if self.which == "oracle":
            return [Completion(question.solution())] * sampling.n
        rng = np.random.default_rng([sampling.seed or 0, zlib.crc32(request.item.id.encode())])
        done = []
        for _ in range(sampling.n):
            if self.which == "random":
                answer = str(
                    rng.choice(
                        list(LETTERS[: len(question.options)]) if question.options else pools[question.kind]
                    )
                )
            elif self.which == "longest" and question.options:
                answer = longest(question)
            elif letter is not None:
                answer = letter
            else:
                answer = prior[question.kind]
            spans: Spans = NONE if answer == "Normal" else ((0.0, request.frames.duration),)
            if question.kind != DIALOGUE_TURN:
                answer = render(
                    Answer("A guess.", answer, spans, (Box((250.0, 250.0, 750.0, 750.0)),)), question.kind
                )
            done.append(Completion(answer))
        return done

    def heatmaps(self, frames):
        return None
