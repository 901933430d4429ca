"""What a teacher is asked and replies, and how one is opened: by its kind, through the entry point group
`tvad.teachers`, in which packages above offer theirs (engines of the benchmark, the scripted teacher of
scenes)."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from tvad.common.config import arguments
from tvad.common.errors import InputError

GROUP = "tvad.teachers"
CUT = "cut"  # how it begins why a reply failed that is not whole
DETECT = "detect"  # the stage of a request that is a detector's


@dataclass(frozen=True, eq=False)
class Ask:
    """One request: words, the pictures that they are about ((T, H, W, 3) uint8 RGB, moments (T,) in seconds)
    and the JSON schema of the reply. about: what it is about, for a teacher that looks it up instead of
    looking (it travels with no request)."""

    prompt: str
    schema: dict[str, Any]
    images: np.ndarray
    moments: tuple[float, ...]
    max_tokens: int
    about: dict[str, Any] = field(default_factory=dict)

    def key(self, teacher: str) -> str:
        """What the reply is kept under: all that the teacher is shown, and who it is."""
        said = [teacher, self.prompt, self.schema, self.max_tokens, self.moments, self.images.shape]
        digest = hashlib.sha256(json.dumps(said, allow_nan=False).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Reply:
    """text: as it was written. failed: why there is none that is whole. Costs where they are known."""

    text: str = ""
    failed: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None


class Teacher(Protocol):
    """`name`: what its replies are pinned to. `at_once`: requests that it is best given together."""

    name: str
    at_once: int

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Exception]]:
        """(number of the request, its reply) as they come in. An Exception is what goes wrong for the moment
        and may be asked again by a later run; a refusal for good is a Reply that failed."""
        ...


def kinds() -> list[str]:
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def opened(spec: str, options: dict[str, Any]) -> Teacher:
    """The teacher KIND:WHICH. Raises InputError for a kind that nothing offers, and for an option that its
    kind does not take or whose value is of another type."""
    kind, colon, which = spec.partition(":")
    found = [entry for entry in entry_points(group=GROUP) if entry.name == kind]
    if not colon or not which or not found:
        known = ", ".join(kinds()) or "none is installed"
        raise InputError(f"teacher {spec!r}: expected KIND:WHICH with KIND one of {known}")
    opener = found[0].load()
    return opener(which, **arguments(opener, 1, options, kind))
