"""Rollouts that are drawn while an earlier one is trained on (`staleness`), by rollout servers.

When the last of them was taken the servers get the weights of that moment, and a thread of its own asks them
for as many rollouts as may be trained on before they are too old; each is taken when its turn comes, by then
`age` optimiser steps old. No draw sees two sets of weights: none is sent while one is under way, so that two
runs of one seed agree. The loss is corrected for the age by truncated importance sampling
(`rft.grpo.importance`) with the log-probs that the servers drew by. What is older than allowed, about other
prompts, or came from servers that died is dropped, counted, and drawn anew."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object

from bench.models.base import Request, Sampling
from rft.grpo.rollout import group_starts, video_of
from rft.grpo.servers import Drawn, NoServer
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.video import Frames


@dataclass(frozen=True)
class Draw:
    """A rollout under way: what it is about, the step whose weights draw it, what will come."""

    prompts: list
    step: int
    coming: "Future[Drawn]"


def steps_of(arguments: Any) -> int:
    """Optimiser steps that a rollout serves, at least 1."""
    passes = arguments.steps_per_generation * arguments.num_iterations
    return max(1, -(-passes // arguments.gradient_accumulation_steps))


def check_staleness(staleness: int, engine: str, method: str, arguments: Any) -> None:
    """Raise InputError for a staleness that cannot be kept, or that nothing would come of."""
    if staleness < 0:
        raise InputError(f"staleness: {staleness}, expected at least 0")
    if not staleness:
        return
    if not engine.startswith("server:"):
        raise InputError(
            f"staleness: {staleness}: only rollout servers draw while a step trains, not {engine}"
        )
    if method != "grpo" or not arguments.vllm_importance_sampling_correction:
        raise InputError(
            f"staleness: {staleness}: completions of older weights need the correction of the loss: set"
            " method to grpo and training.vllm_importance_sampling_correction to true"
        )
    if (least := steps_of(arguments)) > staleness:
        raise InputError(
            f"staleness: {staleness}: a rollout serves {least} steps: expected at least {least}, or 0"
        )


class DrawsAhead:
    """Mixed into the trainer, whose attributes these are."""

    accelerator: Any
    args: Any
    engine: Any
    num_generations: int
    state: Any
    staleness: int
    store: ClipStore
    _log_metric: Callable[[str, float], None]
    _questions: Callable[[list, list[Frames], int, int], tuple[list[Request], Sampling]]
    _step: int
    _synced_step: int
    _with_engine: Callable[[Callable[[], Any]], Any]

    def begin_ahead(self) -> None:
        """Nothing is under way."""
        self._under_way: dict[int, Draw] = {}  # by pass
        self._asked = -1  # the last pass for which was asked
        self._known: dict[int, list[dict]] = {}
        self._source: Any = None
        self._coming: deque = deque()
        self._drawer = ThreadPoolExecutor(1, thread_name_prefix="rollouts")

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device):
        """transformers', which looks as far ahead as rollouts are drawn, within an epoch."""
        parent: Any = super()
        if not self.staleness:
            return parent.get_batch_samples(epoch_iterator, num_batches, device)
        if epoch_iterator is not self._source:  # of a new epoch
            self._source, self._coming = epoch_iterator, deque()
        with suppress(StopIteration):
            while len(self._coming) < num_batches + self._depth * self._cycle:
                self._coming.append(next(epoch_iterator))
        self._known = {self._step + n: batch for n, batch in enumerate(self._coming)}
        now = [self._coming.popleft() for _ in range(min(num_batches, len(self._coming)))]
        return parent.get_batch_samples(iter(now), num_batches, device)

    @property
    def _cycle(self) -> int:
        """Passes that a rollout serves."""
        return self.args.steps_per_generation * self.args.num_iterations

    @property
    def _depth(self) -> int:
        """Rollouts that are drawn ahead."""
        return self.staleness // steps_of(self.args)

    def sync_weights(self) -> None:
        """As without: but what is under way is drawn to its end by the weights that it began with."""
        parent: Any = super()
        if self._under_way and self.state.global_step != self._synced_step:
            wait([draw.coming for draw in self._under_way.values()])
        if self.staleness:
            self.accelerator.wait_for_everyone()  # the first process sends, others may be drawing
        parent.sync_weights()

    def drawn_ahead(self, prompts: list) -> Drawn | None:
        """The completions of this pass's prompts, where they were drawn ahead and may be used; waits for
        them."""
        draw = self._under_way.pop(self._step, None)
        began, age, found = time.monotonic(), 0, None
        if draw is not None:
            age = self.state.global_step - draw.step
            with suppress(NoServer):
                found = draw.coming.result()
            if draw.prompts != prompts or age > self.staleness:
                found = None
        # Drawing anew gives out weights, in which all processes have a part: all do, or none.
        useless = found is None
        if any(gather_object([useless])):
            found = None
        dropped = draw is not None and found is None
        self._log_metric("staleness/waited", time.monotonic() - began)
        self._log_metric("staleness/dropped", float(dropped * len(prompts) * self.num_generations))
        self._log_metric("staleness/age", 0.0 if found is None else float(age))
        return found

    def draw_ahead(self) -> None:
        """Begin the next rollouts with the weights of now, where all that were begun are taken."""
        if self._step < self._asked:
            return
        last = self.state.max_steps * self.args.gradient_accumulation_steps
        ahead = [self._step + n * self._cycle for n in range(1, self._depth + 1)]
        ahead = [place for place in ahead if place in self._known and place < last]
        if ahead:
            self._asked = ahead[-1]
            self._with_engine(lambda: self._begin(ahead))

    def _begin(self, places: list[int]) -> None:
        for place in places:
            self._begin_one(place)

    def _begin_one(self, place: int) -> None:
        given = [row["prompt"] for row in self._known[place]]
        prompts = [given[start] for start in group_starts(given, self.num_generations)]
        with suppress(InputError):  # a clip that cannot be read is met again when its turn comes
            clips = [self.store.load(video_of(prompt)) for prompt in prompts]
            asked, sampling = self._questions(prompts, clips, place, self.num_generations)
            coming = self._drawer.submit(self.engine.draw, asked, sampling)
            self._under_way[place] = Draw(prompts, self.state.global_step, coming)

    def end_ahead(self) -> None:
        """Let go of what is under way."""
        self._drawer.shutdown(wait=False, cancel_futures=True)
