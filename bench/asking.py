"""Asks a model the questions of a suite and keeps what it says, line by line, so that a killed run goes on.

Two passes: `answers` (samples.jsonl) and, for engines that know how likely an answer is, `odds` (odds.jsonl).
What an earlier run has left is handed in as lines (`run_folder.read_all`); nothing of it is asked again where
it still holds. What goes wrong with a question, its clip or the model's answer to it, becomes a line of its
own state (`bench.unscored`), and the next one is asked.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from bench.answers import asked_of, prompt_hash, score_item
from bench.cache import ResponseCache
from bench.inputs import Inputs
from bench.models.base import (
    Completion,
    Down,
    Engine,
    GivesOdds,
    RendersPrompts,
    Request,
    Sampling,
    Streams,
    ended,
)
from bench.models.families import Known, rule
from bench.run_folder import write_lines
from bench.suite import Item, Suite
from bench.tasks import UNSCORED
from bench.tasks.faithfulness import masked
from bench.unscored import line_of, reason_of
from bench.usage import Spending
from tvad.answer import ends_open, judged
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.questions import LETTERS
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.prompts import asked, messages

BATCH = 64  # questions asked at a time; the unit of resumption
MOST_BYTES = 512 << 20  # of clips that are asked about at a time
# After so many in a row the model is at fault and not the questions: before its first answer of any kind,
# later of those that say so (`Down`).
REFUSALS = 8
ODDS_TASKS = ("judgement", "mcq")
OPENING = "<answer>"  # what stands before the words whose likelihood is asked


@dataclass
class Asking:
    """A model, what it is asked and what it has been shown. cache: answers that runs share; label: of the
    progress bar; known: the model's family, whose rules its answers are read by; inputs: what a line says of
    its clip; spending: where what answers cost is kept."""

    model: Engine
    suite: Suite
    store: ClipStore
    cache: ResponseCache | None = None
    label: str = "model"
    known: Known | None = None
    inputs: Inputs | None = None
    spending: Spending | None = None

    def answers(self, items: list[Item], path: Path, kept: list[dict]) -> None:
        """Answer the items into `path`, a line an attempt, or one that says why there is no answer; those
        among the lines `kept` or in the cache are not asked again. Raises the model's own error where it
        answers nothing, or no more (REFUSALS)."""
        hashes = {item.id: prompt_hash(item, self.suite) for item in items}
        held = [line for line in kept if hashes.get(line["id"]) == line.get("prompt_hash")]
        counts = Counter(
            line["id"] for line in held
        )  # a kill may have cut between the attempts of a question
        done = [line for line in held if UNSCORED in line or counts[line["id"]] == self.suite.decode.n]
        write_lines(
            path, done
        )  # before anything is appended: a cut last line must not become part of the next
        if self.spending is not None:
            self.spending.go_on(done)
        have = {line["id"] for line in done}
        replies = {
            line["id"]: line["response"] for line in done if line["attempt"] == 0 and UNSCORED not in line
        }
        refused: list[dict[str, Any]] = []  # kept back until the model answers
        error: Exception | None = None
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
                    if isinstance(completions, Exception):
                        line = line_of(item, completions) | {"prompt_hash": hashes[item.id]}
                        if request is not None and (not replies or isinstance(completions, Down)):
                            refused, error = [*refused, line], completions
                            if len(refused) == REFUSALS:  # not kept: they are asked when it goes on
                                raise completions
                            continue
                        if request is not None:
                            _write(out, refused)
                            refused = []
                        _write(out, [line])
                        continue
                    _write(out, refused)
                    refused = []
                    opened = (
                        request is not None
                        and isinstance(self.model, RendersPrompts)
                        and ends_open(self.model.rendered(request), item.reading.marks)
                    )
                    seen = (
                        self.inputs.of(item.sample, request.frames, item.masked)
                        if self.inputs is not None and request is not None
                        else {}
                    )
                    if self.spending is not None:
                        self.spending.add(item.id, completions)
                    _write(
                        out,
                        (
                            self._line(item, attempt, completion, hashes[item.id], opened) | seen
                            for attempt, completion in enumerate(completions)
                        ),
                    )
                    replies[item.id] = completions[0].text
                    if streams:
                        out.flush()
                        bar.update(1)
                out.flush()
                bar.update(0 if streams else len(batch))
            if replies:
                _write(out, refused)
        if refused and error is not None and not replies:
            raise error

    def _batches(self, items: list[Item]) -> list[list[Item]]:
        """Batches with fixed members, turn by turn: a turn of a dialogue waits for the model's replies to
        those before it. What is drawn is the item's own; but the sums of a pass depend in their last bits on
        the rows that share it, and so a resumed run asks the same ones together."""
        last = max((len(item.earlier) for item in items), default=0)
        rounds = [[item for item in items if len(item.earlier) == turn] for turn in range(last + 1)]
        return [part[start : start + BATCH] for part in rounds for start in range(0, len(part), BATCH)]

    def _completions(
        self, batch: list[Item], replies: dict[str, str]
    ) -> Iterator[tuple[Item, Request | None, list[Completion] | Exception]]:
        """The batch's requests and completions as they come in; an error where there are none, without a
        request where it could not be made."""
        for items, requests in self._parts(batch, replies):
            for n, request in enumerate(requests):
                if isinstance(request, InputError):
                    yield items[n], None, request
            asked = [(i, r) for i, r in zip(items, requests, strict=True) if isinstance(r, Request)]
            for n, completions in self._asked([request for _, request in asked]):
                yield *asked[n], completions
            requests.clear()  # before the next part's clips are read
            asked.clear()

    def _parts(
        self, batch: list[Item], replies: dict[str, str]
    ) -> Iterator[tuple[list[Item], list[Request | InputError]]]:
        """The batch's requests in parts whose clips take at most MOST_BYTES, or are one. A clip is held once,
        however many questions are about it."""
        items: list[Item] = []
        requests: list[Request | InputError] = []
        clips: dict[tuple[str, bool], Frames] = {}
        for item in batch:
            key = item.sample.id, item.masked
            try:
                if key not in clips:
                    clip = self._clip(item)
                    if clips and sum(c.images.nbytes for c in (*clips.values(), clip)) > MOST_BYTES:
                        yield items, requests
                        items, requests, clips = [], [], {}
                    clips[key] = clip
                requests.append(self._request(item, clips[key], replies))
            except InputError as error:
                requests.append(error)
            items.append(item)
        yield items, requests

    def _asked(self, requests: list[Request]) -> Iterator[tuple[int, list[Completion] | Exception]]:
        """(number of the request, completions or why there are none), what the cache knows first."""
        decode = self.suite.decode
        sampling = Sampling(decode.n, decode.temperature, 1.0, decode.max_tokens, decode.seed)
        keys = [self.cache.key(request, decode) for request in requests] if self.cache else []
        known = {
            n: found
            for n, key in enumerate(keys)
            if self.cache and (found := self.cache.get(key)) is not None
        }
        left = [n for n in range(len(requests)) if n not in known]
        wanted = [requests[n] for n in left]
        fresh: Any = ()
        if isinstance(self.model, Streams):
            fresh = self.model.stream(wanted, sampling)
        elif wanted:
            fresh = enumerate(one_by_one(lambda some: self.model.sample(some, sampling), wanted))
        for n, completions in chain(known.items(), ((left[n], found) for n, found in fresh)):
            if self.cache and n not in known and not isinstance(completions, Exception):
                self.cache.put(keys[n], completions)
            yield n, completions

    def _clip(self, item: Item) -> Frames:
        clip = self.store.frames(item.sample)
        return masked(clip, item.sample.spans or ()) if item.masked else clip

    def _request(self, item: Item, clip: Frames, replies: dict[str, str]) -> Request:
        for name, _ in item.earlier:
            if name not in replies:
                raise InputError(f"an earlier turn of it, {name}, is without an answer")
        history = history_of(item, lambda name: replies[name])
        video, unit = str(item.sample.video.path), item.reading.unit
        messages = asked(item.question, self.suite.prompt, video, history, unit)
        return Request(messages, clip, item, item.id)

    def probe(self, samples: list[Sample], items: list[Item]) -> Request:
        """A question by which to see whether the model sees: the first that stands by itself and whose video
        can be read. Raises InputError where none can."""
        alone = {item.sample.id: item for item in reversed(items) if not item.earlier and not item.masked}
        samples = [sample for sample in samples if sample.id in alone] or samples
        unread: InputError | None = None
        for sample in samples:
            try:
                clip = self.store.frames(sample)
            except InputError as error:
                unread = unread or error
                continue
            if sample.id in alone:
                return self._request(alone[sample.id], clip, {})
            return Request(messages("What happens in this video?", "clip"), clip)
        raise unread or InputError(f"{self.suite.data}: holds no video")

    def _line(
        self, item: Item, attempt: int, completion: Completion, prompt: str, opened: bool
    ) -> dict[str, Any]:
        response = completion.text
        return {
            **asked_of(item),
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
        likeliest letter is right; {..., "unscored"} where that cannot be had. The lines `kept` are not asked
        again."""
        model = self.model
        if not isinstance(model, GivesOdds):
            raise TypeError(f"{model.name} gives no log-probabilities")
        wanted = {item.id for item in items}
        done = [line for line in kept if line["id"] in wanted]
        write_lines(path, done)  # as in `answers`: a cut last line goes before the next is appended
        have = {line["id"] for line in done}
        with path.open("a") as out:
            for start in tqdm(range(0, len(items), BATCH), unit="batch", desc="log-odds", disable=None):
                batch = [item for item in items[start : start + BATCH] if item.id not in have]
                for items_of, requests in self._parts(batch, {}):
                    asked = [
                        (request, _choices(item))
                        for item, request in zip(items_of, requests, strict=True)
                        if isinstance(request, Request)
                    ]
                    found = iter(
                        one_by_one(
                            lambda some: model.odds([r for r, _ in some], OPENING, [c for _, c in some]),
                            asked,
                        )
                    )
                    for item, request in zip(items_of, requests, strict=True):
                        values = request if isinstance(request, InputError) else next(found)
                        out.write(json.dumps(_odds_line(item, values), allow_nan=False) + "\n")
                out.flush()


def _write(out: IO[str], lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        out.write(json.dumps(line, allow_nan=False) + "\n")


def one_by_one(ask: Callable[[list[Any]], Iterable[Any] | None], requests: list[Any]) -> list[Any]:
    """What `ask` gives to each request; where it fails for all together, to each alone, or its error: one
    question must not take those beside it along."""
    if not requests:
        return []
    try:
        return list(ask(requests) or ())
    except SystemExit as error:  # an interrupt goes on, a model's own code ends nothing
        failed: Exception = ended(error)
    except Exception as error:  # whatever a foreign model or processor raises is what it makes of this input
        failed = error
    if len(requests) == 1:
        return [failed]
    return [found for request in requests for found in one_by_one(ask, [request])]


def history_of(item: Item, reply: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """(asked, replied) of the turns before an item; reply: to the item of that name."""
    return tuple((text, reply(name)) for name, text in item.earlier)


def _choices(item: Item) -> list[str]:
    return ["Yes", "No"] if item.task == "judgement" else list(LETTERS[: len(item.question.options or ())])


def _odds_line(item: Item, values: list[float] | Exception) -> dict[str, Any]:
    line, options = asked_of(item), _choices(item)
    if isinstance(values, Exception):
        return line | {UNSCORED: reason_of(values)}
    if not np.isfinite(values).all():
        return line | {UNSCORED: f"the model's log-probabilities are {values}, expected finite numbers"}
    if item.task == "judgement":
        return line | {
            "right": float(judged(item.question.answer) is True),
            "score": values[0] - values[1],
        }
    return line | {"right": float(options[int(np.argmax(values))] == item.question.answer), "score": 1.0}
