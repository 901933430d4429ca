"""T-VAU's re-partition: videos cut into clips of 8 to 40 frames at 1 frame a second, then parted anew 80 :
20.

The paper gives the counts (4,108 and 1,028 clips) and not the list; the parting here is by seed, even over
normal and anomalous clips (ours).
"""

import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError
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


def _anomalous_frames(sample: Sample, frames: video.Frames, lit: np.ndarray | None) -> set[int]:
    """Frames of the video that its tracks, its spans or its mask call anomalous. Raises InputError where none
    of them, nor the label, says anything: its clips would be called normal."""
    times = truth.frame_times(frames)
    if truth.frame_labels(sample, times, lit) is None and not truth.regions_known(sample):
        raise InputError(f"{sample.id}: {truth.NO_FRAMES}; whether its clips are is not known")
    found = {f for track in sample.tracks or () for f in track.anomalous}
    found |= set(np.flatnonzero(truth.inside(times, sample.spans or ())).tolist())
    return found if lit is None else found | set(np.flatnonzero(lit.any((1, 2))).tolist())


def clips_of(sample: Sample, out: Path) -> list[Sample]:
    """Clips of one video, written below `out`. Raises InputError for a video that is too short."""
    frames = video.decode(sample.path(sample.video.path), RATE)
    parts = windows(len(frames.images))
    if not parts:
        raise InputError(
            f"{sample.video.path}: {len(frames.images)} frames at {RATE:g} a second, a clip needs {LEAST}"
        )
    lit = truth.read_mask(sample, frames.total, *frames.images.shape[1:3])
    height, width = (side - side % 2 for side in frames.images.shape[1:3])
    wrong = _anomalous_frames(sample, frames, lit)
    made = []
    for n, (start, end) in enumerate(parts):
        name = f"{sample.id}_{n:02d}"
        taken = {int(f): i for i, f in enumerate(frames.indices[start:end])}
        tracks = []
        for track in sample.tracks or ():
            boxes = {taken[f]: box for f, box in track.boxes.items() if f in taken}
            if boxes:
                tracks.append(
                    Track(
                        track.id,
                        track.kind,
                        boxes,
                        tuple(taken[f] for f in track.anomalous if f in taken),
                        track.look,
                    )
                )
        shown = {i for f, i in taken.items() if f in wrong}
        video.write(out / f"videos/{name}.mp4", frames.images[start:end], RATE)
        mask = None
        if lit is not None:
            mask = f"masks/{name}.npz"
            masks.write(out / mask, lit[frames.indices[start:end], :height, :width])
        spans = spans_of(shown, RATE)
        known = None if sample.tracks is None else tuple(tracks)
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
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
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
