"""Reader of MSAD (Zhu et al., NeurIPS 2024 Datasets and Benchmarks) as it is distributed.

    ROOT/anomaly_annotation.csv     name, scenario, total frames, starting frame of anomaly, ending frame of
                                    anomaly: "Assault_1,shop,426,55,426"
    ROOT/MSAD_blur/MSAD_anomaly_blur/Assault/Assault_1.mp4
    ROOT/MSAD_blur/MSAD_normal_training_blur/**/NAME.mp4
    ROOT/MSAD_blur/MSAD_normal_testing_blur/**/MSAD_normal_testing_1.mp4
    LIST                            optional: MSAD_I3D_WS_Train.list, MSAD_I3D_WS_Test.list, a line a video:
                                    …/Assault_2_i3d.npy

With a list its videos are read (the authors' protocol ii, 480 and 240 videos); without one protocol i:
trained on the normal training videos, tested on the normal testing and all anomalous ones. The class is the
name without its number, a video has one span. Frames count from 1 on, and the last one is anomalous, as
programs that use the table take it and its first row says (426 of 426 frames); the distribution does not.

Sources: github.com/Tom-roujiang/MSAD (lists under RTFM/list, MGFN/data/msad), and programs that read the
distributed folder `MSAD Dataset`.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvad.common.errors import InputError
from tvad.data.build import build, link, spans_of
from tvad.data.check import Problem, described
from tvad.data.readers.files import below, check_head, only, text_of
from tvad.data.readers.labels import asked
from tvad.data.recipe import file_of, files_of, folder_of
from tvad.data.sample import Sample

TABLE = "anomaly_annotation.csv"
NORMAL = {"train": "MSAD_normal_training", "test": "MSAD_normal_testing"}  # folders begin so
ANOMALOUS = "MSAD_anomaly"
COLUMNS = ("name", "total frames", "starting frame of anomaly", "ending frame of anomaly")


@dataclass(frozen=True)
class Row:
    """What the table says of an anomalous video: its frames, the first and last anomalous one from 0 on."""

    frames: int
    first: int
    last: int
    scenario: str | None


def read_table(path: Path) -> dict[str, Row]:
    """Video -> its row. Raises InputError that names the line."""
    if not path.is_file():
        raise InputError(f"{path}: no such table")
    found: dict[str, Row] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            check_head(path, rows.fieldnames, COLUMNS)
            for cells in rows:
                where = f"{path}:{rows.line_num}"
                if None in cells:
                    raise InputError(f"{where}: has more than {len(rows.fieldnames or ())} fields")
                try:
                    frames, first, last = (int(cells[c]) for c in COLUMNS[1:])
                except (TypeError, ValueError):
                    raise InputError(f"{where}: expected whole numbers of frames") from None
                name = (cells["name"] or "").strip().removesuffix(".mp4")
                if not 1 <= first <= last <= frames:
                    raise InputError(f"{where}: {name}: frames {first} to {last} of {frames}")
                if found.setdefault(name, row := _row(frames, first, last, cells)) is not row:
                    raise InputError(f"{where}: {name} is there twice")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a UTF-8 CSV file ({error})") from error
    if not found:
        raise InputError(f"{path}: no video in this table")
    return found


def _row(frames: int, first: int, last: int, cells: dict[str, str]) -> Row:
    return Row(frames, first - 1, last - 1, (cells.get("scenario") or "").strip() or None)


def read_list(path: Path) -> list[str]:
    """The videos that a list of features names. Raises InputError for one that names none, or one twice."""
    found: dict[str, int] = {}
    for n, line in enumerate(text_of(path, lossy=True).splitlines(), 1):
        if line.strip():
            name = line.strip().replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
            name = name.removesuffix("_i3d").removesuffix("_swin")
            if not name:
                raise InputError(f"{path}:{n}: expected a file of features, found {line[:60]!r}")
            if found.setdefault(name, n) != n:
                raise InputError(f"{path}:{n}: {name} is there twice")
    if not found:
        raise InputError(f"{path}: no video in this list")
    return list(found)


def _normal(path: Path) -> bool:
    """By its folder, else by its name. Raises InputError where neither says."""
    for part in (*path.parts[::-1], path.stem):
        if part.startswith(tuple(NORMAL.values())):
            return True
        if part.startswith(ANOMALOUS):
            return False
    raise InputError(f"{path}: lies neither in {ANOMALOUS}… nor in MSAD_normal_…")


def make_sample(source: Path, row: Row | None, split: str, out: Path) -> Sample:
    """One video. Raises InputError that names the file."""
    name, normal = source.stem, _normal(source)
    if normal == (row is not None):
        told = "holds an anomaly of it" if normal else "does not name it"
        raise InputError(f"{source}: {'normal' if normal else 'anomalous'} by its folder, but {TABLE} {told}")
    shown, clock = described(source, f"videos/{source.name}")
    if row is not None and row.frames != len(clock):
        raise InputError(f"{source}: {len(clock)} frames, {TABLE} states {row.frames}")
    link(source, out / shown.path)
    spans = spans_of(range(row.first, row.last + 1), clock) if row is not None else ()
    classes = (name.rpartition("_")[0] or name,) if row is not None else ()
    return Sample(
        id=name,
        source="msad",
        split=split,
        video=shown,
        label="normal" if normal else "anomalous",
        categories=classes,
        spans=spans,
        questions=asked(not normal, spans, classes),
        conditions={"scenario": row.scenario} if row is not None and row.scenario else None,
    )


def read(
    root: str | os.PathLike, split: str, out: str | os.PathLike, listed: str | os.PathLike | None = None
) -> tuple[Sequence[Sample], list[Problem]]:
    """A split as a data set folder `out`: the samples, and the refused videos with their reasons. listed: the
    authors' list of it."""
    base = Path(root)
    if split not in NORMAL:
        raise InputError(f"split is {split!r}, expected train or test")
    table, files = read_table(base / TABLE), below(base)
    if listed is not None:
        names = read_list(Path(listed))
    else:
        folders = (NORMAL["train"],) if split == "train" else (NORMAL["test"], ANOMALOUS)
        names = [
            name
            for name, paths in files.items()
            if any(part.startswith(folders) for path in paths for part in path.relative_to(base).parts[:-1])
        ]
    found, problems = build(
        out,
        names,
        lambda name, folder: [make_sample(only(files, name), table.get(name), split, folder)],
        f"msad {split}",
        {"root": folder_of(base), "listed": file_of(listed), "table": files_of(base / TABLE)},
    )
    # Without a list every row of the table is of the test videos.
    missing = sorted(set(table) - set(files)) if listed is None and split == "test" else []
    return found, problems + [Problem(name, f"in {TABLE}, but not among the videos") for name in missing]
