"""Multiple choice of a data set's anomalies, whose right letters are balanced and whose wrong options look
like right ones: who reads the options alone must not find out (all rules are ours)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tvad.annotate.looks import Look, told_apart
from tvad.data.narrate import WAYS, motion
from tvad.data.questions import LETTERS
from tvad.data.sample import Question, Sample, Track
from tvad.data.video import Clock

CHOICES = {
    "target": "Which target behaves unusually?",
    "direction": "Which way does the unusual target go?",
    "when": "When does something unusual happen?",
}
OPTIONS = 4
PLAIN = 2.0  # how much further a target goes its way than across it: else another way is true, too
SAME_TIME = 0.005  # seconds
EXACT = 1e-6  # seconds of rounding
LEAST_APART = 0.02  # seconds from one option to the next, which two digits tell apart
LIKE = 0.1  # of the right span's seconds by which another may be longer or shorter where the rate varies


@dataclass(frozen=True)
class Draft:
    """A sample without these questions, the looks of its targets (track -> words), and the frames that can
    begin or end what is unusual in it: those that were looked at, or all of a mask's."""

    sample: Sample
    looks: Mapping[int, Look]
    frames: Sequence[int]
    clock: Clock


def with_choices(drafts: Sequence[Draft], seed: int) -> list[Sample]:
    """The samples with their multiple-choice questions: distractors from the same video first, then from what
    targets of this data set look like; letters rotate within each topic in an order drawn from the seed."""
    pool = Pool(_named((t, draft.looks[t.id]) for draft in drafts for t in draft.sample.tracks or ()))
    turn: dict[str, list[int]] = defaultdict(list)
    draws = {topic: np.random.default_rng([seed, n]) for n, topic in enumerate(CHOICES)}
    ranks: Counter[int] = Counter()
    found = []
    for number, draft in enumerate(drafts):
        rng = np.random.default_rng([seed, len(CHOICES), number])
        asked = list(draft.sample.questions)
        for topic, right, wrong in _choices(draft, pool, ranks, rng):
            if not turn[topic]:
                turn[topic] = [int(i) for i in draws[topic].permutation(OPTIONS)]
            letter = turn[topic].pop()
            options = [*wrong[:letter], right, *wrong[letter:]]
            why = draft.sample.rationale
            asked.append(Question("mcq", CHOICES[topic], LETTERS[letter], tuple(options), topic, why))
        found.append(replace(draft.sample, questions=tuple(asked)))
    return found


Named = Mapping[str, Sequence[Look]]  # words of an option -> the looks that come to them


class Pool:
    """The options that a data set has: `names`, and those of each of `kinds`."""

    def __init__(self, looks: Named):
        self.looks, self.names = looks, [*looks]
        self.kinds: dict[str | None, list[str]] = defaultdict(list)
        for name, own in looks.items():
            self.kinds[own[0].get("kind")].append(name)


def _named(tracks: Iterable[tuple[Track, Look]]) -> Named:
    """In the order of names."""
    found: dict[str, list[Look]] = defaultdict(list)
    for track, look in tracks:
        if look not in (looks := found[_name(track)]):
            looks.append(look)
    return dict(sorted(found.items()))


def _name(track: Track) -> str:
    return f"{track.kind}, {track.look}" if track.look else track.kind


def _choices(
    draft: Draft, pool: Pool, ranks: Counter[int], rng: np.random.Generator
) -> Iterator[tuple[str, str, list[str]]]:
    """(topic, right option, three wrong ones) of an anomaly whose one target is known."""
    sample = draft.sample
    shown, wrong = sample.video, [track for track in sample.tracks or () if track.anomalous]
    if len(wrong) != 1 or not shown.width or not shown.fps:
        return
    (track,) = wrong
    if options := _other_targets(draft, track, pool, rng):
        yield "target", _name(track), options
    move = motion(track.boxes, shown.width, shown.fps, shown.times)
    if move["moving"] and _is_plain(track):
        yield "direction", move["way"], [*_mixed([w for w in WAYS if w != move["way"]], rng)]
    if len(sample.spans or ()) == 1 and (times := _other_times(draft, ranks, rng)):
        yield "when", _time(*sample.spans[0]), times  # type: ignore[index,misc]


def _mixed(words: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    return (words[int(n)] for n in rng.permutation(len(words)))


def _other_targets(draft: Draft, track: Track, pool: Pool, rng: np.random.Generator) -> list[str] | None:
    """Looks that are not the target's: of others in this video, which are the most plausible, then what is
    like it elsewhere, by kind."""
    look, right = draft.looks[track.id], _name(track)
    there = _named((t, draft.looks[t.id]) for t in draft.sample.tracks or () if t is not track)
    if not track.look or right in there:
        return None

    kind = look.get("kind")

    def likely() -> Iterator[str]:
        yield from _mixed([*there], rng)
        yield from (name for name in _mixed(pool.kinds.get(kind, ()), rng) if name not in there)
        for name in _mixed(pool.names, rng):
            if name not in there and pool.looks[name][0].get("kind") != kind:
                yield name

    options = []
    for name in likely():  # no further than three are found: the pool is as large as the data set
        if all(told_apart(look, other) for other in there.get(name) or pool.looks[name]):
            options.append(name)
            if len(options) == OPTIONS - 1:
                return options
    return None


def _is_plain(track: Track) -> bool:
    """Whether a target goes one way much further than across it."""
    first, last = track.boxes[min(track.boxes)], track.boxes[max(track.boxes)]
    across, along = abs(last[0] + last[2] - first[0] - first[2]) / 2, abs(last[3] - first[3])
    return max(across, along) >= PLAIN * min(across, along)


def _time(start: float, end: float) -> str:
    return f"from {start:.2f} to {end:.2f} s"


def _other_times(draft: Draft, ranks: Counter[int], rng: np.random.Generator) -> list[str] | None:
    """Three other spans of the video, as long as the right one and from frames to frames of the same, which
    overlap it and each other by at most half: neither length nor digits tell which is right. Of the places in
    time that the right one can have among them it has the one that was had least. None without room."""
    (right,) = draft.sample.spans or ()
    edges, frames = np.append(draft.clock.times, draft.clock.end), np.array(draft.frames)
    starts, ends = edges[frames], edges[frames + 1]
    if max(np.abs(starts - right[0]).min(), np.abs(ends - right[1]).min()) > SAME_TIME:
        return None  # no frame that was looked at, as a person may say
    seconds = right[1] - right[0]
    apart = max(seconds / 3, LEAST_APART)  # so that they overlap by at most half
    step = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
    later = np.searchsorted(ends, starts + seconds).clip(0, len(ends) - 1)
    sooner = (later - 1).clip(0)
    nearest = np.where(starts + seconds - ends[sooner] < ends[later] - starts - seconds, sooner, later)
    off = np.abs(ends[nearest] - starts - seconds)
    fits = (off <= max(SAME_TIME, min(LIKE * seconds, step / 3))) & (ends[nearest] > starts)
    spans = np.stack([starts, ends[nearest]], 1)[fits]
    before = spans[spans[:, 0] <= right[0] - apart + EXACT]
    after = spans[spans[:, 0] >= right[0] + apart - EXACT]
    ways = [_ways(some[:, 0], apart) for some in (before, after)]
    possible = [r for r in range(OPTIONS) if ways[0][r][0] and ways[1][OPTIONS - 1 - r][0]]
    if not possible:
        return None
    rank = min(possible, key=lambda r: (ranks[r], rng.random()))
    ranks[rank] += 1
    places = [
        *(before[n] for n in _places(before[:, 0], rank, apart, rng)),
        *(after[n] for n in _places(after[:, 0], OPTIONS - 1 - rank, apart, rng)),
    ]
    return [*_mixed([_time(float(start), float(end)) for start, end in places], rng)]


def _next(times: np.ndarray, apart: float) -> np.ndarray:
    """(N,) of each moment the first that is `apart` from it or more."""
    return np.searchsorted(times, times + apart - EXACT)


def _ways(times: np.ndarray, apart: float) -> list[np.ndarray]:
    """For 0 to OPTIONS - 1: (N + 1,) in how many ways so many of `times` from each on are chosen, `apart` and
    more from one to the next."""
    found = [np.ones(len(times) + 1)]
    for _ in range(OPTIONS - 1):
        each = found[-1][_next(times, apart)]  # with this one as the first
        found.append(np.append(np.cumsum(each[::-1])[::-1], 0.0))
    return found


def _places(times: np.ndarray, count: int, apart: float, rng: np.random.Generator) -> list[int]:
    """`count` numbers of `times`, `apart` seconds from one to the next: every such choice is alike likely."""
    ways, far, first = _ways(times, apart), _next(times, apart), 0
    found = []
    for left in range(count - 1, -1, -1):
        weights = ways[left][far[first:]]
        found.append(first + int(rng.choice(len(weights), p=weights / weights.sum())))
        first = far[found[-1]]
    return found
