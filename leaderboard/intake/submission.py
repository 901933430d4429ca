"""A submission: a model card and predictions of one or more suites, as a folder or a .zip. Packed and checked
here, by the same code on the submitter's machine and on the server; nothing in it is trusted.

    card.yaml                     who and what (`leaderboard.card.Card`)
    SUITE/predictions.jsonl       lines as `bench score` takes them
    SUITE/heatmaps/NAME.npz       optional; named by a line {"id", "task": "heatmap", "heatmap": NAME}
    manifest.json                 version of this form, size and SHA-256 of every other file

The hash of what the manifest says of the files names the submission.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.run_folder import MAPS, open_run, read_maps
from bench.score import read_predictions
from leaderboard.card import Card, check_filled, read_card
from leaderboard.intake.archive import folder_files, safe_name
from tvad.common.errors import InputError
from tvad.common.files import check_file, check_folder, file_hash, made, write_whole
from tvad.common.formats import Format
from tvad.data.check import Problem

CARD, MANIFEST, PREDICTIONS, HEATMAPS = "card.yaml", "manifest.json", "predictions.jsonl", "heatmaps"
SUBMISSION = Format("submission")
MOST_CARD = 256 << 10  # bytes of a card
MANIFEST_BASE, MANIFEST_FILE = 4096, 512  # most bytes of a manifest, and for every file that it names
MOST_REJECTED = 100  # lines that are named, of all that are counted


@dataclass
class Verified:
    """A submission that can be scored."""

    hash: str
    card: Card
    suites: list[str]  # that it answers
    rejected: list[Problem]  # the first lines that scoring will leave out
    rejected_lines: int = 0  # how many there are


class First(list[Problem]):
    """The first problems, and how many there were: a few kilobytes can hold millions of bad lines."""

    total = 0

    def append(self, problem: Problem) -> None:
        self.total += 1
        if len(self) < MOST_REJECTED:
            super().append(problem)


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """{name: {bytes, sha256}} of every file but the manifest. Raises InputError."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_hash(folder / name)}
        for name in folder_files(folder)
        if name != MANIFEST
    }


def manifest_of(folder: Path) -> dict[str, Any]:
    """What the manifest of a folder has to say. Raises InputError."""
    return {**SUBMISSION.stamp(), "files": files_of(folder)}


def content_hash(files: dict[str, dict[str, Any]]) -> str:
    """What names a submission: the hash of its files' sizes and hashes, in a fixed order. The version takes
    no part: the same answers are one submission, whoever packed them."""
    return hashlib.sha256(json.dumps(files, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _stated_files(text: str) -> Any:
    """What a manifest says of the files. Raises InputError for one of another version too."""
    try:
        return SUBMISSION.check(json.loads(text), MANIFEST)["files"]
    except InputError as error:
        raise InputError(str(error)[:300]) from error  # it repeats what a stranger wrote there
    except (ValueError, RecursionError, KeyError, AttributeError) as error:
        raise InputError(f"{MANIFEST} cannot be read ({type(error).__name__})") from error


def _suites_of(names: list[str]) -> list[str]:
    """The suites that files of a submission answer. Raises InputError for a file without a place in one."""
    suites = sorted({name.split("/")[0] for name in names if "/" in name})
    if not suites:
        raise InputError(f"no SUITE/{PREDICTIONS}")
    for name in names:
        match name.split("/"):
            case [top] if top in (CARD, MANIFEST):
                continue
            case [_, file] if file == PREDICTIONS:
                continue
            case [_, folder, file] if folder == HEATMAPS and file.endswith(".npz"):
                continue
        raise InputError(f"file {name[:100]!r} has no place in a submission")
    return suites


def verify(folder: Path, known: list[str] | None = None) -> Verified:
    """Check an unpacked submission. `known`: suites that are taken. Raises InputError with the first thing
    that is wrong."""
    names = folder_files(folder)
    for needed in (CARD, MANIFEST):
        if needed not in names:
            raise InputError(f"{needed} is missing; `leaderboard pack` makes it")
    for name, most in ((CARD, MOST_CARD), (MANIFEST, MANIFEST_BASE + MANIFEST_FILE * len(names))):
        if (size := (folder / name).stat().st_size) > most:
            raise InputError(f"{name} has {size} bytes, at most {most} are read")
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        manifest = (folder / MANIFEST).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{CARD} or {MANIFEST} is not UTF-8 text") from error
    stated, card, found = _stated_files(manifest), read_card(text, CARD), files_of(folder)
    if stated != found:
        differing = sorted(set(found) ^ set(stated if isinstance(stated, dict) else {})) or [
            "a file's size or hash"
        ]
        raise InputError(f"{MANIFEST} does not fit the files: {str(differing[0])[:100]!r}; pack again")
    suites = _suites_of(names)
    rejected = First()
    for suite in suites:
        if known is not None and suite not in known:
            raise InputError(f"suite {suite[:100]!r} is not taken here; taken: {', '.join(known) or 'none'}")
        if f"{suite}/{PREDICTIONS}" not in names:
            raise InputError(f"{suite}/{PREDICTIONS} is missing")
        lines = sum(1 for _ in read_predictions(folder / suite / PREDICTIONS, rejected))
        if not lines:
            raise InputError(
                f"{suite}/{PREDICTIONS} has no line that can be used"
                + (f"; the first: {rejected[0].reason}" if rejected else "")
            )
    # Places are told without the path of the machine.
    outside = [Problem(line.where.removeprefix(f"{folder}/"), line.reason) for line in rejected]
    return Verified(content_hash(found), card, suites, outside, rejected.total)


def _lines_of(run: Path) -> Iterator[dict]:
    """Predictions of a finished benchmark run. Raises InputError for one with several answers a question."""
    _, lines, _ = open_run(run)
    for line in lines:
        if line["attempt"]:
            raise InputError(f"{run}: has several answers a question; the leaderboard takes one (decode.n 1)")
        yield {"id": line["id"], "task": line["task"], "response": line["response"]}


def _put_suite(run: Path, target: Path) -> None:
    """A run's predictions and heatmaps as a suite's part of a submission."""
    target.mkdir()
    rows = list(_lines_of(run))
    maps = read_maps(run / MAPS)
    if maps:
        (target / HEATMAPS).mkdir()
    for n, (key, heat) in enumerate(sorted(maps.items())):
        name = f"{HEATMAPS}/{n:05d}.npz"  # numbered: a key may be no name for a file
        np.savez_compressed(target / name, heatmap=heat)
        rows.append({"id": key, "task": "heatmap", "heatmap": name})
    (target / PREDICTIONS).write_text(
        "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8"
    )


def _zip(folder: Path, archive: Path) -> None:
    """The files of a submission, all of one date and in order, so that the same files give the same bytes."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name in folder_files(folder):
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            out.writestr(entry, (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)


def pack(runs: dict[str, Path], card: Path, out: Path) -> Verified:
    """Pack finished benchmark runs {suite: run} with a card into `out` (.zip, or a folder); the same runs
    give the same bytes. Raises InputError; nothing half-written stays."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{card}: cannot be read ({error})") from error
    (check_file if out.suffix == ".zip" else check_folder)(out)
    if out.suffix != ".zip" and out.exists():
        raise InputError(f"{out}: exists already")
    check_filled(read_card(text, str(card)), str(card))
    with tempfile.TemporaryDirectory(dir=made(out.parent)) as temporary:
        folder = Path(temporary) / "submission"
        folder.mkdir()
        (folder / CARD).write_text(text, encoding="utf-8")
        for suite, run in runs.items():
            _put_suite(run, folder / safe_name(suite))
        write_whole(
            folder / MANIFEST, json.dumps(manifest_of(folder), indent=1, sort_keys=True, allow_nan=False)
        )
        found = verify(folder)
        if out.suffix == ".zip":
            _zip(folder, Path(temporary) / "submission.zip")
            (Path(temporary) / "submission.zip").replace(out)
        else:
            shutil.move(folder, out)
    return found
