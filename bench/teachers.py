"""The benchmark's engines as teachers of `tvad annotate` (`openai:`, `vllm:`, `hf:`), which takes them by the
entry point group `tvad.teachers`: what an engine is and how it is opened is decided in `bench.models`
alone."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import models
from bench.cache import identity
from bench.models import options as known
from bench.models.base import Busy, Completion, Down, Engine, Request, Sampling, Streams
from tvad.annotate.teacher import CUT, Ask, Reply
from tvad.common.errors import InputError
from tvad.data.video import Clock, Frames

AT_ONCE = 64  # requests of an engine in this process
# Options that change where, how fast and for how much a teacher answers, not what it says.
FREE = (*known.FREE, "wait", "at_once")


@dataclass
class EngineTeacher:
    """at_once: requests that an engine of this process is given together; an endpoint has `concurrency`."""

    engine: Engine
    name: str
    at_once: int = AT_ONCE

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Exception]]:
        """Replies as they come in."""
        requests = [_request(ask) for ask in asks]
        tokens = max((ask.max_tokens for ask in asks), default=1)
        if isinstance(self.engine, Streams):
            for n, found in self.engine.stream(requests, Sampling(max_tokens=tokens)):
                if isinstance(found, (Busy, Down)):
                    yield n, found
                elif isinstance(found, Exception):
                    yield n, Reply(failed=" ".join(str(found).split())[:200])
                else:
                    yield n, _reply(found[0])
            return
        for first in range(0, len(requests), self.at_once):
            group = requests[first : first + self.at_once]
            for n, found in enumerate(self.engine.sample(group, Sampling(max_tokens=tokens))):
                yield first + n, _reply(found[0])


def _request(ask: Ask) -> Request:
    content: list[dict[str, Any]] = [{"type": "video"}, {"type": "text", "text": ask.prompt}]
    times = np.array(ask.moments, float)
    # Pictures of a video as a clip of its own, at one a second where there is nothing else to go by.
    step = float(np.diff(times).mean()) if len(times) > 1 else 1.0
    clip = Frames(
        ask.images, times, np.arange(len(times)), 1 / step, len(times), times, Clock(times, times[-1] + step)
    )
    return Request([{"role": "user", "content": content}], clip, key=ask.key(""), schema=ask.schema)


def _reply(found: Completion) -> Reply:
    usage = found.usage
    return Reply(
        found.text,
        CUT.format(found.cut) if found.cut else None,
        usage.tokens_in,
        usage.tokens_out,
        usage.cost,
    )


class Opener:
    """Opens the engines of a kind as teachers; `named`: without an engine."""

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(self, which: str, **options: Any) -> EngineTeacher:
        name = self.named(which, **options)
        at_once = options.pop("at_once", AT_ONCE)
        return EngineTeacher(models.load(f"{self.kind}:{which}", **options), name, at_once)

    def named(self, which: str, **options: Any) -> str:
        """The address, what a checkpoint's files hold, and the options that can change a reply. Raises
        InputError for an option that the kind does not take."""
        spec = f"{self.kind}:{which}"
        self._check_at_once(options)
        models.check(spec, {key: value for key, value in options.items() if key != "at_once"})
        usual = models.defaults(spec)
        said = {key: value for key, value in options.items() if key not in FREE and value != usual.get(key)}
        if "extra_body" in said:  # may hold what is nobody else's
            text = json.dumps(said["extra_body"], sort_keys=True, default=str, allow_nan=False)
            said["extra_body"] = f"SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        files = identity(spec)  # the same folder may hold other weights tomorrow
        name = spec if files == spec else f"{spec} {files.partition(':')[2]}"
        return f"{name} {json.dumps(said, sort_keys=True, allow_nan=False, default=str)}" if said else name

    def _check_at_once(self, options: dict[str, Any]) -> None:
        if "at_once" not in options:
            return
        value = options["at_once"]
        if not models.is_checkpoint(f"{self.kind}:"):
            raise InputError(
                f"{self.kind}: at_once is {value!r}, an option of engines in this process; give concurrency"
            )
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{self.kind}: at_once is {value!r}, expected 1 or more")


openai = Opener("openai")  # an OpenAI-compatible endpoint
vllm = Opener("vllm")  # vLLM in this process
hf = Opener("hf")  # transformers; it has no grammar, so that replies are read as they are written
