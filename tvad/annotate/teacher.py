"""What a teacher is asked and replies, and how one is opened: by its kind, through the entry point group
`tvad.teachers`, in which packages above offer theirs (engines of the benchmark, the scripted teacher of
scenes)."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from tvad.annotate.schema import read_object
from tvad.common.config import arguments
from tvad.common.errors import InputError

GROUP = "tvad.teachers"
# Why a reply failed that is not whole, with the engine's word for it; of these words, those for `max_tokens`.
CUT = "cut ({})"
AT_LIMIT = tuple(CUT.format(why) for why in ("length", "max_tokens", "max_output_tokens", "model_length"))
DETECT = "detect"  # the stage of a request that is a detector's


@dataclass(frozen=True, eq=False)
class Ask:
    """One request: words, the pictures that they are about ((T, H, W, 3) uint8 RGB, moments (T,) in seconds)
    and the JSON schema of the reply. about: what it is about, for a teacher that looks it up instead of
    looking (it travels with no request). reads: how its stage reads a reply; raises ValueError for what is
    none."""

    prompt: str
    schema: dict[str, Any]
    images: np.ndarray
    moments: tuple[float, ...]
    max_tokens: int
    about: dict[str, Any] = field(default_factory=dict)
    reads: Callable[[str], Any] = read_object

    def is_open(self, reply: "Reply") -> bool:
        """Whether the next run asks again: a reply failed or its stage cannot read it. Not one that was cut
        at `max_tokens`, which would be cut again."""
        if reply.failed is not None:
            return not reply.is_cut
        try:
            self.reads(reply.text)
        except ValueError:
            return True
        return False

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

    @property
    def is_cut(self) -> bool:
        """Whether it ended at `max_tokens`."""
        return self.failed in AT_LIMIT


def remedy(asks: Sequence[Ask], replies: Sequence[Reply]) -> str:
    """What helps where replies cannot be read, in words."""
    cut = [ask.max_tokens for ask, reply in zip(asks, replies, strict=True) if reply.is_cut]
    more = f"{len(cut)} ended at max_tokens {max(cut)}, which needs another --out with more" if cut else ""
    again = any(ask.is_open(reply) for ask, reply in zip(asks, replies, strict=True))
    return "; ".join(part for part in (more, "the same command asks again" if again else "") if part)


class Teacher(Protocol):
    """`name`: what its replies are pinned to: who it is, with all options that can change a reply."""

    name: str

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Exception]]:
        """(number of the request, its reply) as they come in. An Exception is what goes wrong for the moment
        and may be asked again by a later run; a refusal for good is a Reply that failed."""
        ...


def kinds() -> list[str]:
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def opened(spec: str, options: dict[str, Any]) -> Teacher:
    """The teacher KIND:WHICH. Raises InputError for a kind that nothing offers, and for an option that its
    kind does not take or whose value is of another type."""
    opener, which, given = _offered(spec, options)
    return opener(which, **given)


def named(spec: str, options: dict[str, Any]) -> str:
    """The name of the teacher that `opened` gives, without its model: an opener may have a function `named`
    of the same arguments, else it is opened. Raises as `opened`."""
    opener, which, given = _offered(spec, options)
    tells = getattr(opener, "named", None)
    return tells(which, **given) if tells is not None else opener(which, **given).name


def _offered(spec: str, options: dict[str, Any]) -> tuple[Callable[..., Any], str, dict[str, Any]]:
    """What opens a teacher, WHICH, and its options."""
    kind, colon, which = spec.partition(":")
    found = [entry for entry in entry_points(group=GROUP) if entry.name == kind]
    if not colon or not which or not found:
        known = ", ".join(kinds()) or "none is installed"
        raise InputError(f"teacher {spec!r}: expected KIND:WHICH with KIND one of {known}")
    opener = found[0].load()
    return opener, which, arguments(opener, 1, options, kind)
