"""Windows of one source video on both sides of a split, and what copying the nearest training window scores:
neighbours share frames and words, so that such a split measures copying. What a training part replies to
the words of a dialogue (`Replies`) is what `baseline:neighbour` and `baseline:window` say."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from bench.metrics.text import best_bleu4
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.data.dialogue import once
from tvad.data.sample import Sample

# 01_0014-168_191, Abuse001_0-10, v_4.0_9.5: a video's name, then a window's start and end. Of whole numbers
# the two marks differ: 05_018_02 may be a camera, a day, a number.
_WINDOW = re.compile(r"(.+?)(?:-(\d+)_(\d+)|[_ ](\d+)-(\d+)|[-_ ](\d+\.\d+)[-_](\d+\.\d+))")
SIDE = 32  # cells of a frame's small grey picture
SHOWN = 5  # frames of a clip that are looked at, evenly spaced
ALIKE = 12  # grey levels that every cell may differ by: another encoding or size, not another moment
SHARED = 3  # of SHOWN frames that are in the other clip, too


@dataclass(frozen=True)
class Near:
    """A test sample, the training sample nearest to it, and how that was found: "name", "time" (of several
    windows of that name the nearest by its start), "frames"."""

    test: Sample
    train: Sample
    by: str


def source_of(name: str) -> tuple[str, float | None]:
    """(video, start of the window in it) by a sample's id; what is no window is a video of its own."""
    if (match := _WINDOW.fullmatch(name)) is not None:
        start, end = (float(number) for number in match.groups()[1:] if number is not None)
        if start < end:
            return match.group(1), start
    return name, None


def origin(sample: Sample) -> tuple[str, float | None]:
    """(video, start of the window in it, in seconds or in what its name counts): as the sample states it,
    else by its id."""
    if sample.video.source is not None:
        return sample.video.source, sample.video.offset
    return source_of(sample.id)


def _small(images: np.ndarray) -> np.ndarray:
    """(frames, SIDE * SIDE) grey levels, int16."""
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)
    cells = [cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel() for one in grey]
    return np.array(cells, np.int16)


def _alike(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the frames `others` (..., cells) are the frame `one` (cells,)."""
    return np.abs(others - one).max(-1) <= ALIKE


def small_frames(samples: Iterable[Sample], what: str) -> dict[str, np.ndarray]:
    """Sample id -> SHOWN small frames. What cannot be read, is shorter, or stands still has none: a fixed
    camera's empty scene is the same on every day."""
    store, found = ClipStore(8.0, SHOWN, 0), {}
    for sample in tqdm(list(samples), unit="video", desc=f"look at {what}", disable=None):
        try:
            frames = _small(store.decode(sample.clip()).images)
        except InputError:
            continue
        if len(frames) == SHOWN and not _alike(frames[0], frames).all():
            found[sample.id] = frames
    return found


def nearest(
    test: Sequence[Sample],
    train: Sequence[Sample],
    seen: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {}),
) -> list[Near]:
    """The test samples of whose source video there is something in the training part: by the videos' names
    (the nearest window by its start), else by the `small_frames` seen (of test, of train)."""
    by_source: dict[str, list[tuple[float | None, Sample]]] = defaultdict(list)
    for sample in train:
        video, start = origin(sample)
        by_source[video].append((start, sample))
    known = [sample for sample in train if sample.id in seen[1]]
    theirs = np.array([seen[1][sample.id] for sample in known])  # (n, SHOWN, cells)
    found = []
    for sample in test:
        video, start = origin(sample)
        if windows := by_source.get(video):
            if start is None or any(s is None for s, _ in windows):
                found.append(Near(sample, windows[0][1], "name"))
            else:
                found.append(Near(sample, min(windows, key=lambda w: abs((w[0] or 0) - start))[1], "time"))
            continue
        own = seen[0].get(sample.id)
        if own is None or not known:
            continue
        shared = np.sum([_alike(one, theirs).any(1) for one in own], 0)
        if shared[best := int(np.argmax(shared))] >= SHARED:
            found.append(Near(sample, known[best], "frames"))
    return found


class Replies:
    """What the windows of a training part reply in their dialogues, each with its first reply to the same
    words. A window is never asked about itself, should it be in the part."""

    def __init__(self, train: Iterable[Sample]) -> None:
        self._to: dict[str, list[tuple[Sample, str]]] = defaultdict(list)  # words -> who replies, and what
        self._of: dict[tuple[str, str], list[Sample]] = defaultdict(list)  # (source video, words) -> windows
        for sample in train:
            for asked, reply in once(sample.dialogue or ()):
                self._to[asked].append((sample, reply))
                self._of[origin(sample)[0], asked].append(sample)

    def near(self, sample: Sample, asked: str) -> str | None:
        """Of the nearest window of the same source video that replies to these words; None without one."""
        there = [window for window in self._of.get((origin(sample)[0], asked), ()) if window.id != sample.id]
        found = nearest([sample], there)
        return dict(once(found[0].train.dialogue or ()))[asked] if found else None

    def drawn(self, sample: Sample, asked: str, rng: np.random.Generator) -> str | None:
        """Of a random window that replies to these words; None where nobody else does."""
        there = [reply for window, reply in self._to.get(asked, ()) if window.id != sample.id]
        return there[int(rng.integers(len(there)))] if there else None


def _text(sample: Sample) -> str | None:
    """Of a video; dialogues are looked at turn by turn (`bench.copying`)."""
    return sample.description or sample.rationale


def copied(pairs: list[Near], train: Sequence[Sample], seed: int = 0) -> tuple[float, float, int] | None:
    """BLEU-4 of the nearest training window's text against the test window's own, that of a random training
    window's, and over how many; None where there are no texts."""
    told = [(text, theirs) for p in pairs if (text := _text(p.test)) and (theirs := _text(p.train))]
    others = [text for sample in train if (text := _text(sample))]
    if not told:
        return None
    drawn = np.random.default_rng(seed).integers(len(others), size=len(told))
    near = np.mean([best_bleu4(theirs, [own])[0] for own, theirs in told])
    far = np.mean([best_bleu4(others[n], [own])[0] for n, (own, _) in zip(drawn, told, strict=True)])
    return float(near), float(far), len(told)
