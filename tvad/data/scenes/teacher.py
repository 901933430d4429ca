"""A teacher that answers from the truth of generated scenes, with controlled noise, so that a pipeline which
asks one can be measured. Offered as `scripted:FOLDER` in the entry point group `tvad.teachers`; what asks it
does not know scenes. A reply depends on the request and the seed alone."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvad.common.errors import InputError
from tvad.data.folder import load
from tvad.data.narrate import THIRDS
from tvad.data.sample import Sample, Track
from tvad.data.scenes.actors import COLOURS

if TYPE_CHECKING:
    from tvad.annotate.teacher import Ask, Reply

_DRESSED = re.compile(r"dressed in (\w+) and (\w+)(?:, with a (\w+))?")
KIND = {"bag": "suitcase", "thrown": "thing"}
IS_THING = ("car",)


def truth_of(track: Track) -> dict[str, str]:
    """How an object of a scene looks, in a teacher's fields."""
    look = {"kind": KIND.get(track.kind, track.kind)}
    if found := _DRESSED.fullmatch(track.look or ""):
        upper, lower, carried = found.groups()
        look |= {"upper": upper, "lower": lower} | ({"carries": carried} if carried else {})
    elif track.look:
        look["colour"] = track.look
    return look


class Scripted:
    """noise: of every target that a reply tells, with this probability each, a colour is wrong, it is missed,
    and in a frame the looks of two are swapped. wrong, missed, swapped: the same, one by one."""

    def __init__(
        self,
        folder: str,
        noise: float = 0.0,
        seed: int = 0,
        wrong: float | None = None,
        missed: float | None = None,
        swapped: float | None = None,
    ):
        own = {"wrong": wrong, "missed": missed, "swapped": swapped}
        self.odds = {name: noise if value is None else value for name, value in own.items()}
        for name, value in {"noise": noise, **self.odds}.items():
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise InputError(f"scripted: {name} is {value!r}, expected 0 to 1")
        self.samples = {sample.id: sample for sample in load(Path(folder))}
        self.seed = seed
        self.name = f"scripted:{folder} {json.dumps(self.odds, allow_nan=False)} seed {seed}"

    def answers(self, asks: Sequence["Ask"]) -> Iterator[tuple[int, "Reply"]]:
        from tvad.annotate.teacher import Reply

        for n, ask in enumerate(asks):
            about = ask.about
            if about.get("sample") not in self.samples:
                raise InputError(f"scripted: no scene {about.get('sample')!r} in its folder")
            digest = hashlib.sha256(f"{self.seed} {ask.key(self.name)}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            said = json.dumps(self._said(self.samples[about["sample"]], about, rng), allow_nan=False)
            yield (
                n,
                Reply(
                    said,
                    tokens_in=ask.images.shape[1] * ask.images.shape[2] // 784,
                    tokens_out=len(said) // 4,
                ),
            )

    def _said(self, sample: Sample, about: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        if about["stage"] == "trajectory":
            return self._trajectory(sample, rng)
        frame = about["frame"]
        there = [t for t in sample.tracks or () if frame in t.boxes]
        if about["stage"] == "what":
            return self._what(there, about, rng)
        if about["stage"] == "where":
            return self._where(sample, there, about, rng)
        if about["stage"] == "refine":
            there = [t for t in there if any(_shared(t.boxes[frame], box) > 0.3 for box in about["boxes"])]
        looks = [self._blurred_words(truth_of(t), rng) for t in there]
        if len(looks) > 1 and rng.random() < self.odds["swapped"]:
            a, b = rng.choice(len(looks), 2, replace=False)
            looks[a], looks[b] = looks[b], looks[a]
        rows = []
        for track, look in zip(there, looks, strict=True):
            if rng.random() >= self.odds["missed"]:
                rows.append(_row(sample, track, look, frame))
        return {"targets": rows}

    def _blurred_words(self, look: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
        named = [name for name in ("colour", "upper", "lower") if name in look]
        if named and rng.random() < self.odds["wrong"]:
            name = str(rng.choice(named))
            others = [c for c in COLOURS if c != look[name]]
            return look | {name: str(rng.choice(others))}
        return look

    def _trajectory(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        """What a model would write of a whole clip; wrong: it concludes the contrary; missed: it says what
        could be said of any clip; swapped: it names another class."""
        abnormal, category = bool(sample.anomalous), sample.category or "normal"
        if rng.random() < self.odds["wrong"]:
            abnormal = not abnormal
        if abnormal and rng.random() < self.odds["swapped"]:
            category = "something else"
        kinds = [truth_of(t) for t in sample.tracks or () if bool(t.anomalous) == abnormal]
        names = [
            " ".join([look.get("upper", look.get("colour", "")), look["kind"]]).strip() for look in kinds
        ]
        seen = sample.description or f"There are {len(sample.tracks or ())} people and things to be seen."
        if rng.random() < self.odds["missed"]:
            seen = "This footage was filmed by one camera from above."
        what = f"does {category}" if abnormal else "goes its way as usual"
        return {
            "observation": seen,
            "evidence": [f"The {name} there {what}" for name in names[:4]]
            or ["Nobody is seen to do anything"],
            "reasoning": f"What is seen {'does not belong' if abnormal else 'belongs'} in such a place.",
            "conclusion": {"abnormal": abnormal, "category": category if abnormal else "normal"},
            "objects": names[:4],
        }

    def _what(self, there: list[Track], about: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        frame, (box,) = about["frame"], about["boxes"]
        if not there or rng.random() < self.odds["missed"]:
            return _filled({"kind": "nothing"})
        near = sorted(there, key=lambda t: -_iou(t.boxes[frame], box))
        swap = len(near) > 1 and rng.random() < self.odds["swapped"]
        return _filled(self._blurred_words(truth_of(near[1 if swap else 0]), rng))

    def _where(
        self, sample: Sample, there: list[Track], about: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        frame, look = about["frame"], about["look"]
        fits = [t for t in there if all(truth_of(t).get(name, said) == said for name, said in look.items())]
        if not fits or rng.random() < self.odds["missed"]:
            return {"visible": False, "box": [0, 0, 1, 1]}
        chosen = fits[0]
        if len(there) > 1 and rng.random() < self.odds["swapped"]:
            chosen = there[int(rng.integers(len(there)))]
        return {"visible": True, "box": _permille(sample, chosen.boxes[frame])}


def _filled(look: dict[str, str]) -> dict[str, str]:
    return {name: look.get(name, "") for name in ("kind", "colour", "upper", "lower", "carries")}


def _row(sample: Sample, track: Track, look: dict[str, str], frame: int) -> dict[str, Any]:
    box = _permille(sample, track.boxes[frame])
    wrong = frame in track.anomalous
    third = THIRDS[min(2, 3 * (box[0] + box[2]) // 2000)]
    action = (sample.category or "moving") if wrong else "walking"
    return {**_filled(look), "action": action, "box": box, "region": third, "unusual": wrong}


def _permille(sample: Sample, box: tuple[float, float, float, float]) -> list[int]:
    width, height = sample.video.width or 1, sample.video.height or 1
    x1, y1, x2, y2 = box
    edges = (x1 / width, y1 / height, (x2 + 1) / width, (y2 + 1) / height)
    return [min(1000, max(0, round(1000 * edge))) for edge in edges]


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    return max(0.0, across) * max(0.0, down)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def _shared(box: Sequence[float], other: Sequence[float]) -> float:
    return _overlap(box, other) / _area(box)


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    return _overlap(a, b) / (_area(a) + _area(b) - _overlap(a, b))
