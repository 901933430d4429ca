"""T-VAU's re-partition: videos cut into clips of 8 to 40 frames at 1 frame a second, then parted anew 80 :
20.

The paper gives the counts (4,108 and 1,028 clips) and not the list; the parting here is by seed, even over
normal and anomalous clips (ours).
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError
from tvad.common.files import made
from tvad.data import masks, truth, video
from tvad.data.build import build, grounding_questions, spans_of
from tvad.data.check import Problem
from tvad.data.sample import HEADER, SAMPLES, Sample, Track, Video, load, save

RATE = 1.0  # frames a second
LEAST, MOST = 8, 40  # frames of a clip
TRAIN_SHARE = 4108 / (4108 + 1028)


def windows(count: int) -> list[tuple[int, int]]:
    """Parts (start, end) of `count` sampled frames: as few as possible of at most MOST frames, of nearly
    equal length; none where there are fewer than LEAST."""
    if count < LEAST:
        return []
    edges = np.linspace(0, count, -(-count // MOST) + 1).round().astype(int).tolist()
    return list(itertools.pairwise(edges))


def _anomalous_frames(sample: Sample, clock: video.Clock, lit: np.ndarray | None) -> set[int]:
    """Frames of the video that its tracks or its mask call anomalous. Raises InputError where neither they,
    nor spans, nor the label say anything: its clips would be called normal."""
    if truth.frame_labels(sample, clock.times, lit) is None and not truth.regions_known(sample):
        raise InputError(f"{sample.id}: {truth.NO_FRAMES}; whether its clips are is not known")
    found = {f for track in sample.tracks or () for f in track.anomalous}
    return found if lit is None else found | set(np.flatnonzero(lit.any((1, 2))).tolist())


def clips_of(sample: Sample, out: Path) -> list[Sample]:
    """Clips of one video, written below `out`. Raises InputError for a video that is too short."""
    clock, *size = video.inspect(sample.clip())
    indices, moments = clock.taken(RATE)
    parts = windows(len(indices))
    if not parts:
        raise InputError(
            f"{sample.video.path}: {len(indices)} frames at {RATE:g} a second, a clip needs {LEAST}"
        )
    lit = truth.read_mask(sample, len(clock), *size)
    height, width = (side - side % 2 for side in size)
    wrong = _anomalous_frames(sample, clock, lit)
    made = []
    with video.Reader(sample.clip()) as reader:
        shown = (image for *_, image in reader.sampled(RATE))
        for n, (start, end) in enumerate(parts):
            name = f"{sample.id}_{n:02d}"
            # A frame that stays for several seconds is several frames of the clip.
            taken: dict[int, list[int]] = {}
            for place, frame in enumerate(indices[start:end].tolist()):
                taken.setdefault(frame, []).append(place)
            known = None if sample.tracks is None else tuple(_tracks(sample.tracks, taken))
            lit_places = {place for frame, places in taken.items() if frame in wrong for place in places}
            lit_places |= set(np.flatnonzero(truth.inside(moments[start:end], sample.spans or ())).tolist())
            video.write(out / f"videos/{name}.mp4", itertools.islice(shown, end - start), RATE)
            mask = None
            if lit is not None:
                mask = f"masks/{name}.npz"
                masks.write(out / mask, lit[indices[start:end], :height, :width])
            spans = spans_of(lit_places, RATE)
            made.append(
                replace(
                    sample,
                    id=name,
                    video=Video(f"videos/{name}.mp4", RATE, end - start, width, height),
                    label="anomalous" if spans else "normal",
                    spans=spans,
                    tracks=known,
                    mask=mask,
                    questions=grounding_questions(spans, known or (), RATE, width, height),
                    rationale=None,
                    description=None,
                    dialogue=None,
                    root="",
                )
            )
    return made


def _tracks(tracks: tuple[Track, ...], taken: dict[int, list[int]]) -> Iterator[Track]:
    """Tracks by the frames of a clip; taken: frame of the video -> those of the clip that show it."""
    for track in tracks:
        boxes = {place: box for frame, box in track.boxes.items() for place in taken.get(frame, ())}
        if boxes:
            anomalous = tuple(place for frame in track.anomalous for place in taken.get(frame, ()))
            yield Track(track.id, track.kind, boxes, anomalous, track.look)


def reclip(sources: list[str], out: str | os.PathLike, seed: int = 0) -> tuple[dict[str, int], list[Problem]]:
    """Cut the data sets `sources` into clips below `out`/{train,test}; returns how many each has, and the
    videos left out. A killed run continues, also between cutting and parting."""
    samples = {f"{s.source}/{s.id}": s for source in sources for s in load(source)}
    folder = Path(out)
    problems: list[Problem] = []
    if (folder / SAMPLES).exists():
        clips = load(folder)
    else:
        clips, problems = build(folder, samples, lambda name, where: clips_of(samples[name], where), "clips")
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Sample]] = {"train": [], "test": []}
    for label in ("normal", "anomalous"):
        some = [c for c in clips if c.label == label]
        order = rng.permutation(len(some))
        cut = round(TRAIN_SHARE * len(some))
        for part, members in (("train", order[:cut]), ("test", order[cut:])):
            parts[part] += [replace(some[i], split=part) for i in sorted(members.tolist())]
    for part, chosen in parts.items():
        for kind in ("videos", "masks"):
            made(folder / part / kind)
        for clip in chosen:
            for path in (clip.video.path, clip.mask):
                if path and (folder / path).exists():
                    os.replace(folder / path, folder / part / path)
        save(chosen, folder / part)
    for name in (SAMPLES, HEADER):
        (folder / name).unlink(missing_ok=True)
    for kind in ("videos", "masks"):
        shutil.rmtree(folder / kind)
    return {part: len(clips) for part, clips in parts.items()}, problems
