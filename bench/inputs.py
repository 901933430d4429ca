"""What a run has seen, by digests: the model's weights (run.json), every video's bytes (inputs.jsonl), the
frames that were shown (every line). A run does not go on with other ones; a comparison names the first that
differs.

A file is read anew only where its size, time or inode is another than when it was last.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.models import is_checkpoint
from bench.run_folder import INPUTS, Shard, drop_parts, parts, read_lines, write_lines
from tvad.common import hub
from tvad.common.errors import InputError
from tvad.common.files import file_hash
from tvad.data.sample import Sample
from tvad.data.video import Frames

DIGITS = 16


def _stamp(files: Iterable[Path]) -> list[list[int]]:
    """Size, time and inode of each. Raises OSError for one that is missing."""
    found = [file.stat() for file in files]
    return [[stat.st_size, stat.st_mtime_ns, stat.st_ino] for stat in found]


def digest_of(files: list[Path], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """{"digest", "stamp"} of files' bytes in their order; `before`: what was found of them earlier. Raises
    OSError for a file that is missing."""
    stamp = _stamp(files)
    if before is not None and before.get("stamp") == stamp:
        return {"digest": before["digest"], "stamp": stamp}
    found = hashlib.sha256("".join(file_hash(file) for file in files).encode())
    return {"digest": found.hexdigest()[:DIGITS], "stamp": stamp}


def weights(spec: str, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`digest_of` a KIND:PATH's files; None for what is no folder here."""
    folder = Path(hub.folder(spec.partition(":")[2])) if is_checkpoint(spec) else None
    if folder is None or not folder.is_dir():
        return None
    return digest_of(sorted(f for f in folder.glob("*") if f.suffix in hub.WEIGHTS and f.is_file()), before)


def refuse_other_weights(
    folder: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> None:
    """Raise InputError where a run was begun with other weights."""
    if before and now and before["digest"] != now["digest"]:
        raise InputError(
            f"{folder}: its model's files were {before['digest']}, they are {now['digest']}: other weights;"
            " choose another --out"
        )


def shown(clip: Frames) -> str:
    """Digest of the frames that a question shows: which, how large, their pixels."""
    what = [np.asarray(clip.indices).tolist(), clip.images.shape, clip.moments.tolist()]
    found = hashlib.sha256(json.dumps(what, allow_nan=False).encode())
    found.update(np.ascontiguousarray(clip.images).data)
    return found.hexdigest()[:DIGITS]


class Inputs:
    """The videos of a run in `folder`, as they are read. lines: those that it has kept; a kill leaves what
    they say of their videos, and not the file."""

    def __init__(self, folder: Path, lines: Iterable[Mapping[str, Any]] = ()):
        self.path = folder / INPUTS
        self.known: dict[str, dict[str, Any]] = {
            line["sample"]: {"id": line["sample"], "digest": line["video"]}
            for line in lines
            if "video" in line
        }
        kept = [line for file in (self.path, *parts(self.path)) for line in read_lines(file)]
        self.known |= {line["id"]: line for line in kept if "digest" in line}
        self._shown: dict[tuple[str, bool], tuple[Any, str]] = {}

    def check(self, samples: list[Sample]) -> None:
        """Raise InputError for a video that is another than when it was shown; one that is missing now is
        unscored where it is asked about."""
        for sample in samples:
            if (before := self.known.get(sample.id)) is None:
                continue
            try:
                found = digest_of(sample.files(), before)
            except (OSError, InputError):
                continue
            if found["digest"] != before["digest"]:
                raise InputError(
                    f"{self.path}: {sample.id}: {sample.video.path} was {before['digest']}, it is"
                    f" {found['digest']}: another video; choose another --out"
                )
            self.known[sample.id] = {"id": sample.id, "file": sample.video.path, **found}

    def of(self, sample: Sample, clip: Frames, masked: bool) -> dict[str, str]:
        """What a line says of its clip: {"video", "shown"}."""
        key = sample.id, masked
        if key not in self._shown or self._shown[key][0] != clip.images.shape:
            self._shown[key] = clip.images.shape, shown(clip)
        video = self.digest(sample)
        return ({"video": video} if video else {}) | {"shown": self._shown[key][1]}

    def digest(self, sample: Sample) -> str | None:
        """Of a video that was read, from now on one of the run's; None where it has gone since."""
        if sample.id not in self.known:
            try:
                found = digest_of(sample.files())
            except OSError:
                return None
            self.known[sample.id] = {"id": sample.id, "file": sample.video.path, **found}
        return self.known[sample.id]["digest"]

    def keep(self, shard: Shard) -> None:
        """Write what this process has read."""
        write_lines(shard.file(self.path), self.known.values())

    def join(self, shard: Shard, samples: list[Sample]) -> None:
        """For the first process, when all are done."""
        found = {line["id"]: line for file in shard.files(self.path) for line in read_lines(file)}
        write_lines(self.path, [found[sample.id] for sample in samples if sample.id in found])
        drop_parts(self.path)


def first_difference(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> str:
    """The first input, in the order of the questions, that two runs' lines were not given alike; "" where
    there is none, or it is not recorded."""
    others = {(line["task"], line["id"]): line for line in after}
    words = (
        ("video", "the bytes of video {sample} differ"),
        ("shown", "other frames of video {sample} were shown for {id}"),
        ("prompt_hash", "{id} was asked in another way (prompt or decoding)"),
    )
    for line in before:
        other = others.get((line["task"], line["id"]), {})
        for key, text in words:
            if key in line and key in other and line[key] != other[key]:
                return "the first input that differs: " + text.format(**line)
    return ""
