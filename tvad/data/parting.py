"""A data set that is made and then parted into data sets of its own. A killed run goes on at any place: none
of its files is lost, what was refused is said again, and other options are refused."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tvad.common.errors import InputError
from tvad.common.files import made, parse_json, write_whole
from tvad.data import shards
from tvad.data.build import PARTIAL, PARTS, build_here, refuse_taken, writing
from tvad.data.check import Problem
from tvad.data.folder import load, save
from tvad.data.recipe import MADE, Recipe, as_json, check
from tvad.data.sample import HEADER, SAMPLES, Sample

RECORD = "parting.json"  # until all is parted: by which options, and what was refused
NAMES = ("train", "test")
Parts = dict[str, Sequence[Sample]]


def build_parts(
    out: str | os.PathLike,
    names: Iterable[str],
    make: Callable[[str, Path], list[Sample]],
    what: str,
    options: Recipe,
    parted: Callable[[Sequence[Sample]], Parts],
) -> tuple[Parts, list[Problem]]:
    """`build` a data set, and lay its samples into `out`/train and `out`/test as `parted` says: the samples
    of each, and what was refused. options: all that decide the rows and the parts. Raises InputError as
    `build` does, also where a part is there already."""
    folder = Path(out)
    with writing(folder):
        record, recipe = folder / RECORD, as_json({MADE: what, **options})
        lying = [part for part in NAMES if shards.taken(folder / part)]
        if not record.exists():
            for place in (folder, *(folder / part for part in lying)):
                refuse_taken(place)
            if not (folder / PARTIAL).exists():  # what is left over of them is taken away at the end
                for kind in PARTS:
                    if (folder / kind).is_dir() and any((folder / kind).iterdir()):
                        raise InputError(f"{folder / kind}: holds files already; choose another --out")
        elif shards.taken(folder) or (len(lying) == len(NAMES) and not (folder / PARTIAL).exists()):
            begun = parse_json(record.read_text(encoding="utf-8"))
            check(record, begun["recipe"], recipe)
            if shards.taken(folder):
                _settle(folder, parted(load(folder)))
            return _emptied(folder), [Problem(*told) for told in begun["refused"]]

        def stated(problems: list[Problem]) -> None:
            told = {"recipe": recipe, "refused": [[p.where, p.reason] for p in problems]}
            write_whole(record, json.dumps(told, allow_nan=False) + "\n")

        samples, refused = build_here(folder, names, make, what, options, 1, stated)
        _settle(folder, parted(samples))
        return _emptied(folder), refused


def _settle(folder: Path, parts: Parts) -> None:
    """Move samples with their files into the data sets of their parts. Raises InputError for a file that is
    nowhere."""
    for part, chosen in parts.items():
        for kind in PARTS:
            made(folder / part / kind)
        for clip in chosen:
            for path in filter(None, (clip.video.path, clip.mask)):
                target = folder / part / path
                places = (folder, folder / part, *(folder / other for other in parts))
                found = next((place / path for place in places if (place / path).exists()), None)
                if found is None:
                    raise InputError(f"{folder / path}: no such file, of the clip {clip.id!r}")
                os.replace(found, target)
        save((replace(clip, split=part) for clip in chosen), folder / part)


def _emptied(folder: Path) -> Parts:
    """Take away what is left beside the parts, and read these."""
    for kind in (*PARTS, shards.FOLDER):
        shutil.rmtree(folder / kind, ignore_errors=True)
    for name in (SAMPLES, shards.RECORD, HEADER, PARTIAL, RECORD):
        for path in (*folder.glob(f".{name}.*.tmp"), folder / name):  # those of a killed run, too
            path.unlink(missing_ok=True)
    return {part: load(folder / part) for part in NAMES}
