"""The videos that are annotated: of a data set folder, or of a folder of videos as people have them."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tvad.common.errors import InputError
from tvad.common.quiet import note
from tvad.common.text import whole
from tvad.data import load, video
from tvad.data.check import Problem, described
from tvad.data.folder import is_data_set
from tvad.data.sample import SAMPLES, Sample, Video, file_stem, short_digest

LOOKED = 1 << 16  # bytes of a file's beginning and of its end
RECORD = "annotate.json"  # what a folder of annotation was asked for


def source_samples(source: str | os.PathLike, done: Collection[str] = ()) -> Iterator[Sample | Problem]:
    """The videos of a data set folder, or the files of any folder of videos, a Problem for one that cannot be
    read. done: ids whose files in a folder of videos are not opened: nothing is told of these but where they
    lie. What has to be assumed of a file's times is said on stderr. Raises InputError where there is no
    video."""
    folder = Path(source)
    if is_data_set(folder):
        yield from load(folder)
        return
    files = _videos(folder) if folder.is_dir() else {}
    if not files:
        raise InputError(f"{source}: neither a data set folder with {SAMPLES} nor a folder of videos")
    for name, relative in files.items():
        bare = Sample(name, folder.name or "videos", "train", Video(relative), root=str(folder))
        if name in done:
            yield bare
            continue
        try:
            if not (folder / relative).is_file():  # a pipe would be waited for, a link may lead nowhere
                raise InputError(f"{relative}: no file")
            shown, clock = described(folder / relative, relative)
        except InputError as error:
            yield Problem(name, str(error))
        else:
            for told in clock.notes:
                note(f"{relative}: {told}")
            yield replace(bare, video=shown)


def _videos(folder: Path) -> dict[str, str]:
    """Id -> path below the folder. Hidden files ("._a.mp4", which a Mac's archive has beside a.mp4) are left
    out, and what lies in a folder of annotation, such as --out below its source. Folders that are links are
    gone into, each once."""
    told, passed = {}, set[str]()
    for place, below, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in passed:  # a link back to where it lies
            below.clear()
            continue
        passed.add(real)
        below[:] = sorted(n for n in below if not (n.startswith(".") or Path(place, n, RECORD).exists()))
        for name in sorted(files):
            if Path(name).suffix.lower() in video.SUFFIXES and not name.startswith("."):
                relative = Path(place, name).relative_to(folder)
                told[relative.as_posix()] = _plain(relative.with_suffix("").as_posix())
    return {name: relative for relative, name in sorted(told_apart(told).items())}


def fingerprint(sample: Sample) -> str | None:
    """Of a video's files, by their sizes, beginnings and ends, which are soon read: of another video it is
    another. None where one is no file (any more)."""
    found = hashlib.sha256()
    for path in sample.files():
        if not path.is_file():
            return None
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            found.update(b"%d " % size)
            for start in (0, max(0, size - LOOKED)):
                file.seek(start)
                found.update(file.read(LOOKED))
    return found.hexdigest()[:16]


def check_names(samples: Iterable[Sample], done: Collection[str]) -> None:
    """Raises InputError for a file of a folder of videos that has another id than when it was annotated:
    since then, files have come or gone that are called as it is, and it would be annotated twice."""
    for sample in samples:
        plain = _plain(Path(sample.video.path).with_suffix("").as_posix())
        for name in {plain, f"{plain}-{short_digest(sample.video.path)}"} - {sample.id}:
            if name in done:
                raise InputError(
                    f"{sample.root}: {sample.video.path!r} is {sample.id!r} now that other files are called"
                    f" {plain!r}, and {name!r} is annotated already; give them their names back, or choose"
                    " another --out"
                )


def _plain(relative: str) -> str:
    """A path as an id."""
    shown = "".join(c if c.isprintable() else "_" for c in whole(relative))
    return shown.replace("/", "_").strip() or "_"


def file_names(ids: Collection[str]) -> dict[str, str]:
    """Id -> name of its files, of each its own."""
    return told_apart({name: file_stem(name) for name in ids})


def told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Key -> its name, with a digest of the key behind it where several keys have one name. Raises InputError
    where that does not tell them apart."""
    count = Counter(names.values())
    found = {key: name if count[name] == 1 else f"{name}-{short_digest(key)}" for key, name in names.items()}
    if again := [name for name, n in Counter(found.values()).items() if n > 1]:
        several = [key for key, name in found.items() if name == again[0]]
        raise InputError(f"{several[0]!r} and {several[1]!r} have one name, {again[0]!r}; rename one of them")
    return found


def check_apart(source: str | os.PathLike, out: str | os.PathLike) -> None:
    """Raises InputError where a folder of videos lies in `out`: what is written there would be taken for
    videos."""
    if not is_data_set(source) and Path(source).resolve().is_relative_to(Path(out).resolve()):
        raise InputError(f"--out {out}: holds the videos, {source}; choose a folder beside or below them")
