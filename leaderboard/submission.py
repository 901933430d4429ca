"""A submission: a model card and predictions of one or more suites, as a folder or a .zip. Packed, checked
and unpacked here, by the same code on the submitter's machine and on the server; nothing in it is trusted.

    card.yaml                     who and what (`Card`)
    SUITE/predictions.jsonl       lines as `bench score` takes them
    SUITE/heatmaps/NAME.npz       optional; named by a line {"id", "task": "heatmap", "heatmap": NAME}
    manifest.json                 size and SHA-256 of every other file; its hash names the submission
"""

import hashlib
import json
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import yaml

from bench.compare import open_run
from bench.score import read_predictions
from tvad.common import config
from tvad.common.errors import InputError
from tvad.common.files import file_hash, write_whole
from tvad.data.check import Problem

CARD, MANIFEST, PREDICTIONS, HEATMAPS = "card.yaml", "manifest.json", "predictions.jsonl", "heatmaps"
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)  # and what turns the direction of writing
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Limits:
    """bytes of all files together and of a single one, files, how much a file may grow when unpacked,
    characters of a card's text."""

    total: int = 512 << 20
    file: int = 256 << 20
    files: int = 20_000
    growth: int = 200
    card: int = 64 << 10
    text: int = 2000


LIMITS = Limits()


@dataclass
class Card:
    """What a submitter says about a model. parameters: count, None where unknown. data: what it was trained
    on. contamination: what is known about test data among it; "none known" is a statement, silence is not.
    baseline: a point of reference (chance, a prior, an older method), not a contender."""

    name: str
    organisation: str
    licence: str
    contamination: str
    data: list[str]
    parameters: float | None = None
    open_weights: bool = False
    uses_video: bool = True
    baseline: bool = False
    links: list[str] = field(default_factory=list)
    description: str = ""


def read_card(text: str, where: str = CARD) -> Card:
    """A card from YAML (tags, anchors and unknown keys refused). Raises InputError."""
    if len(text) > LIMITS.card:
        raise InputError(f"{where}: {len(text)} characters, at most {LIMITS.card} are read")
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, (yaml.TagToken, yaml.AnchorToken, yaml.AliasToken)):
                raise InputError(
                    f"{where}: line {token.start_mark.line + 1}: YAML tags, anchors and aliases are not taken"
                )
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where}: not YAML ({' '.join(str(error).split())[:200]})") from error
    card = config.build(Card, data, where)
    texts = [
        ("name", card.name),
        ("organisation", card.organisation),
        ("licence", card.licence),
        ("contamination", card.contamination),
    ]
    for key, value in texts:
        if not value.strip():
            raise InputError(f"{where}: {key} is empty")
    for key, value in [
        *texts,
        ("description", card.description),
        *(("data", v) for v in card.data),
        *(("links", v) for v in card.links),
    ]:
        if len(value) > LIMITS.text:
            raise InputError(f"{where}: {key} has {len(value)} characters, at most {LIMITS.text} are taken")
        if CONTROL.search(value):
            raise InputError(f"{where}: {key} holds control characters")
    if len(card.name) > 100 or len(card.organisation) > 100:
        raise InputError(f"{where}: name and organisation take at most 100 characters")
    if not card.data:
        raise InputError(f"{where}: data is empty; name what the model was trained on")
    for link in card.links:
        parts = urlsplit(link)
        if (
            parts.scheme not in ("https", "http")
            or not parts.netloc
            or any(c.isspace() or c in "\"'<>`" for c in link)
        ):
            raise InputError(f"{where}: links: {link[:100]!r} is no http(s) address")
    if card.parameters is not None and not 0 < card.parameters < 1e15:
        raise InputError(f"{where}: parameters must be a positive count, found {card.parameters!r}")
    return card


def _safe_name(name: str) -> str:
    """A path inside a submission. Raises InputError for anything but plain names at most three deep."""
    path = PurePosixPath(name)
    if (
        not name
        or name.startswith("/")
        or "\\" in name
        or "\0" in name
        or str(path) != name
        or len(path.parts) > 3
    ):
        raise InputError(f"file {name[:100]!r}: expected a plain relative path at most three deep")
    for part in path.parts:
        if not NAME.fullmatch(part) or part.endswith("."):
            raise InputError(
                f"file {name[:100]!r}: names take letters, digits, '.', '_' and '-', and begin with a letter"
                " or a digit"
            )
    return name


def _folder_files(folder: Path) -> list[str]:
    """Names of the files of a submission folder. Raises InputError for links, special files and too much."""
    names, total = [], 0
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        name = path.relative_to(folder).as_posix()
        if stat.S_ISLNK(mode):
            raise InputError(f"file {name[:100]!r} is a link")
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise InputError(f"file {name[:100]!r} is no plain file")
        names.append(_safe_name(name))
        size = path.stat().st_size
        total += size
        if size > LIMITS.file or total > LIMITS.total or len(names) > LIMITS.files:
            raise InputError(
                f"the submission is too large: at most {LIMITS.files} files, {LIMITS.file >> 20} MiB each,"
                f" {LIMITS.total >> 20} MiB in all"
            )
    return names


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip into the empty `folder`, never outside it, never more than the limits whatever its
    headers say. Raises InputError."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [e for e in opened.infolist() if not e.is_dir()]
            if len(entries) > LIMITS.files:
                raise InputError(f"{archive.name}: {len(entries)} files, at most {LIMITS.files}")
            seen: set[str] = set()
            total = 0
            for entry in entries:
                name = _safe_name(entry.filename)
                if name.lower() in seen:
                    raise InputError(f"{archive.name}: {name[:100]!r} is there twice")
                seen.add(name.lower())
                if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise InputError(f"{archive.name}: {name[:100]!r} is a link or no plain file")
                if entry.flag_bits & 1:
                    raise InputError(f"{archive.name}: {name[:100]!r} is encrypted")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                most = min(
                    LIMITS.file, LIMITS.total - total, max(1 << 20, LIMITS.growth * entry.compress_size)
                )
                with opened.open(entry) as source, target.open("xb") as out:
                    written = 0
                    while chunk := source.read(1 << 20):
                        written += len(chunk)
                        if written > most:
                            raise InputError(
                                f"{archive.name}: {name[:100]!r} unpacks to more than {most} bytes"
                            )
                        out.write(chunk)
                total += written
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise InputError(
            f"{archive.name}: cannot be unpacked ({type(error).__name__}: {str(error)[:120]})"
        ) from error
    except Exception as error:  # zlib, lzma and bz2 have errors of their own
        if isinstance(error, InputError):
            raise
        raise InputError(f"{archive.name}: cannot be unpacked ({type(error).__name__})") from error


def manifest_of(folder: Path) -> dict[str, Any]:
    """Size and hash of every file but the manifest itself."""
    return {
        "files": {
            n: {"bytes": (folder / n).stat().st_size, "sha256": file_hash(folder / n)}
            for n in _folder_files(folder)
            if n != MANIFEST
        }
    }


def content_hash(manifest: dict[str, Any]) -> str:
    """What names a submission: the hash of what its manifest says, in a fixed order."""
    return hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()


@dataclass
class Verified:
    """A submission that can be scored: its hash, card, the suites that it answers, and the lines that scoring
    will leave out."""

    hash: str
    card: Card
    suites: list[str]
    rejected: list[Problem]


def verify(folder: Path, known: list[str] | None = None) -> Verified:
    """Check an unpacked submission. `known`: suites that are taken. Raises InputError with the first thing
    that is wrong."""
    names = _folder_files(folder)
    for needed in (CARD, MANIFEST):
        if needed not in names:
            raise InputError(f"{needed} is missing; `leaderboard pack` makes it")
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        stated = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (UnicodeDecodeError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"{CARD} or {MANIFEST} cannot be read ({type(error).__name__})") from error
    card, found = read_card(text), manifest_of(folder)
    if stated != found["files"]:
        differing = sorted(set(found["files"]) ^ set(stated if isinstance(stated, dict) else {})) or [
            "a file's size or hash"
        ]
        raise InputError(f"{MANIFEST} does not fit the files: {str(differing[0])[:100]}; pack again")
    suites = sorted({name.split("/")[0] for name in names if "/" in name})
    if not suites:
        raise InputError(f"no SUITE/{PREDICTIONS}")
    rejected: list[Problem] = []
    for name in names:
        parts = name.split("/")
        allowed = (len(parts) == 1 and name in (CARD, MANIFEST)) or (
            len(parts) == 2 and parts[1] == PREDICTIONS
        )
        if not allowed and not (len(parts) == 3 and parts[1] == HEATMAPS and name.endswith(".npz")):
            raise InputError(f"file {name[:100]!r} has no place in a submission")
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
    return Verified(
        content_hash(found),
        card,
        suites,
        [Problem(_inside(problem.where, folder), problem.reason) for problem in rejected],
    )


def _inside(where: str, folder: Path) -> str:
    """A place without the path of the machine."""
    return where.removeprefix(f"{folder}/")


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A submission's folder: the folder itself, or a .zip unpacked for the moment. Raises InputError."""
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise InputError(f"{path}: no such submission; expected a folder or a .zip")
    with tempfile.TemporaryDirectory() as folder:
        unpack(path, Path(folder))
        yield Path(folder)


def _lines_of(run: Path) -> Iterator[dict]:
    """Predictions of a finished benchmark run. Raises InputError for one with several answers a question."""
    _, lines, _ = open_run(run)
    for line in lines:
        if line["attempt"]:
            raise InputError(f"{run}: has several answers a question; the leaderboard takes one (decode.n 1)")
        yield {"id": line["id"], "task": line["task"], "response": line["response"]}


def pack(runs: dict[str, Path], card: Path, out: Path) -> Verified:
    """Pack finished benchmark runs {suite: run} with a card into `out` (.zip, or a folder); the same runs
    give the same bytes. Raises InputError; nothing half-written stays."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{card}: cannot be read ({error})") from error
    with tempfile.TemporaryDirectory(dir=out.parent if out.parent.is_dir() else None) as made:
        folder = Path(made) / "submission"
        folder.mkdir()
        (folder / CARD).write_text(text, encoding="utf-8")
        for suite, run in runs.items():
            target = folder / _safe_name(suite)
            target.mkdir()
            rows = list(_lines_of(run))
            if (run / "heatmaps.npz").exists():
                (target / HEATMAPS).mkdir()
                with np.load(run / "heatmaps.npz", allow_pickle=False) as maps:
                    for n, key in enumerate(sorted(maps.files)):
                        name = f"{HEATMAPS}/{n:05d}.npz"
                        np.savez_compressed(target / name, heatmap=maps[key])
                        rows.append({"id": key, "task": "heatmap", "heatmap": name})
            (target / PREDICTIONS).write_text(
                "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
            )
        write_whole(folder / MANIFEST, json.dumps(manifest_of(folder), indent=1, sort_keys=True))
        found = verify(folder)
        if out.suffix == ".zip":
            temporary = Path(made) / "submission.zip"
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in _folder_files(folder):
                    archive.writestr(
                        zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)),
                        (folder / name).read_bytes(),
                        zipfile.ZIP_DEFLATED,
                    )
            temporary.replace(out)
        else:
            if out.exists():
                raise InputError(f"{out}: exists already")
            shutil.move(folder, out)
    return found


def card_template() -> str:
    """A card to fill in."""
    example = Card(
        "my-model",
        "my lab",
        "apache-2.0",
        "none known",
        ["what it was trained on"],
        7e9,
        True,
        links=["https://example.org/model"],
        description="one line",
    )
    return yaml.safe_dump(asdict(example), sort_keys=False, allow_unicode=True)
