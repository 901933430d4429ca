"""Asks a model the questions of a suite and keeps what it says, line by line, so that a killed run goes on.

Two passes: `answers` (samples.jsonl) and, for engines that know how likely an answer is, `odds` (odds.jsonl).
What an earlier run has left is handed in as lines (`run_folder.read_all`); nothing of it is asked again where
it still holds.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bench.answers import prompt_hash, score_item
from bench.cache import ResponseCache
from bench.models.base import Completion, Engine, GivesOdds, RendersPrompts, Request, Sampling, Streams
from bench.models.families import Known, rule
from bench.run_folder import write_lines
from bench.suite import Item, Suite
from bench.tasks.faithfulness import masked
from tvad.answer import ends_open, judged
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.questions import LETTERS
from tvad.data.sample import Sample
from tvad.prompts import asked, messages

BATCH = 64  # questions asked at a time; the unit of resumption
ODDS_TASKS = ("judgement", "mcq")
OPENING = "<answer>"  # what stands before the words whose likelihood is asked


@dataclass
class Asking:
    """A model, what it is asked and what it has been shown. cache: answers that runs share; label: of the
    progress bar; known: the model's family, whose rules its answers are read by."""

    model: Engine
    suite: Suite
    store: ClipStore
    cache: ResponseCache | None = None
    label: str = "model"
    known: Known | None = None

    def answers(self, items: list[Item], path: Path, kept: list[dict]) -> None:
        """Answer the items into `path`, a line an attempt; those among the lines `kept` or in the cache are
        not asked again."""
        hashes = {item.id: prompt_hash(item, self.suite) for item in items}
        held = [line for line in kept if hashes.get(line["id"]) == line["prompt_hash"]]
        counts = Counter(
            line["id"] for line in held
        )  # a kill may have cut between the attempts of a question
        done = [line for line in held if counts[line["id"]] == self.suite.decode.n]
        write_lines(
            path, done
        )  # before anything is appended: a cut last line must not become part of the next
        have = {line["id"] for line in done}
        replies = {line["id"]: line["response"] for line in done if line["attempt"] == 0}
        streams = isinstance(self.model, Streams)
        with (
            path.open("a") as out,
            tqdm(total=len(items), initial=len(have), unit="question", desc=self.label, disable=None) as bar,
        ):
            for batch in self._batches(items):
                if all(item.id in have for item in batch):
                    continue
                if streams:  # what an endpoint has answered is never asked again: it resumes inside a batch
                    batch = [item for item in batch if item.id not in have]
                for item, request, completions in self._completions(batch, replies):
                    if item.id in have:
                        continue
                    opened = isinstance(self.model, RendersPrompts) and ends_open(
                        self.model.rendered(request), item.reading.marks
                    )
                    for attempt, completion in enumerate(completions):
                        line = self._line(item, attempt, completion, hashes[item.id], opened)
                        out.write(json.dumps(line, allow_nan=False) + "\n")
                    replies[item.id] = completions[0].text
                    if streams:
                        out.flush()
                        bar.update(1)
                out.flush()
                bar.update(0 if streams else len(batch))

    def _batches(self, items: list[Item]) -> list[list[Item]]:
        """Batches with fixed members, turn by turn: a turn of a dialogue waits for the model's replies to
        those before it. What is drawn is the item's own; but the sums of a pass depend in their last bits on
        the rows that share it, and so a resumed run asks the same ones together."""
        last = max((len(item.earlier) for item in items), default=0)
        rounds = [[item for item in items if len(item.earlier) == turn] for turn in range(last + 1)]
        return [part[start : start + BATCH] for part in rounds for start in range(0, len(part), BATCH)]

    def _completions(
        self, batch: list[Item], replies: dict[str, str]
    ) -> Iterator[tuple[Item, Request, list[Completion]]]:
        """The batch's requests and completions as they come in, what the cache knows first."""
        decode = self.suite.decode
        requests = [self._request(item, replies) for item in batch]
        sampling = Sampling(decode.n, decode.temperature, 1.0, decode.max_tokens, decode.seed)
        keys = [self.cache.key(request, decode) for request in requests] if self.cache else []
        known = {
            n: found
            for n, key in enumerate(keys)
            if self.cache and (found := self.cache.get(key)) is not None
        }
        left = [n for n in range(len(batch)) if n not in known]
        wanted = [requests[n] for n in left]
        fresh: Any = ()
        if isinstance(self.model, Streams):
            fresh = self.model.stream(wanted, sampling)
        elif wanted:
            fresh = enumerate(self.model.sample(wanted, sampling))
        for n, completions in chain(known.items(), ((left[n], found) for n, found in fresh)):
            if self.cache and n not in known:
                self.cache.put(keys[n], completions)
            yield batch[n], requests[n], completions

    def _request(self, item: Item, replies: dict[str, str]) -> Request:
        history = history_of(item, lambda name: replies[name])
        clip = self.store.frames(item.sample)
        clip = masked(clip, item.sample.spans or ()) if item.masked else clip
        video, unit = str(item.sample.video.path), item.reading.boxes
        messages = asked(item.question, self.suite.prompt, video, history, unit)
        return Request(messages, clip, item, item.id)

    def probe(self, samples: list[Sample], items: list[Item]) -> Request:
        """A question by which to see whether the model sees: the first that stands by itself."""
        if (item := next((item for item in items if not item.earlier and not item.masked), None)) is not None:
            return self._request(item, {})
        return Request(messages("What happens in this video?", "clip"), self.store.frames(samples[0]))

    def _line(
        self, item: Item, attempt: int, completion: Completion, prompt: str, opened: bool
    ) -> dict[str, Any]:
        response = completion.text
        return {
            "id": item.id,
            "task": item.task,
            "sample": item.sample.id,
            "attempt": attempt,
            "prompt_hash": prompt,
            "response": response,
            **({"cut": completion.cut} if completion.cut else {}),
            **({"read_by": rule(item.reading, self.known)} if self.known else {}),
            **score_item(item, response, self.suite.parse, self.suite.hidden, opened),
        }

    def odds(self, items: list[Item], path: Path, kept: list[dict]) -> None:
        """Lines {"id", "task", "sample", "right", "score"} of judgements and multiple-choice questions: for
        the first the log-odds log p(Yes) - log p(No) and whether Yes is right, for the others whether the
        likeliest letter is right. The lines `kept` are not asked again."""
        if not isinstance(self.model, GivesOdds):
            raise TypeError(f"{self.model.name} gives no log-probabilities")
        wanted = {item.id for item in items}
        done = [line for line in kept if line["id"] in wanted]
        write_lines(path, done)  # as in `answers`: a cut last line goes before the next is appended
        have = {line["id"] for line in done}
        with path.open("a") as out:
            for start in tqdm(range(0, len(items), BATCH), unit="batch", desc="log-odds", disable=None):
                batch = [item for item in items[start : start + BATCH] if item.id not in have]
                choices = [_choices(item) for item in batch]
                requests = [self._request(item, {}) for item in batch]
                found = self.model.odds(requests, OPENING, choices) if batch else []
                for item, options, values in zip(batch, choices, found, strict=True):
                    out.write(json.dumps(_odds_line(item, options, values), allow_nan=False) + "\n")
                out.flush()


def history_of(item: Item, reply: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """(asked, replied) of the turns before an item; reply: to the item of that name."""
    return tuple((text, reply(name)) for name, text in item.earlier)


def _choices(item: Item) -> list[str]:
    return ["Yes", "No"] if item.task == "judgement" else list(LETTERS[: len(item.question.options or ())])


def _odds_line(item: Item, options: list[str], values: list[float]) -> dict[str, Any]:
    line = {"id": item.id, "task": item.task, "sample": item.sample.id}
    if not np.isfinite(values).all():
        raise InputError(f"{item.id}: the model's log-probabilities are {values}, expected finite numbers")
    if item.task == "judgement":
        return line | {
            "right": float(judged(item.question.answer) is True),
            "score": values[0] - values[1],
        }
    return line | {"right": float(options[int(np.argmax(values))] == item.question.answer), "score": 1.0}
