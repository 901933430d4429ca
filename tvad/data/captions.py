"""Captions with times, as a description holds them (UCA's of UCF-Crime): a line each, "0.0 to 12.5 s: a man
walks in". What is said of a video is cut with it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LINE = re.compile(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?) s:(?: (\S.*)?)?")


@dataclass(frozen=True)
class Caption:
    """start, end: seconds of the video; text: one line."""

    start: float
    end: float
    text: str

    def __str__(self) -> str:
        return f"{self.start:.1f} to {self.end:.1f} s: {self.text}"


def captions_of(description: str | None) -> list[Caption]:
    """The captions of a description, without those that say nothing; none where not every line of it is
    one."""
    found = []
    for line in (description or "").splitlines():
        if (match := _LINE.fullmatch(line)) is None or float(match[1]) > float(match[2]):
            return []
        if match[3]:
            found.append(Caption(float(match[1]), float(match[2]), match[3]))
    return found


def within(captions: Sequence[Caption], start: float, end: float) -> list[Caption]:
    """What is said of the seconds from `start` to before `end`, in seconds from `start` on."""
    return [
        Caption(max(0.0, c.start - start), min(c.end, end) - start, c.text)
        for c in captions
        if c.start < end and (c.end > start or c.start >= start)
    ]


def told(captions: Sequence[Caption]) -> str | None:
    """As a description; None for none."""
    return "\n".join(map(str, captions)) or None
