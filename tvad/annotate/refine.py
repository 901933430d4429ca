"""T-VAU's second stage: everything but the anomaly blurred ("mask and Gaussian blur of the background"), the
teacher asked again, anomaly timelines of high confidence. Without masks, what the first stage calls unusual
takes their place (ours)."""

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from tvad.annotate.schema import Seen
from tvad.annotate.timelines import Timeline
from tvad.data.components import Corners, overlap
from tvad.data.sample import Track

MARGIN = 0.15  # of a box's or a mask's size, kept sharp around it (ours)
BLUR = 0.05  # standard deviation of the Gaussian, of the picture's width (ours)
SAME = 0.5  # mean overlap of a timeline with a mask's track that are one (ours)
INSIDE = 0.8  # of a box's area, from which on it is part of the mask's object (ours)
UNUSUAL = 0.5  # share of sightings that call a target unusual, from which on it is (ours)


def blurred(image: np.ndarray, sharp: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with all but `sharp` (H, W) bool under a Gaussian blur."""
    soft = cv2.GaussianBlur(image, (0, 0), max(1.0, BLUR * image.shape[1]))
    return np.where(sharp[..., None], image, soft)


def around(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool with its margin."""
    if not mask.any():
        return mask
    side = max(1, round(MARGIN * np.sqrt(mask.sum())))
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * side + 1, 2 * side + 1), np.uint8)).astype(bool)


def filled(boxes: Sequence[Corners], height: int, width: int) -> np.ndarray:
    """(H, W) bool, lit in the boxes and their margins."""
    lit = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in boxes:
        dx, dy = MARGIN * (x2 - x1 + 1), MARGIN * (y2 - y1 + 1)
        lit[
            max(0, int(y1 - dy)) : max(0, int(np.ceil(y2 + 1 + dy))),
            max(0, int(x1 - dx)) : max(0, int(np.ceil(x2 + 1 + dx))),
        ] = True
    return lit


def guided(timelines: Sequence[Timeline], tracks: Sequence[Track]) -> list[Timeline]:
    """All timelines, those of the masks' objects anomalous, with the masks' boxes there: whatever a teacher
    says, an anomaly's place and time are the mask's. A timeline of the first stage owns the parts of the mask
    (its components, linked) that lie within it and fill it together: one object is several where something
    stands before it. What lies within a mask's object that nobody owns is part of it."""
    others = list(timelines)
    owner = _owners(others, tracks)
    wrong: list[Timeline] = []
    for timeline in others:
        own = [tracks[b] for b, t in owner.items() if t is timeline]
        if own:
            _masked(timeline, own)
            wrong.append(timeline)
    for b, track in enumerate(tracks):
        if b in owner:
            continue
        timeline = Timeline(-1, {})
        for part in [t for t in others if not t.masked and _is_part(t, track)]:
            timeline.seen |= {f: s for f, s in part.seen.items() if f in track.boxes}
            others.remove(part)
        _masked(timeline, [track])
        wrong.append(timeline)
    return _numbered([*wrong, *(t for t in others if not t.masked)])


def _masked(timeline: Timeline, tracks: Sequence[Track]) -> None:
    """Give a timeline the masks' boxes: in each frame what encloses all of its parts there."""
    timeline.anomalous = tuple(sorted({f for track in tracks for f in track.boxes}))
    for frame in timeline.anomalous:
        timeline.boxes[frame] = _enclosing([t.boxes[frame] for t in tracks if frame in t.boxes])
    timeline.boxes = dict(sorted(timeline.boxes.items()))
    timeline.masked = True


def _owners(timelines: Sequence[Timeline], tracks: Sequence[Track]) -> dict[int, Timeline]:
    """Number of a mask's track -> the timeline that it is part of: that which its parts fill best."""
    found: dict[int, tuple[float, Timeline]] = {}
    for timeline in timelines:
        inside = [b for b, track in enumerate(tracks) if _lies_in(track, timeline)]
        frames = {f for b in inside for f in tracks[b].boxes if f in timeline.boxes}
        fills = [
            _iou(timeline.boxes[f], _enclosing([tracks[b].boxes[f] for b in inside if f in tracks[b].boxes]))
            for f in frames
        ]
        if fills and (filled := float(np.mean(fills))) >= SAME:
            for b in inside:
                if b not in found or filled > found[b][0]:
                    found[b] = filled, timeline
    return {b: timeline for b, (_, timeline) in found.items()}


def _lies_in(track: Track, timeline: Timeline) -> bool:
    """Whether a mask's track lies in a timeline's boxes, in most of its frames."""
    inside = [
        _within(box, timeline.boxes[f]) >= INSIDE or _iou(box, timeline.boxes[f]) >= SAME
        for f, box in track.boxes.items()
        if f in timeline.boxes
    ]
    return 2 * sum(inside) > len(track.boxes)


def _enclosing(boxes: Sequence[Corners]) -> Corners:
    low, high = np.min(boxes, 0), np.max(boxes, 0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def _iou(box: Corners, other: Corners) -> float:
    return float(overlap(np.array([box]), np.array([other]))[0, 0])


def _numbered(timelines: list[Timeline]) -> list[Timeline]:
    """Ids by first appearance, then by place, so that they are the same whenever they are given."""
    ordered = sorted(timelines, key=lambda t: (min(t.boxes), t.boxes[min(t.boxes)]))
    for n, timeline in enumerate(ordered):
        timeline.id = n
    return ordered


def _is_part(timeline: Timeline, track: Track) -> bool:
    """Whether it is seen in the track's frames, for the most part, and lies within the track's boxes
    there."""
    frames = [f for f in timeline.boxes if f in track.boxes]
    if 2 * len(frames) < len(timeline.boxes):
        return False
    return float(np.mean([_within(timeline.boxes[f], track.boxes[f]) for f in frames])) >= INSIDE


def _within(box: Corners, other: Corners) -> float:
    """The share of a box's area that lies in another."""
    across = min(box[2], other[2]) - max(box[0], other[0]) + 1
    down = min(box[3], other[3]) - max(box[1], other[1]) + 1
    return max(0.0, across) * max(0.0, down) / ((box[2] - box[0] + 1) * (box[3] - box[1] + 1))


def unguided(timelines: Sequence[Timeline], looked: int, counts: Counter[str]) -> list[Timeline]:
    """Without masks: what is called unusual is anomalous from the first to the last such sighting; where that
    is one sighting of a target in three or more frames that were looked at, or few of a target's sightings,
    a person must say so."""
    for timeline in timelines:
        frames = [f for f, seen in timeline.seen.items() if seen.unusual]
        if not frames:
            continue
        timeline.anomalous = tuple(f for f in timeline.boxes if min(frames) <= f <= max(frames))
        if len(timeline.seen) == 1 and looked > 2:
            timeline.doubt("it is seen in one frame alone")
            counts["unusual targets seen in one frame alone"] += 1
        elif len(frames) < UNUSUAL * len(timeline.seen):
            timeline.doubt(f"{len(frames)} of {len(timeline.seen)} sightings call it unusual")
            counts["targets that few of their sightings call unusual"] += 1
    return list(timelines)


def looked_closer(timelines: Sequence[Timeline], frame: int, seen: Sequence[Seen]) -> None:
    """Give what was seen in a blurred frame to the anomaly timelines that it lies at."""
    there = [t for t in timelines if frame in t.anomalous and frame in t.boxes]
    if not there or not seen:
        return
    shared = overlap(np.array([t.boxes[frame] for t in there]), np.array([s.box for s in seen]))
    for a, b in zip(*linear_sum_assignment(-shared), strict=True):
        if shared[a, b] >= 0.3:
            there[a].closer[frame] = seen[b]
