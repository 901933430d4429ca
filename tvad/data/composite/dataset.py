"""Composites as a data set folder: mp4, masks, tracks, spans, beside each anomalous clip a normal one of the
same making. Deterministic by seed; a killed run continues with the next video."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError, at_least
from tvad.common.files import json_text, parse_json, write_whole
from tvad.common.files import made as made_folder
from tvad.data import masks, video
from tvad.data.build import build, check_stems, grounding_questions, spans_of
from tvad.data.check import Problem
from tvad.data.composite.actors import RIGHT, TWIN, WRONG, Actor, Cast
from tvad.data.composite.clips import Composite, Light, compose
from tvad.data.composite.config import CompositeConfig
from tvad.data.composite.cutouts import Cutout, cutouts_of
from tvad.data.composite.footage import Looking, background_of, looking_of, stretches
from tvad.data.dialogue import turns
from tvad.data.folder import is_data_set, load
from tvad.data.readers.files import visible
from tvad.data.recipe import check as refuse_another
from tvad.data.reclip import SLOWEST, place_of, videos_of
from tvad.data.sample import Sample, Track, Video, file_stem

LOOKING = "looking.json"  # beside the samples: how the footage is to be looked at
CRF = 12  # of the clips: at the usual 18 the footage's grain is gone


def normal_videos(folder: str | os.PathLike) -> list[Sample]:
    """The videos of a data set, or the video files of a folder, as normal ones. Raises InputError for those
    that are labelled otherwise, and where there is none."""
    base = Path(folder)
    if not base.is_dir():
        raise InputError(f"{base}: no such folder")
    if is_data_set(base):
        samples = list(load(base))
        if wrong := [sample.id for sample in samples if sample.anomalous is not False]:
            raise InputError(f"{base}: {len(wrong)} videos are not labelled normal, the first {wrong[0]}")
        return samples
    files = sorted(path for path in visible(base) if path.suffix.lower() in video.SUFFIXES)
    if not files:
        raise InputError(f"{base}: neither a data set nor video files ({', '.join(video.SUFFIXES)})")
    stems = [path.stem for path in files]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise InputError(f"{base}: two files are called {twice[0]}")
    return [
        Sample(path.stem, base.name, "train", Video(path.name), label="normal", spans=(), root=str(base))
        for path in files
    ]


def parted(
    samples: list[Sample], config: CompositeConfig, video: str | None = None
) -> dict[str, list[Sample]]:
    """Videos for train and val: no video, and no window of one, is in both. video: see `videos_of`. Raises
    InputError where there are not two videos."""
    video_of = videos_of(samples, video)
    sources = sorted({*video_of.values()})
    if len(sources) < 2:
        raise InputError(
            f"{len(sources)} video of normal footage: validation needs one of its own; give two, or cut it"
            " into two"
        )
    order = np.random.default_rng([config.seed, 0]).permutation(len(sources)).tolist()
    held = max(1, min(len(sources) - 1, round(config.validation * len(sources))))
    out = {sources[n] for n in order[:held]}
    parts: dict[str, list[Sample]] = {"train": [], "val": []}
    for sample in samples:
        shown, name = sample.video, video_of[sample.id]
        if shown.source is None and name != sample.id:
            # The same file, or a window of it of which nobody knows where it begins: its clips tell so, too.
            shown = dataclasses.replace(shown, source=name, offset=0.0 if video is None else None)
        parts["val" if name in out else "train"].append(dataclasses.replace(sample, video=shown))
    return parts


def _clocks(samples: list[Sample]) -> tuple[dict[str, video.Clock], list[Problem]]:
    """The clock of every video by its id, and the videos that cannot be read with their reasons. Raises
    InputError where they differ in size."""
    found: dict[str, video.Clock] = {}
    sizes: dict[tuple[int, int], str] = {}
    problems: list[Problem] = []
    for sample in tqdm(samples, unit="video", desc="open", disable=None, leave=False):
        try:
            found[sample.id], height, width = video.inspect(sample.clip())
        except InputError as error:
            problems.append(Problem(sample.id, str(error)))
            continue
        sizes.setdefault((width, height), sample.id)
        if len(sizes) > 1:
            (size_a, first), (size_b, second) = sizes.items()
            raise InputError(
                f"{second}: {size_b[0]} x {size_b[1]} pixels, {first} has {size_a[0]} x {size_a[1]};"
                " composite the footage of each camera by itself"
            )
    return found, problems


def _refuse_slower(clocks: dict[str, video.Clock], looking: Looking) -> None:
    """Raises InputError for a video that has fewer frames a second than clips: they would show it too
    fast."""
    for name, clock in clocks.items():
        if (step := clock.step(looking.rate)) * looking.rate > SLOWEST:
            raise InputError(
                f"{name}: its frames are {step:.3g} s apart, those of clips {1 / looking.rate:.3g} s;"
                " composite the footage of each camera by itself"
            )


def _shares(total: int, seconds: list[float]) -> list[int]:
    """How many of `total` clips each video gives, by its length."""
    lengths = np.array(seconds)
    edges = np.round(np.cumsum(lengths) / lengths.sum() * total).astype(int)
    return np.diff(edges, prepend=0).tolist()


def composites(
    source: str | os.PathLike,
    out: str | os.PathLike,
    config: CompositeConfig,
    workers: int = 1,
    problems: list[Problem] | None = None,
    video: str | None = None,
) -> dict[str, Sequence[Sample]]:
    """Write `out`/train and `out`/val from a data set of normal videos, in `workers` processes, and how they
    are to be looked at. Videos that cannot be read are left out and named on stderr; problems: gets them.
    video: see `videos_of`. Raises InputError for footage of which none can be made, and for a folder that was
    begun with other options."""
    config.check()
    at_least("workers", workers, 1)
    samples = normal_videos(source)
    check_stems(sample.id for sample in samples)
    clocks, bad = _clocks(samples)
    seconds = {name: clock.end for name, clock in clocks.items()}
    for problem in bad:
        print(f"refused {problem}", file=sys.stderr)
    if problems is not None:
        problems += bad
    parts = parted([sample for sample in samples if sample.id in seconds], config, video)
    looking = looking_of(parts["train"], config.tall, config.seed)
    _refuse_slower(clocks, looking)
    made: dict[str, Sequence[Sample]] = {}
    recipe = dataclasses.asdict(looking) | {"config": vars(config)}
    if video is not None:
        recipe["video"] = video
    for split, total in (("train", config.clips), ("val", max(2, round(config.clips * config.validation)))):
        folder = Path(out, split)
        _begin(folder, recipe)
        if is_data_set(folder):
            made[split] = load(folder)
            if len(made[split]) != total:
                raise InputError(
                    f"{folder}: {len(made[split])} clips, expected {total}; choose another --out or delete"
                    " the folder"
                )
        else:
            made[split] = _part(parts[split], seconds, split, total, folder, looking, config, workers)
    return made


def _begin(folder: Path, recipe: dict[str, Any]) -> None:
    """State what a folder is made by. Raises InputError where it holds something else."""
    file = folder / LOOKING
    if file.exists():
        stated = parse_json(file.read_text(encoding="utf-8"))
        # Options are what somebody gave; what was measured on the footage follows from them.
        for keys in (("config", "video"), tuple(recipe)):
            refuse_another(file, *({key: of.get(key) for key in keys} for of in (stated, recipe)))
    elif is_data_set(folder):
        raise InputError(f"{folder}: holds another data set; choose another --out")
    write_whole(made_folder(folder) / LOOKING, json_text(recipe, LOOKING))


def _none_failed(problems: list[Problem]) -> None:
    if problems:
        raise InputError(f"{problems[0]}")


def _part(
    videos: list[Sample],
    seconds: dict[str, float],
    split: str,
    total: int,
    folder: Path,
    looking: Looking,
    config: CompositeConfig,
    workers: int,
) -> Sequence[Sample]:
    """The clips of a split. Raises InputError where a video gives none: those of the others are kept, and
    the split is not there."""
    cutouts = cutouts_of(videos, looking, config.frames, config.seed)
    shares = _shares(total, [seconds[s.id] for s in videos])
    counts = dict(zip((s.id for s in videos), shares, strict=True))
    make = partial(
        _of_video, {sample.id: sample for sample in videos}, counts, split, looking, cutouts, config
    )
    names = [name for name, count in counts.items() if count]
    options = {"config": vars(config), "looking": dataclasses.asdict(looking), "clips": counts}
    return build(folder, names, make, f"composite {split}", options, workers, _none_failed)[0]


def _of_video(
    videos: dict[str, Sample],
    counts: dict[str, int],
    split: str,
    looking: Looking,
    cutouts: list[Cutout],
    config: CompositeConfig,
    name: str,
    out: Path,
) -> list[Sample]:
    """So many composites of one video, written below `out`: one anomalous, one normal, and so on."""
    cv2.setNumThreads(1)
    sample, count = videos[name], counts[name]
    found: list[Sample] = []
    stem = file_stem(sample.id)
    places = _starts(sample, looking, config.frames)
    for pair in range(-(-count // 2)):
        key = [config.seed, *sample.id.encode(errors="surrogatepass"), pair]
        rng = np.random.default_rng(key)
        images, background, at, begins = places[int(rng.integers(len(places)))]
        shown = images[at : at + config.frames]
        cast = Cast(looking, cutouts, config.frames, rng)
        light, plain = Light.drawn(rng), bool(rng.random() < config.plain)
        normal = (
            []
            if plain
            else [_one(cast, RIGHT, False) for _ in range(int(rng.choice(4, p=(0.25, 0.35, 0.25, 0.15))))]
        )
        wrong = [_pair(cast) for _ in range(int(rng.choice((1, 2), p=(0.7, 0.3))))]
        for n, actors in enumerate(
            ([w for w, _ in wrong] + normal, [] if plain else [r for _, r in wrong] + normal)
        ):
            if len(found) == count:
                break
            made = compose(shown, background, actors, looking, light, [*key, 9])
            called = f"{split}_{stem}_{pair:05d}{'ab'[n]}"
            found.append(_write(called, split, sample, begins, made, actors, looking, out))
    return found


def _starts(sample: Sample, looking: Looking, frames: int) -> list[tuple[np.ndarray, np.ndarray, int, float]]:
    """(images, background, first frame, its second in the video) of all places of a video at which a clip can
    begin. Raises InputError where there is none."""
    found = []
    for images, times in stretches(sample, looking.rate, (looking.width, looking.height)):
        background = background_of(images)
        found += [(images, background, n, times[n]) for n in range(len(images) - frames + 1)]
    if not found:
        raise InputError(f"{sample.id}: shorter than a clip of {frames} frames at {looking.rate:g} a second")
    return found


def _one(cast: Cast, kinds: dict[str, float], anomalous: bool) -> Actor:
    kind = str(cast.rng.choice(list(kinds), p=list(kinds.values())))
    return cast.make(kind, cast.place(), anomalous)


def _pair(cast: Cast) -> tuple[Actor, Actor]:
    """An anomalous actor, and the normal one that stands in its place in the clip beside it."""
    kind = str(cast.rng.choice(list(WRONG), p=list(WRONG.values())))
    place = cast.place()
    return cast.make(kind, place, True), cast.make(TWIN[kind], place, False)


def _write(
    name: str,
    split: str,
    source: Sample,
    begins: float,
    made: Composite,
    actors: list[Actor],
    looking: Looking,
    out: Path,
) -> Sample:
    """A composite as files, of what its source shows from second `begins` on."""
    video.write(out / f"videos/{name}.mp4", made.frames, looking.rate, CRF)
    masks.write(out / f"masks/{name}.npz", made.mask)
    lit = np.flatnonzero(made.mask.any((1, 2))).tolist()
    spans = spans_of(lit, looking.rate)
    tracks = tuple(
        Track(n, actor.kind, boxes, tuple(f for f in boxes if actor.anomalous and made.mask[f].any()))
        for n, (actor, boxes) in enumerate(zip(actors, made.boxes, strict=True))
        if boxes
    )
    count, height, width = made.mask.shape
    wrong = [track for track in tracks if track.anomalous]
    video_, offset = place_of(source, begins)
    sample = Sample(
        id=name,
        source=f"composite-{source.source}",
        split=split,
        video=Video(
            f"videos/{name}.mp4",
            looking.rate,
            count,
            width,
            height,
            source=video_,
            offset=offset,
        ),
        label="anomalous" if spans else "normal",
        categories=tuple(dict.fromkeys(track.kind for track in wrong)),
        spans=spans,
        tracks=tracks,
        mask=f"masks/{name}.npz",
        questions=grounding_questions(spans, tracks, looking.rate, width, height),
    )
    return dataclasses.replace(sample, dialogue=turns(sample, "protocol"))
