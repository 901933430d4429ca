"""Targets of single frames joined to timelines (T-VAU's first stage: "linked to timelines"). How is ours: the
assignment that is best for a whole frame, by nearness and identity; gaps bridged; ids by first appearance."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from scipy.optimize import linear_sum_assignment

from tvad.annotate.looks import same, unlike
from tvad.annotate.schema import LOOKS, Seen
from tvad.data.components import Corners, overlap

IDENTITY = 0.4  # weight of unlike looks against boxes that do not overlap (1)
REACH = 1.0  # box diagonals that a target may be away from where it is expected, for each step of time
FORBIDDEN = 1e6


@dataclass
class Timeline:
    """A target over time. boxes: frame -> inclusive pixels, gaps bridged; seen: frame -> what the teacher
    said there; closer: what it said of the sharp part of a blurred frame; anomalous: frames."""

    id: int
    boxes: dict[int, Corners]
    seen: dict[int, Seen] = field(default_factory=dict)
    closer: dict[int, Seen] = field(default_factory=dict)
    anomalous: tuple[int, ...] = ()
    masked: bool = False  # its anomalous boxes are those of a mask
    verdict: str = "kept"  # kept, review, dropped
    reasons: list[str] = field(default_factory=list)
    dropped_words: dict[str, str] = field(default_factory=dict)

    def doubt(self, reason: str) -> None:
        """Let a person say whether it holds."""
        self.reasons.append(reason)
        self.verdict = "review"

    def votes(self, name: str) -> Counter[str]:
        """What was said of it; what was said of a blurred frame, where nothing else is to be seen, counts
        twice (ours)."""
        found: Counter[str] = Counter()
        for weight, told in ((1, self.seen), (2, self.closer)):
            for seen in told.values():
                said = seen.action if name == "action" else seen.look.get(name)
                if said is not None:
                    found[said] += weight
        return found

    def told(self, name: str) -> tuple[str, float] | None:
        """The word that most sightings agree on, in this or another word for the same, and their share of all
        sightings; of equally many the one said most, then the first by alphabet. None where more sightings
        say nothing."""
        if name in self.dropped_words:
            return None
        return _told(name, self.votes(name), len(self.seen) + 2 * len(self.closer))

    @property
    def look(self) -> dict[str, str]:
        return {name: told[0] for name in LOOKS if (told := self.told(name)) is not None}

    @property
    def action(self) -> str | None:
        return told[0] if (told := self.told("action")) is not None else None


def _told(name: str, votes: Counter[str], total: int) -> tuple[str, float] | None:
    """`Timeline.told` of votes among so many sightings."""
    if not votes:
        return None
    agree = {word: sum(n for said, n in votes.items() if same(name, word, said)) for word in votes}
    most = min(votes, key=lambda said: (-agree[said], -votes[said], said))
    silent = total - votes.total()
    return None if silent > agree[most] else (most, agree[most] / total)


# When a frame appears, in any unit of time: its number where the rate is constant.
At = Callable[[int], float]
LEAST = 1e-6  # of that unit: two frames may appear at one time


class _Open:
    """A timeline that is being joined, in the order of frames. What was said of it is counted as it comes: a
    car that is parked for hours is seen thousands of times."""

    def __init__(self, number: int):
        self.timeline = Timeline(number, {})
        self.look: dict[str, str] = {}
        self._votes: dict[str, Counter[str]] = {name: Counter() for name in LOOKS}

    @property
    def last(self) -> int:
        return next(reversed(self.timeline.boxes))

    def add(self, frame: int, seen: Seen) -> None:
        self.timeline.boxes[frame] = seen.box
        self.timeline.seen[frame] = seen
        for name, word in seen.look.items():
            self._votes[name][word] += 1
        found = {name: _told(name, votes, len(self.timeline.seen)) for name, votes in self._votes.items()}
        self.look = {name: told[0] for name, told in found.items() if told is not None}


def _expected(boxes: dict[int, Corners], frame: int, at: At) -> np.ndarray:
    """(4,) where a target should be by its last two boxes, at constant velocity."""
    latest = [*islice(reversed(boxes), 2)]
    last, before = latest[0], latest[-1]
    box = np.array(boxes[last])
    if last == before:
        return box
    passed = max(at(last) - at(before), LEAST)
    step = (_centre(box) - _centre(np.array(boxes[before]))) / passed * (at(frame) - at(last))
    return box + np.tile(step, 2)


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def joined(
    frames: Iterable[tuple[int, Sequence[Seen]]], gap: float, unusual: bool = True, at: At = float
) -> list[Timeline]:
    """Timelines of the sightings (frame, targets) in order; a target that is gone for more than `gap`, in the
    unit of `at`, is another when it comes back. Timelines of a single sighting are left out where there were
    three frames or more: nothing confirms them (ours); but not, with `unusual`, one that is called
    unusual."""
    open_: list[_Open] = []
    found: list[Timeline] = []
    count, before = 0, None
    for frame, seen in frames:
        count += 1
        step = max(at(frame) - at(before), LEAST) if before is not None else 1.0
        before = frame
        open_ = [t for t in open_ if at(frame) - at(t.last) <= max(gap, step)]
        taken: set[int] = set()
        if open_ and seen:
            cost = _costs(open_, seen, frame, step, at)
            for a, b in zip(*linear_sum_assignment(cost), strict=True):
                if cost[a, b] < FORBIDDEN:
                    open_[a].add(frame, seen[b])
                    taken.add(int(b))
        order = sorted((n for n in range(len(seen)) if n not in taken), key=lambda n: seen[n].box)
        for n in order:
            new = _Open(len(found))
            new.add(frame, seen[n])
            open_.append(new)
            found.append(new.timeline)
    kept = [
        t
        for t in found
        if len(t.seen) > 1 or count < 3 or (unusual and any(s.unusual for s in t.seen.values()))
    ]
    for n, timeline in enumerate(kept):
        timeline.id = n
        timeline.boxes = bridged(timeline.boxes, at)
    return kept


def _costs(open_: list[_Open], seen: Sequence[Seen], frame: int, step: float, at: At) -> np.ndarray:
    """(n, m): what joining each timeline with each sighting costs."""
    expected = np.array([_expected(t.timeline.boxes, frame, at) for t in open_])
    last = np.array([t.timeline.boxes[t.last] for t in open_])
    boxes = np.array([s.box for s in seen])
    nearness = 1 - np.maximum(overlap(expected, boxes), overlap(last, boxes))
    cost = np.full(nearness.shape, FORBIDDEN)
    for a, target in enumerate(open_):
        steps = max(1.0, (at(frame) - at(target.last)) / step)
        for b, one in enumerate(seen):
            size = max(np.hypot(*(np.array(x[2:]) - np.array(x[:2]) + 1)) for x in (boxes[b], last[a]))
            away = min(
                np.hypot(*(_centre(boxes[b]) - _centre(expected[a]))),
                np.hypot(*(_centre(boxes[b]) - _centre(last[a]))),
            )
            other = unlike(target.look, one.look)
            # Far away it must look the same; side by side a wrong word parts nothing.
            if nearness[a, b] < 1 or (away <= REACH * size * steps and other < 0.5):
                cost[a, b] = nearness[a, b] + min(1.0, away / (REACH * size * steps)) + IDENTITY * other
    return cost


def bridged(boxes: dict[int, Corners], at: At = float) -> dict[int, Corners]:
    """Every frame from the first to the last: what lies between two boxes moves evenly (ours)."""
    frames = sorted(boxes)
    every = np.arange(frames[0], frames[-1] + 1)
    corners = np.array([boxes[f] for f in frames])
    when, known = ([at(int(f)) for f in some] for some in (every, frames))
    between = np.stack([np.interp(when, known, corners[:, n]) for n in range(4)], 1).round(2)
    return {int(f): tuple(map(float, box)) for f, box in zip(every, between, strict=True)}  # type: ignore[misc]
