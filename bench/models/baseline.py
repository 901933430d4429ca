"""`baseline:` answers without looking: random, prior (the most frequent answer), longest option; oracle gives the reference."""

import zlib
from collections import Counter

import numpy as np

from bench.models.base import Completion, Request, Sampling
from tvad.answer import NONE, Answer, Box, render
from tvad.data.sample import DIALOGUE_TURN
from tvad.errors import InputError

NAMES = ("random", "prior", "longest", "oracle")


class Baseline:
    name = "baseline"

    def __init__(self, which: str):
        if which not in NAMES:
            raise InputError(f"baseline:{which}: unknown; known: {', '.join(NAMES)}")
        self.which = which

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        questions = [request.item.question for request in requests]
        prior = {}
        for kind in {q.kind for q in questions}:
            prior[kind] = Counter(q.answer for q in questions if q.kind == kind).most_common(1)[0][0]
        pools = {kind: sorted({q.answer for q in questions if q.kind == kind}) for kind in prior}
        return [self._answer(request, prior, pools, sampling) for request in requests]

    def _answer(self, request, prior, pools, sampling):
        question = request.item.question
        if self.which == "oracle":
            return [Completion(question.solution())] * sampling.n
        rng = np.random.default_rng([sampling.seed or 0, zlib.crc32(request.item.id.encode())])
        done = []
        for _ in range(sampling.n):
            if self.which == "random":
                answer = str(rng.choice(list("ABCDEFGH"[: len(question.options)]) if question.options else pools[question.kind]))
            elif self.which == "longest" and question.options:
                answer = "ABCDEFGH"[max(range(len(question.options)), key=lambda i: len(question.options[i]))]
            else:
                answer = prior[question.kind]
            duration = request.frames.total / request.frames.fps
            span = NONE if answer == "Normal" else (0.0, duration)
            if question.kind != DIALOGUE_TURN:
                answer = render(Answer("A guess.", answer, span, (Box((250.0, 250.0, 750.0, 750.0)),)), question.kind)
            done.append(Completion(answer))
        return done

    def heatmaps(self, frames):
        return None
