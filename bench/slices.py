"""In which slices of a suite a video lies: by class, size and motion of what is unusual, its length and the
video's, light, crowd, occlusion.

Only what the data say: what a sample states itself (`conditions`) wins, the rest follows from its class,
spans and tracks, and a video that does not say a kind is in no slice of it. Occlusion is never derived:
tracks hold visible boxes, and a box that is missing may be one that nobody drew.
"""

from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from tvad.common.errors import InputError
from tvad.data.dialogue import surroundings
from tvad.data.narrate import FAST, MOVES, motion, objects
from tvad.data.sample import Sample
from tvad.data.scenes.world import WEATHER

NORMAL = "normal"


@dataclass(frozen=True)
class Bins:
    """A number in words: names[i] holds from bounds[i - 1] (itself in it) to bounds[i]. what: its unit."""

    what: str
    bounds: tuple[float, ...]
    names: tuple[str, ...]

    def of(self, value: float | None) -> str | None:
        return None if value is None else self.names[bisect(self.bounds, value)]

    @property
    def told(self) -> str:
        pairs = zip(self.bounds, self.names[1:], strict=True)
        return f"{self.what}: {self.names[0]}{''.join(f' < {bound:.3g} <= {name}' for bound, name in pairs)}"


BINS = {
    # COCO's areas, 32 x 32 and 96 x 96 of some 640 x 480 pixels.
    "size": Bins(
        "largest box of what is unusual, share of the picture",
        (32**2 / (640 * 480), 96**2 / (640 * 480)),
        ("small", "medium", "large"),
    ),
    # As descriptions say it; micro-actions are T-VAU's word for what hardly leaves its place.
    "motion": Bins(
        "displacement of what is unusual, picture widths a second", (MOVES, FAST), ("micro", "slow", "fast")
    ),
    "length": Bins("seconds of the anomaly", (2, 10), ("short", "medium", "long")),
    "video": Bins("seconds of the video", (10, 60), ("short", "medium", "long")),
    "crowd": Bins("most objects in one frame", (4, 10), ("few", "several", "many")),
}


def _class(sample: Sample) -> str | None:
    return sample.category or (NORMAL if sample.label == NORMAL else None)


def _size(sample: Sample) -> float | None:
    """The largest share of the picture that a box of the anomaly has; of its tracks, else of what questions
    ask for."""
    width, height = sample.video.width, sample.video.height
    shares = [
        (x2 - x1 + 1) * (y2 - y1 + 1) / (width * height)
        for track in sample.tracks or ()
        for frame in track.anomalous
        if width and height and frame in track.boxes
        for x1, y1, x2, y2 in (track.boxes[frame],)
    ]
    if not shares and sample.anomalous:
        asked = (box.xyxy for q in sample.questions if q.kind == "spatial" for box in q.boxes)
        shares = [(x2 - x1) * (y2 - y1) / 1e6 for x1, y1, x2, y2 in asked]
    return max(shares, default=None)


def _speed(sample: Sample) -> float | None:
    """Of the fastest object, from where it begins to misbehave to where it ends."""
    video, speeds = sample.video, []
    for track in objects(sample):
        boxes = {frame: track.boxes[frame] for frame in track.anomalous if frame in track.boxes}
        if len(boxes) > 1 and video.width and (video.fps or video.times):
            speeds.append(motion(boxes, video.width, video.fps or 0, video.times)["speed"])
    return max(speeds, default=None)


def _seconds(sample: Sample) -> float | None:
    """Of the anomaly; what several spans share counts once."""
    total, end = 0.0, 0.0
    for start, stop in sorted(sample.spans or ()):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total or None


def _light(sample: Sample) -> str | None:
    """Of generated scenes, whose descriptions are made as "Place, weather."; words of people are not read."""
    told = surroundings(sample) if sample.source.startswith("scenes-") else None
    found = (told or "").rstrip(".").rpartition(", ")[2]
    return found if found in WEATHER else None


def _most_at_once(sample: Sample) -> int | None:
    counts: dict[int, int] = {}
    for track in objects(sample):
        for frame in track.boxes:
            counts[frame] = counts.get(frame, 0) + 1
    return max(counts.values(), default=0 if sample.tracks is not None else None)


def _crowds(samples: Iterable[Sample]) -> set[str]:
    """Sources whose tracks are of everybody: of those that hold nothing but misbehaving objects (as
    ShanghaiTech's do) the number of tracks says nothing of the crowd."""
    return {s.source for s in samples if any(not track.anomalous for track in s.tracks or ())}


DERIVED: dict[str, Callable[[Sample], str | None]] = {
    "class": _class,
    "size": lambda sample: BINS["size"].of(_size(sample)),
    "motion": lambda sample: BINS["motion"].of(_speed(sample)),
    "length": lambda sample: BINS["length"].of(_seconds(sample)),
    "video": lambda sample: BINS["video"].of(sample.video.duration),
    "light": _light,
    "crowd": lambda sample: BINS["crowd"].of(_most_at_once(sample)),
}
KINDS = (*DERIVED, "occlusion")


def places(samples: Sequence[Sample], kinds: Collection[str]) -> dict[str, dict[str, str]]:
    """{sample's id: {kind: the slice that it lies in}}, kinds in this order. Raises InputError for a kind
    that is neither one of KINDS nor stated by a sample."""
    stated = {kind for sample in samples for kind in sample.conditions or ()}
    for kind in kinds:
        if kind not in KINDS and kind not in stated:
            known = ", ".join([*KINDS, *sorted(stated - {*KINDS})])
            raise InputError(f"slices: no sample says {kind!r}; known: {known}")
    crowds = _crowds(samples)
    found: dict[str, dict[str, str]] = {}
    for sample in samples:
        found[sample.id] = {}
        for kind in kinds:
            value = (sample.conditions or {}).get(kind)
            if value is None and kind in DERIVED and (kind != "crowd" or sample.source in crowds):
                value = DERIVED[kind](sample)
            if value is not None:
                found[sample.id][kind] = value
    return found


def in_order(where: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    """The slices (kind, value) that videos lie in: kinds as they come, bins from low to high, else by
    name."""
    met: dict[str, set[str]] = {}
    for of_video in where:
        for kind, value in of_video.items():
            met.setdefault(kind, set()).add(value)
    return [(kind, value) for kind, values in met.items() for value in sorted(values, key=_rank(kind))]


def _rank(kind: str) -> Callable[[str], tuple[int, str]]:
    names = BINS[kind].names if kind in BINS else ()
    return lambda value: (names.index(value) if value in names else -1, value)
