"""The benchmark's engines as teachers of `tvad annotate` (`openai:`, `vllm:`, `hf:`), which takes them by the
entry point group `tvad.teachers`: what an engine is and how it is opened is decided in `bench.models`
alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import models
from bench.models.base import Busy, Completion, Down, Engine, Request, Sampling, Streams
from tvad.annotate.teacher import CUT, Ask, Reply
from tvad.common.errors import InputError
from tvad.data.video import Clock, Frames

AT_ONCE = 64  # requests of an engine in this process


@dataclass
class EngineTeacher:
    engine: Engine
    name: str
    at_once: int = AT_ONCE

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Exception]]:
        """Replies as they come in; an engine of this process answers `at_once` requests at a time."""
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
        f"{CUT} ({found.cut})" if found.cut else None,
        usage.tokens_in,
        usage.tokens_out,
        usage.cost,
    )


def _opened(kind: str, which: str, options: dict[str, Any]) -> EngineTeacher:
    spec = f"{kind}:{which}"
    at_once = options.pop("at_once", AT_ONCE)
    if not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1:
        raise InputError(f"{kind}: at_once is {at_once!r}, expected 1 or more")
    return EngineTeacher(models.load(spec, **options), spec, at_once)


def openai(which: str, **options: Any) -> EngineTeacher:
    """An OpenAI-compatible endpoint."""
    return _opened("openai", which, options)


def vllm(which: str, **options: Any) -> EngineTeacher:
    """vLLM in this process."""
    return _opened("vllm", which, options)


def hf(which: str, **options: Any) -> EngineTeacher:
    """transformers; it has no grammar, so that replies are read as they are written."""
    return _opened("hf", which, options)
