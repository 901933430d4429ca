"""T-VAU's third stage: "appearance <-> motion verification". Both directions are asked a frame at a time (how
is ours): by its looks a target must be found where its trajectory is, and what is seen on its trajectory must
look as it is said to. What contradicts is dropped or sent to review, and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tvad.annotate.schema import LOOKS, place_of, what_of
from tvad.annotate.timelines import STILL, Timeline, unlike
from tvad.data.components import Corners, overlap

Policy = Literal["review", "drop"]
FOUND = 0.3  # overlap from which on a target is found where it is


@dataclass(frozen=True)
class Checked:
    """A frame at which a timeline is checked, and how: where (from looks to place) or what (from place to
    looks)."""

    timeline: Timeline
    frame: int
    way: Literal["where", "what"]


def checks(timelines: Sequence[Timeline], asked: Sequence[int], count: int) -> list[Checked]:
    """At most `count` frames of each timeline in each direction, spread evenly over those of `asked` that it
    has."""
    found = []
    for timeline in timelines:
        frames = [f for f in asked if f in timeline.boxes]
        # Of an anomaly, the frames in which it is one: there its place is the mask's.
        frames = [f for f in frames if f in timeline.anomalous] or frames
        chosen = frames if len(frames) <= count else [frames[i] for i in _spread(len(frames), count)]
        for frame in chosen:
            if timeline.look:
                found.append(Checked(timeline, frame, "where"))
            found.append(Checked(timeline, frame, "what"))
    return found


def _spread(total: int, count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, total - 1, count).round()]


def settle(
    timelines: Sequence[Timeline],
    asked: Sequence[Checked],
    replies: Sequence[str | None],
    size: tuple[int, int],
    policy: Policy,
    counts: Counter[str],
) -> None:
    """Give every timeline its verdict. size: (width, height) of the picture. policy: what happens to a
    contradiction: drop, or review, in which the target and its words wait for a person. An anomaly whose
    place is a mask's is never dropped, only words about it are."""
    for timeline in timelines:
        where: list[bool] = []
        looks: list[dict[str, str]] = []
        for check, text in zip(asked, replies, strict=True):
            if check.timeline is not timeline or text is None:
                continue
            try:
                if check.way == "where":
                    where.append(_found(place_of(text, *size), check, timelines))
                else:
                    looks.append(what_of(text))
            except ValueError as error:
                counts[f"check: {error}"] += 1
        _judge(timeline, where, looks, policy, counts)


def _found(place: Corners | None, check: Checked, timelines: Sequence[Timeline]) -> bool:
    """Whether a place is the timeline's, or that of another that looks the same: words cannot tell them
    apart."""
    if place is None:
        return False
    alike = [t for t in timelines if t is check.timeline or unlike(t.look, check.timeline.look) == 0]
    boxes = [t.boxes[check.frame] for t in alike if check.frame in t.boxes]
    return bool(overlap(np.array([place]), np.array(boxes)).max() >= FOUND)


def _judge(
    timeline: Timeline, where: list[bool], looks: list[dict[str, str]], policy: Policy, counts: Counter[str]
) -> None:
    look, reasons, wrong = timeline.look, [], []
    if where and 2 * sum(where) < len(where):
        reasons.append("not found by its looks where its trajectory is")
        counts["contradictions from appearance to motion"] += 1
    for name in LOOKS:
        said = Counter(seen[name] for seen in looks if name in seen)
        agree = said[look[name]] if name in look else 0
        # Words that no second look confirms, with at least as many against them as for them.
        if name in look and looks and 2 * agree <= len(looks) and len(looks) - agree > agree:
            wrong.append(name)
            reasons.append(f"its {name} is said to be {look[name]}, and on its trajectory {_most(said)}")
            counts["contradictions from motion to appearance"] += 1
    for name in wrong:
        timeline.dropped_words[name] = look[name]
    counts["words dropped"] += len(wrong)
    timeline.reasons = reasons
    lost = bool(where) and not any(where) and any(n in STILL for n in wrong)
    if not reasons:
        timeline.verdict = "kept"
    elif policy == "review":
        timeline.verdict = "review"
    else:
        # Neither direction confirms it: there is no such target.
        timeline.verdict = "dropped" if lost and not timeline.masked else "kept"
    counts[f"targets {timeline.verdict}"] += 1


def _most(said: Counter[str]) -> str:
    return min(said, key=lambda w: (-said[w], w)) if said else "nothing"
