"""Words for objects and their motion, from tracks alone: what any data set with tracks can say about every
object (T-VAU's phase A)."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tvad.data.sample import Sample

WAYS = ("to the left", "to the right", "away from the camera", "towards the camera")
THIRDS = ("left", "middle", "right")
MOST_OBJECTS = 4


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
    return {"way": way, "moving": speed > 0.03, "speed": speed, "from": third[0], "to": third[1]}


def pace(move: dict) -> str:
    return (
        "does not move"
        if not move["moving"]
        else f"moves {move['way']}, {'fast' if move['speed'] > 0.2 else 'slowly'}"
    )


def narratives(sample: Sample) -> list[tuple[str, str]]:
    """Phase A: what is there (overall), how each object looks (attribute) and moves (motion). Questions with
    answers; empty without tracks. Objects are told apart by kind and by where they start; of several that
    cannot be told apart, none is asked about."""
    video = sample.video
    if not sample.tracks or not video.width or not video.fps:
        return []
    counts = Counter(track.kind for track in sample.tracks)
    listed = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in sorted(counts.items()))
    told = [("What is there in this video?", f"There {'are' if len(sample.tracks) > 1 else 'is'} {listed}.")]
    moves = [(t, motion(t.boxes, video.width, video.fps, video.times)) for t in sample.tracks]
    places = Counter((track.kind, move["from"]) for track, move in moves)
    for track, move in [m for m in moves if places[m[0].kind, m[1]["from"]] == 1][:MOST_OBJECTS]:
        name = f"the {track.kind} that starts in the {move['from']}"
        if track.look:
            told.append((f"How does {name} look?", f"It is {track.look}."))
        told.append(
            (f"How does {name} move?", f"It {pace(move)}, from the {move['from']} to the {move['to']}.")
        )
    return told
