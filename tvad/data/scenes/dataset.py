"""Scenes as a data set on disk: mp4, masks, samples.jsonl. Deterministic by seed; a killed run continues
where it stopped."""

import json
import multiprocessing
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError, at_least
from tvad.common.files import made, parse_json, write_whole
from tvad.data import masks, video
from tvad.data.sample import DATASET, RECIPE, SAMPLES, Sample, Track, Video, from_json, to_json, to_line
from tvad.data.scenes.describe import anomaly_span, describe
from tvad.data.scenes.render import Clip, make_clip
from tvad.data.scenes.script import SETTINGS, classes_of

SPLITS = ("train", "val", "test")
MOST_FPS, MOST_PIXELS = 1000, 2**28  # of a clip, all frames together
# Raised whenever the same configuration gives other clips or texts: a data set is not continued with another.
GENERATOR = 4


@dataclass(frozen=True)
class ScenesConfig:
    """Surveillance scenes to generate."""

    split: str = "train"
    """train, val or test: other clips, and in the open setting other classes."""
    setting: str = "closed"
    """closed: all classes in every split; open: disjoint classes; core: classes that are plain to see."""
    clips: int = 100
    """How many."""
    seed: int = 0
    """The same seed gives the same files."""
    size: int = 112
    """Width and height in pixels, even."""
    frames: int = 16
    """Frames of a clip."""
    fps: float = 4.0
    """Frames a second."""
    normal: float = 0.4
    """Share of normal clips, 0..1."""
    max_crowd: int = 12
    """People who do nothing unusual, at most 12."""

    def check(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"split is {self.split!r}, expected one of {', '.join(SPLITS)}")
        if self.setting not in SETTINGS:
            raise InputError(f"setting is {self.setting!r}, expected one of {', '.join(SETTINGS)}")
        at_least("seed", self.seed, 0)
        if self.clips < 1 or self.frames < 8 or self.fps <= 0 or self.size < 32 or self.size % 2:
            raise InputError(
                "clips must be at least 1, frames at least 8, fps positive, size even and at least 32"
            )
        if self.fps > MOST_FPS or self.frames * self.size**2 > MOST_PIXELS:
            raise InputError(
                f"fps must be at most {MOST_FPS}, and frames x size x size at most {MOST_PIXELS}: a clip is"
                f" drawn in memory; found {self.fps:g}, and {self.frames} x {self.size} x {self.size}"
            )
        if not (0 <= self.normal <= 1 and 0 <= self.max_crowd <= 12):
            raise InputError("normal must lie in 0..1 and max_crowd in 0..12")


def _assignment(config: ScenesConfig) -> tuple[list[str | None], np.ndarray]:
    """Category of every clip and the right letters (clips, 3): each as balanced as the number of clips
    allows."""
    rng = np.random.default_rng([config.seed, SPLITS.index(config.split), 99])
    classes = classes_of(config.setting, config.split)
    normal = round(config.clips * config.normal)
    categories: list[str | None] = [None] * normal
    categories += [classes[i % len(classes)] for i in range(config.clips - normal)]
    # Letters rotate within each class, so that neither letter nor class tells the other.
    letters = np.empty((config.clips, 3), int)
    for topic in range(3):
        for name in (None, *classes):  # in order: a set's depends on the process
            members = [i for i, c in enumerate(categories) if c == name]
            offset = int(rng.integers(4))
            for n, i in enumerate(members):
                letters[i, topic] = (n + offset) % 4
    order = rng.permutation(config.clips)
    return [categories[i] for i in order], letters[order]


def make_sample(config: ScenesConfig, index: int, category: str | None, letters) -> tuple[Sample, Clip]:
    """Clip number `index` of the data set and its Sample (nothing is written)."""
    # By index, not drawn one after the other: clips may be made in any order, by any number of workers.
    seed = int(np.random.SeedSequence([config.seed, SPLITS.index(config.split), index]).generate_state(1)[0])
    clip = make_clip(
        seed, category, config.size, config.frames, config.fps, config.max_crowd, config.setting == "core"
    )
    name = f"{config.split}_{index:05d}"
    tracks = tuple(
        Track(
            n,
            actor.kind,
            {int(f): b for f, b in clip.tracks[n].items()},
            tuple(int(f) for f in clip.tracks[n] if actor.anomalous[f]),
            actor.look.describe() if actor.look else f"{actor.colour}" if actor.colour else None,
        )
        for n, actor in enumerate(clip.plan.actors)
        if n in clip.tracks
    )
    span = anomaly_span(clip)
    event, colour, way = (int(x) for x in letters)
    texts = describe(clip, np.random.default_rng([seed, 7]), (event, colour, way))
    sample = Sample(
        id=name,
        source=f"scenes-{config.setting}",
        split=config.split,
        video=Video(f"videos/{name}.mp4", config.fps, config.frames, config.size, config.size),
        label="anomalous" if category else "normal",
        categories=(category or "normal",),
        spans=(span,) if span else (),
        tracks=tracks,
        mask=f"masks/{name}.npz",
        **texts,
    )
    return sample, clip


def _write_one(job) -> str:
    config, folder, index, category, letters = job
    cv2.setNumThreads(1)
    sample, clip = make_sample(config, index, category, letters)
    video.write(folder / sample.video.path, clip.frames, config.fps)
    masks.write(folder / sample.mask, clip.masks)
    return to_line(to_json(sample), ascii_only=True)


def _stated(recipe: Path) -> dict:
    """What a recipe says; nothing where it cannot be read."""
    try:
        return dict(parse_json(recipe.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}


def generate(config: ScenesConfig, folder: str | os.PathLike, workers: int = 1) -> list[Sample]:
    """Write the data set into `folder`; clips that an earlier, killed run finished are kept.

    Raises InputError where `folder` holds a data set made with another configuration, and for odd options.
    """
    config.check()
    at_least("workers", workers, 1)
    folder = Path(folder)
    for part in ("videos", "masks"):
        made(folder / part)
    recipe, partial, final = folder / RECIPE, folder / "samples.partial.jsonl", folder / SAMPLES
    wanted = {**asdict(config), "generator": GENERATOR, **DATASET.stamp()}
    if recipe.exists():
        stated = _stated(recipe)
        version = DATASET.version_of(stated, str(recipe))
        if {**stated, **DATASET.stamp()} != wanted:
            raise InputError(
                f"{recipe}: made with another configuration or an older generator; choose another --out or"
                " delete the folder"
            )
        for rows in (partial, final) if version < DATASET.version else ():
            if rows.exists():  # a cut last line goes, as below
                lines = [line for line in rows.read_text().splitlines(True) if line.endswith("\n")]
                newer = (DATASET.migrate(parse_json(line), version) for line in lines)
                write_whole(rows, "".join(to_line(row, ascii_only=True) for row in newer))
    write_whole(recipe, json.dumps(wanted, sort_keys=True, allow_nan=False))
    if not final.exists():
        whole = (
            [line for line in partial.read_text().splitlines(True) if line.endswith("\n")]
            if partial.exists()
            else []
        )
        partial.write_text("".join(whole))
        categories, letters = _assignment(config)
        jobs = [
            (config, folder, i, categories[i], letters[i].tolist()) for i in range(len(whole), config.clips)
        ]
        context = multiprocessing.get_context("spawn" if workers > 1 else None)
        with (
            partial.open("a") as out,
            context.Pool(min(workers, config.clips)) if workers > 1 else _Serial() as pool,
        ):
            bar = tqdm(
                pool.imap(_write_one, jobs, chunksize=8),
                total=config.clips,
                initial=len(whole),
                unit="clip",
                disable=None,
                desc=f"scenes {config.split}",
            )
            for line in bar:
                out.write(line)
                out.flush()
        partial.replace(final)
    return [
        from_json(parse_json(line), str(folder), f"{final}:{n}")
        for n, line in enumerate(final.read_text().splitlines(), 1)
    ]


class _Serial:
    """A pool of no workers."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return False

    def imap(self, function, jobs, chunksize=1):
        return map(function, jobs)
