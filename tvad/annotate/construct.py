"""T-VAU's construction of one video's annotation, its three stages: a generator of rounds of requests, so
that whoever runs it decides how many videos are asked about together, and where."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, get_args

import numpy as np

from tvad.annotate import refine, verify
from tvad.annotate.schema import FRAME, WHAT, WHERE, Seen, place_of, read_targets, targets_of, what_of
from tvad.annotate.teacher import Ask, Reply, remedy
from tvad.annotate.timelines import LEAST, At, Timeline, joined
from tvad.annotate.words import as_row, words_of
from tvad.common.errors import InputError, at_least
from tvad.data import video
from tvad.data.check import completed
from tvad.data.components import Corners, tracks_of
from tvad.data.sample import Sample

# The words are ours; the paper says "structured prompts frame by frame (attributes and boxes)".
FIELDS = (
    "kind (one noun), colour (of a thing, else empty), upper and lower (colours of a person's clothes, else"
    " empty), carries (what it carries, else empty)"
)
CORNERS = "box ([x1, y1, x2, y2] in 0 to 1000 of width and height)"
FRAME_PROMPT = (
    "This is a frame of a surveillance video. List every person and every thing that moves. Answer with JSON"
    f' only: {{"targets": [...]}}, for each target {FIELDS}, action (one word), {CORNERS}, region (left,'
    " middle or right of the picture), unusual (true where what it does does not belong there)."
)
REFINE_PROMPT = (
    f"Only the sharp part of this frame matters; the blurred rest is to be ignored. {FRAME_PROMPT}"
)
WHERE_PROMPT = (
    "This is a frame of a surveillance video. Find this target: {look}. Answer with JSON only: visible (true"
    f" or false), {CORNERS}."
)
WHAT_PROMPT = (
    "Only the sharp part of this frame of a surveillance video matters. What is the target there? Answer with"
    f" JSON only: {FIELDS}."
)


MOST_NAMED = 8  # frames of what could not be read
MOST_RATE = 1000  # frames a second: a list of that many is made of every second (ours)


@dataclass(frozen=True)
class Construction:
    """How a video's annotation is constructed; all defaults are ours."""

    rate: float = 2.0
    """Frames a second that the teacher is asked about."""
    gap: float = 1.0
    """Seconds for which a target may be missed and is still the same."""
    checks: int = 3
    """Frames at which each target is verified, in each direction; 0 verifies nothing."""
    contradictions: verify.Policy = "review"
    """What becomes of a contradiction: review, or drop."""
    max_tokens: int = 1024
    """Of a reply."""
    seed: int = 0
    """Of the order of options and letters."""

    def check(self) -> None:
        if not 0 < self.rate <= MOST_RATE or not 0 <= self.gap < float("inf"):
            raise InputError(
                f"rate must be above 0 and at most {MOST_RATE} and gap at least 0, found {self.rate:g} and"
                f" {self.gap:g}"
            )
        if self.checks < 0 or self.max_tokens < 1:
            raise InputError(
                f"checks must be at least 0 and max_tokens 1, found {self.checks} and {self.max_tokens}"
            )
        at_least("seed", self.seed, 0)
        if self.contradictions not in (known := get_args(verify.Policy)):
            raise InputError(f"contradictions is {self.contradictions!r}, expected {' or '.join(known)}")


@dataclass
class Found:
    """What the stages found of a video; sample: with all that its video says; unanswered: requests that the
    next run asks again; `stages`: the timelines as each stage left them, for measurements."""

    sample: Sample
    timelines: list[Timeline]
    counts: Counter[str]
    sightings: dict[int, list[Seen]]
    unanswered: int = 0
    stages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


Rounds = Generator[list[Ask], Sequence[Reply], Found]


def construct(sample: Sample, how: Construction) -> Rounds:
    """Ask about a video in rounds; the requests of a round do not depend on each other. Of the sample its
    video and its mask are used, nothing else. Raises InputError for a video or mask that cannot be read or is
    not as stated, and for a video without a mask of which the teacher left too much unanswered to say what
    happens."""
    clip = video.decode(sample.clip(), how.rate)
    height, width = clip.images.shape[1:3]
    indices = [int(i) for i in clip.indices]
    place = {frame: n for n, frame in reversed([*enumerate(indices)])}
    frames = sorted(place)
    counts: Counter[str] = Counter()
    sample, mask = completed(sample, clip.clock, height, width)

    size = {"width": width, "height": height}
    reads_targets, reads_place = partial(read_targets, **size), partial(place_of, **size)

    def ask(
        frame: int, prompt: str, schema: dict, reads: Callable[[str], Any], image: np.ndarray, **about: Any
    ) -> Ask:
        moment = round(float(clip.times[place[frame]]), 3)
        told = {"sample": sample.id, "frame": frame, **about}
        return Ask(prompt, schema, image[None], (moment,), how.max_tokens, told, reads)

    def shown(frame: int) -> np.ndarray:
        return clip.images[place[frame]]

    doubts: dict[str, set[int]] = defaultdict(set)  # why something unusual could not be read -> frames

    def read(reply: Reply, frame: int | None = None) -> list[Seen] | None:
        if reply.failed:
            counts[f"reply: {reply.failed}"] += 1
            return None
        unread: set[str] = set()
        found = targets_of(reply.text, width, height, counts, unread)
        if frame is not None:
            for why in unread:
                doubts[why].add(frame)
        return found

    # (a) frame-wise extraction, joined to timelines.
    asks = [ask(f, FRAME_PROMPT, FRAME, reads_targets, shown(f), stage="frame") for f in frames]
    replies = yield asks
    unanswered = _open(asks, replies)
    told = [read(reply, f) for f, reply in zip(frames, replies, strict=True)]
    at, gap = _ruler(clip, how.gap)
    if mask is None:  # with one it is the mask that says whether, when and where something is wrong
        _check_answered(
            [at(f) for f in frames], [seen is not None for seen in told], gap, counts, remedy(asks, replies)
        )
    sightings = {f: seen or [] for f, seen in zip(frames, told, strict=True)}
    timelines = joined(sightings.items(), gap, mask is None, at)  # a mask says itself what is unusual
    found = Found(sample, timelines, counts, sightings)
    found.stages["joined"] = [as_row(t) for t in timelines]

    # (b) refinement of what is anomalous.
    if mask is not None:
        timelines = refine.guided(timelines, tracks_of(mask[n] for n in range(mask.shape[0])))
    else:
        timelines = refine.unguided(timelines, len(frames), counts)
    sharp: dict[int, np.ndarray] = {}
    for f in frames:
        if boxes := _boxes(timelines, f):
            lit = refine.around(mask[f]) if mask is not None else refine.filled(boxes, height, width)
            sharp[f] = lit
    asks = []
    for f, lit in sharp.items():
        about = {"stage": "refine", "boxes": _boxes(timelines, f)}
        asks.append(ask(f, REFINE_PROMPT, FRAME, reads_targets, refine.blurred(shown(f), lit), **about))
    replies = yield asks
    unanswered += _open(asks, replies)
    for f, reply in zip(sharp, replies, strict=True):
        refine.looked_closer(timelines, f, read(reply) or [])
    found.timelines = timelines
    found.stages["refined"] = [as_row(t) for t in timelines]

    # (c) mutual verification.
    asked = verify.checks(timelines, frames, how.checks)

    def check(c: verify.Checked) -> Ask:
        if c.way == "where":
            look = c.timeline.look
            prompt = WHERE_PROMPT.format(look=words_of(look))
            return ask(c.frame, prompt, WHERE, reads_place, shown(c.frame), stage="where", look=look)
        box = c.timeline.boxes[c.frame]
        image = refine.blurred(shown(c.frame), refine.filled([box], height, width))
        return ask(c.frame, WHAT_PROMPT, WHAT, what_of, image, stage="what", boxes=[box])

    asks = [check(c) for c in asked]
    replies = yield asks
    unanswered += _open(asks, replies)
    counts.update(f"check: {reply.failed}" for reply in replies if reply.failed)
    texts = [None if reply.failed else reply.text for reply in replies]
    verify.settle(timelines, asked, texts, (width, height), how.contradictions, counts)
    found.stages["verified"] = [as_row(t) for t in timelines]
    if mask is None and doubts:
        timelines.append(_unread(doubts, at, gap, max((t.id for t in timelines), default=-1) + 1))
    if unanswered:
        counts["requests without an answer, which the same command asks again"] += unanswered
    found.unanswered = unanswered
    return found


def _open(asks: Sequence[Ask], replies: Sequence[Reply]) -> int:
    return sum(each.is_open(reply) for each, reply in zip(asks, replies, strict=True))


def _ruler(clip: video.Frames, gap: float) -> tuple[At, float]:
    """When a frame appears, in frames of the mean rate, and the gap of so many seconds in these. At a
    constant rate both are whole, so that a gap of 30 frames is 1 s at 29.97 a second, too."""
    frames = min(gap, clip.duration) * clip.fps
    if clip.clock.rate is not None:
        return float, max(1, round(frames))
    return lambda frame: float(clip.clock.times[frame]) * clip.fps, frames + LEAST


def _unread(doubts: Mapping[str, Collection[int]], at: At, gap: float, number: int) -> Timeline:
    """What may be unusual and could not be read, as a target without a place, which waits for a person; gaps
    bridged as those of timelines."""
    frames = sorted({f for some in doubts.values() for f in some})
    bridged = {n for f, to in pairwise(frames) if at(to) - at(f) <= gap for n in range(f, to)}
    timeline = Timeline(number, {}, anomalous=tuple(sorted(bridged.union(frames))))
    for why, some in sorted(doubts.items()):
        listed = ", ".join(map(str, sorted(some)[:MOST_NAMED])) + (", …" if len(some) > MOST_NAMED else "")
        timeline.doubt(f"{why}, which may be unusual, in the replies about frames {listed}")
    return timeline


def _check_answered(
    frames: Sequence[float], answered: Sequence[bool], gap: float, counts: Counter[str], helps: str
) -> None:
    """Raises InputError where frames without a readable reply are more than the `gap` that `joined` bridges:
    nothing is known of the video there, and it must not become normal. frames: when each appears. helps: what
    does, in words."""
    known = [n for n, there in enumerate(answered) if there]
    ends = zip([-1, *known], [*known, len(frames)], strict=True)
    lost = any(
        last - first > 1 and frames[min(last, len(frames) - 1)] - frames[max(first, 0)] > gap
        for first, last in ends
    )
    if lost or not known:
        why = counts.most_common(1)
        raise InputError(
            f"{len(frames) - len(known)} of {len(frames)} frames have no reply that can be read"
            f" ({why[0][0] if why else 'nothing'}), so that nobody knows what happens there; {helps}"
        )


def _boxes(timelines: Sequence[Timeline], frame: int) -> list[Corners]:
    return [t.boxes[frame] for t in timelines if frame in t.anomalous and frame in t.boxes]
