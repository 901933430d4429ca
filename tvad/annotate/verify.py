"""T-VAU's third stage: "appearance <-> motion verification". Both directions are asked a frame at a time (how
is ours): by its looks a target must be found where its trajectory is, and what is seen on its trajectory must
look as it is said to. What contradicts is dropped or sent to review, and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tvad.annotate.looks import same, unlike
from tvad.annotate.schema import LOOKS, place_of, what_of
from tvad.annotate.timelines import Timeline
from tvad.data.components import Corners, overlap

Policy = Literal["review", "drop"]
ABOUT = {"where": "its place", "what": "its looks"}  # what a check of either way is about
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
    """Give every timeline its verdict. size: (width, height) of the picture. policy: what becomes of a target
    that is not where its looks lead: review (it waits for a person), or drop; one of which no check in a
    direction was answered waits under either. A word that the second looks
    contradict is left out under either, and a person may give it back. A target whose place is a mask's is
    never dropped."""
    looks_of: dict[int, tuple[dict[str, str], list[dict[str, str]]]] = {
        id(t): (t.look, []) for t in timelines
    }
    where_of: dict[int, list[bool | None]] = {id(t): [] for t in timelines}
    silent = {(id(check.timeline), check.way) for check in asked}  # of which nothing was heard
    for check, text in zip(asked, replies, strict=True):
        if text is None:
            continue
        try:
            if check.way == "where":
                where_of[id(check.timeline)].append(_found(place_of(text, *size), check, timelines))
            else:
                looks_of[id(check.timeline)][1].append(what_of(text))
        except ValueError as error:
            counts[f"check: {error}"] += 1
        else:
            silent.discard((id(check.timeline), check.way))
    for timeline in timelines:
        look, seen = looks_of[id(timeline)]
        _words(timeline, look, seen, counts)
        unheard = [about for way, about in ABOUT.items() if (id(timeline), way) in silent]
        _place(timeline, where_of[id(timeline)], unheard, policy, counts)


def _found(place: Corners | None, check: Checked, timelines: Sequence[Timeline]) -> bool | None:
    """Whether a place is the timeline's, or that of another that looks the same: words cannot tell them
    apart. None for nowhere: a frame in which it is missed."""
    if place is None:
        return None
    alike = [t for t in timelines if t is check.timeline or unlike(t.look, check.timeline.look) == 0]
    boxes = [t.boxes[check.frame] for t in alike if check.frame in t.boxes]
    return bool(overlap(np.array([place]), np.array(boxes)).max() >= FOUND)


def _words(
    timeline: Timeline, look: dict[str, str], seen: Sequence[dict[str, str]], counts: Counter[str]
) -> None:
    """From motion to appearance: what is said of it must be seen on its trajectory."""
    for name in LOOKS if seen else ():
        if name not in look:
            continue
        said = Counter(row[name] for row in seen if name in row)
        agree = sum(count for word, count in said.items() if same(name, look[name], word))
        if agree == 0 or said.total() - agree > agree:
            timeline.dropped_words[name] = look[name]
            timeline.reasons.append(
                f"its {name} is said to be {look[name]}, and on its trajectory {_most(said)}"
            )
            counts["contradictions from motion to appearance"] += 1


def _place(
    timeline: Timeline,
    where: Sequence[bool | None],
    unheard: Sequence[str],
    policy: Policy,
    counts: Counter[str],
) -> None:
    """From appearance to motion: where its looks lead must be its trajectory. What nobody could check is not
    taken for verified, nor for wrong."""
    there, elsewhere = where.count(True), where.count(False)
    if unheard:
        timeline.doubt(f"no check of {' and '.join(unheard)} was answered")
        counts["targets that no check could verify"] += 1
    elif where and (there == 0 or elsewhere > there):
        timeline.doubt("its looks do not lead to where its trajectory is")
        counts["contradictions from appearance to motion"] += 1
        if policy == "drop":
            timeline.verdict = "kept" if timeline.masked else "dropped"
    counts[f"targets {timeline.verdict}"] += 1


def _most(said: Counter[str]) -> str:
    return min(said, key=lambda w: (-said[w], w)) if said else "nothing"
