"""Words for objects and their motion, from tracks alone: what any data set with tracks can say about every
object (T-VAU's phase A)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tvad.data.sample import Sample, Track

WAYS = ("to the left", "to the right", "away from the camera", "towards the camera")
THIRDS = ("left", "middle", "right")
MOST_OBJECTS = 4
MOVES, FAST = 0.03, 0.2  # picture widths a second
OVERALL, UNUSUAL = "What is there in this video?", "Does anything unusual happen in this video?"


def motion(
    boxes: Mapping[int, tuple[float, float, float, float]],
    size: int,
    fps: float,
    times: Sequence[float] | None = None,
) -> dict:
    """Motion of a track, frame -> (x1, y1, x2, y2) in pixels of a picture `size` wide: way, moving, speed
    (picture widths a second), from and to (thirds of the width). times: seconds of every frame of the video
    where they are not frame / fps."""
    if not boxes:
        return {"way": WAYS[1], "moving": False, "speed": 0.0, "from": "middle", "to": "middle"}
    frames = sorted(boxes)
    foot = np.array([[(boxes[f][0] + boxes[f][2]) / 2, boxes[f][3]] for f in frames]) / size
    dx, dy = foot[-1] - foot[0]
    first, last = frames[0], frames[-1]
    seconds = max((last - first) / fps if times is None else times[last] - times[first], 1 / fps)
    way = (WAYS[1] if dx > 0 else WAYS[0]) if abs(dx) >= abs(dy) else (WAYS[3] if dy > 0 else WAYS[2])
    third = [THIRDS[min(2, max(0, int(3 * f[0])))] for f in (foot[0], foot[-1])]
    speed = float(np.hypot(dx, dy) / seconds)
    return {"way": way, "moving": speed > MOVES, "speed": speed, "from": third[0], "to": third[1]}


def pace(move: dict) -> str:
    return (
        "does not move"
        if not move["moving"]
        else f"moves {move['way']}, {'fast' if move['speed'] > FAST else 'slowly'}"
    )


def objects(sample: Sample) -> list[Track]:
    """The objects of a sample's tracks, one each: of several tracks with one id, as UBnormal has where an
    object misbehaves twice, the boxes of all."""
    found: dict[int, Track] = {}
    for track in sample.tracks or ():
        if (known := found.get(track.id)) is None:
            found[track.id] = track
        else:
            boxes = dict(sorted((known.boxes | track.boxes).items()))
            wrong = tuple(sorted({*known.anomalous, *track.anomalous}))
            found[track.id] = replace(known, boxes=boxes, anomalous=wrong, look=known.look or track.look)
    return list(found.values())


def all_tracked(sample: Sample) -> bool:
    """Whether every object that is to be seen has a track: where tracks go beyond what is anomalous. Of
    tracks that hold the anomaly and nothing else (ShanghaiTech's), nobody knows what else is there."""
    return any(set(track.boxes) - set(track.anomalous) for track in sample.tracks or ())


def several(count: int, kind: str) -> str:
    return f"{count} {kind}{'s' if count > 1 else ''}"


def narratives(sample: Sample) -> list[tuple[str, str]]:
    """Phase A: what is there (overall), how each object looks (attribute) and moves (motion). Questions with
    answers. Objects are told apart by kind and by where they start; of several that cannot be told apart,
    none is asked about. Where it is not known which objects there are, overall is whether anything is
    unusual; empty where that is not known either, and where there is nothing."""
    video, found = sample.video, objects(sample)
    whole = all_tracked(sample)
    counts = Counter(track.kind for track in found)
    listed = ", ".join(several(n, kind) for kind, n in sorted(counts.items()))
    told = []
    if whole:
        told.append((OVERALL, f"There {'are' if len(found) > 1 else 'is'} {listed}."))
    elif found:
        told.append((UNUSUAL, f"Yes, {listed} behave{'s' if len(found) == 1 else ''} unusually."))
    elif sample.tracks is None and sample.label is not None:
        told.append((UNUSUAL, "Yes." if sample.anomalous else "No, nothing unusual happens."))
    if not found or not video.width or not video.fps:
        return told
    moves = [(t, motion(t.boxes, video.width, video.fps, video.times)) for t in found]
    places = Counter((track.kind, move["from"]) for track, move in moves)
    for track, move in [m for m in moves if places[m[0].kind, m[1]["from"]] == 1][:MOST_OBJECTS]:
        name = f"the {'' if whole else 'unusual '}{track.kind} that starts in the {move['from']}"
        if track.look:
            told.append((f"How does {name} look?", f"It is {track.look}."))
        told.append(
            (f"How does {name} move?", f"It {pace(move)}, from the {move['from']} to the {move['to']}.")
        )
    return told
