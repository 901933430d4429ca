"""Folds for cross-validation that leave whole videos out: every video is tested once, by a model that saw no
clip of it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError, at_least
from tvad.common.files import made
from tvad.data.build import linked
from tvad.data.digest import masks_hash, told
from tvad.data.folder import is_data_set, load, save
from tvad.data.reclip import videos_of
from tvad.data.sample import Sample, file_stem
from tvad.data.shards import ids_of

ALL = "all"  # every clip, for what needs no training: the order in which folds are pooled


def dealt(samples: Sequence[Sample], video_of: dict[str, str], count: int, seed: int) -> dict[str, int]:
    """Sample id -> the fold that tests its video. Videos with and without anomalous clips are dealt one after
    the other in an order drawn by `seed`: whole videos fall into the folds that their windows fall into.
    Raises InputError for fewer than two folds and for more than there are videos."""
    clips: dict[str, list[Sample]] = {}
    for sample in samples:
        clips.setdefault(video_of[sample.id], []).append(sample)
    if not 2 <= count <= len(clips):
        raise InputError(f"folds is {count}, expected 2 to {len(clips)}, the number of videos")
    kinds = {name: any(sample.anomalous for sample in own) for name, own in clips.items()}
    at_least("seed", seed, 0)
    rng = np.random.default_rng(seed)
    # Where the anomalous ones end, the others go on.
    order = [
        name
        for kind in (True, False)
        for name in rng.permutation(sorted(name for name in clips if kinds[name] is kind)).tolist()
    ]
    return {sample.id: n % count for n, name in enumerate(order) for sample in clips[name]}


def folds(
    sources: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    count: int,
    seed: int = 0,
    video: str | None = None,
) -> list[dict[str, int]]:
    """Write `out`/fold-N/{train,test} and `out`/all of the data sets `sources`, media linked; returns how
    many clips each fold trains and tests on. video: see `videos_of`. What a killed run has written is kept.
    Raises InputError for an id that is there twice, and where `out` holds other folds, or tells otherwise of
    a clip than its data set does now."""
    samples: list[Sample] = []
    first: dict[str, str] = {}
    for source in sources:
        for sample in load(source):
            name = file_stem(sample.id)
            if name in first:
                raise InputError(f"{source}: id {sample.id!r} is also in {first[name]}")
            first[name] = str(source)
            samples.append(sample)
    video_of = videos_of(samples, video)
    fold_of = dealt(samples, video_of, count, seed)
    parts = {Path(out, ALL): samples}
    for fold in range(count):
        for part in ("train", "test"):
            parts[Path(out, f"fold-{fold}", part)] = [
                replace(sample, split=part)
                for sample in samples
                if (fold_of[sample.id] == fold) is (part == "test")
            ]
    for folder, chosen in parts.items():
        if is_data_set(folder):
            kept = load(folder)
            if [*ids_of(kept)] != [s.id for s in chosen]:
                raise InputError(f"{folder}: holds other clips; choose another --out")
            for old, new in zip(kept, chosen, strict=True):
                if told(old) != told(new) or masks_hash([old]) != masks_hash([new]):
                    raise InputError(
                        f"{folder}: says of {old.id!r} what its data set no longer says; choose another"
                        " --out, or delete these folds"
                    )
            continue
        made(folder)
        save([linked(s, folder) for s in tqdm(chosen, unit="clip", desc=str(folder), disable=None)], folder)
    return [
        {part: len(parts[Path(out, f"fold-{fold}", part)]) for part in ("train", "test")}
        for fold in range(count)
    ]
