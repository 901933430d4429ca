"""Folders and .zip files from strangers: plain files with plain names, no more of them than `Limits` allow.
What a header of a .zip says is believed in nothing that matters: bytes are counted as they are written."""

import errno
import re
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tvad.common.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PIECE = 1 << 20  # bytes read at a time
FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk is, which is no fault of the archive


@dataclass(frozen=True)
class Limits:
    """How large a submission may be, in bytes where not said otherwise."""

    archive: int = 512 << 20
    """The .zip, as it is sent: at once, or all pieces together (`uploads.bounded`)."""
    unpacked: int = 512 << 20
    """All its files together."""
    file: int = 256 << 20
    """A single file, unpacked."""
    files: int = 20_000
    """How many files."""
    growth: int = 200
    """How many times larger than in the .zip a file may be when it is unpacked (a MiB is always allowed)."""


LIMITS = Limits()


def safe_name(name: str) -> str:
    """A path inside a submission. Raises InputError for anything but plain names at most three deep."""
    path = PurePosixPath(name)
    if (
        not name
        or name.startswith("/")
        or "\\" in name
        or "\0" in name
        or str(path) != name  # "a//b", "./a": two spellings of one file
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


def folder_files(folder: Path) -> list[str]:
    """Names of the files of a submission folder. Raises InputError for links, special files and too much."""
    names, total = [], 0
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode  # of a link itself: following it could lead anywhere
        name = path.relative_to(folder).as_posix()
        if stat.S_ISLNK(mode):
            raise InputError(f"file {name[:100]!r} is a link")
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise InputError(f"file {name[:100]!r} is no plain file")
        names.append(safe_name(name))
        size = path.stat().st_size
        total += size
        if size > LIMITS.file or total > LIMITS.unpacked or len(names) > LIMITS.files:
            raise InputError(
                f"the submission is too large: at most {LIMITS.files} files, {LIMITS.file >> 20} MiB each,"
                f" {LIMITS.unpacked >> 20} MiB in all"
            )
    return names


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Unpack one file; returns its bytes. Raises InputError past `most`: a header may state any size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as out:
        while piece := source.read(PIECE):
            written += len(piece)
            if written > most:
                raise InputError(f"{entry.filename[:100]!r} unpacks to more than {most} bytes")
            out.write(piece)
    return written


def _unpack(opened: zipfile.ZipFile, folder: Path) -> None:
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    if len(entries) > LIMITS.files:
        raise InputError(f"{len(entries)} files, at most {LIMITS.files}")
    seen: set[str] = set()
    total = 0
    for entry in entries:
        name = safe_name(entry.filename)
        if name.lower() in seen:  # the second would replace the first, on some systems whatever its case
            raise InputError(f"{name[:100]!r} is there twice")
        seen.add(name.lower())
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):  # 0: not made on Unix
            raise InputError(f"{name[:100]!r} is a link or no plain file")
        if entry.flag_bits & 1:
            raise InputError(f"{name[:100]!r} is encrypted")
        growth = max(1 << 20, LIMITS.growth * entry.compress_size)
        total += _write(opened, entry, folder / name, min(LIMITS.file, LIMITS.unpacked - total, growth))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip into the empty `folder`, never outside it, never more than the limits whatever its
    headers say. Raises InputError."""
    try:
        with zipfile.ZipFile(archive) as opened:
            _unpack(opened, folder)
    except InputError as error:
        raise InputError(f"{archive.name}: {error}") from error
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        # Of an error of the system its words, not the path on this machine.
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(
            f"{archive.name}: cannot be unpacked ({type(error).__name__}: {said[:120]})"
        ) from error
    except MemoryError:  # of a process with limits, which says so itself
        raise
    except Exception as error:  # zlib, lzma and bz2 have errors of their own
        raise InputError(f"{archive.name}: cannot be unpacked ({type(error).__name__})") from error
