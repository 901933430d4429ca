"""Answers kept across runs: what a model has said to a prompt about a clip is not asked again.

One SQLite file, shared by any number of runs and processes. The key is what decides an answer: the model's
weights, the chat, the very frames shown, the decoding. Drawn answers (temperature above 0) are kept by seed
and by the item that drew them, and only whole sets of n.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.models import is_checkpoint
from bench.models.base import Completion, Request, Usage
from tvad.common.errors import InputError
from tvad.common.files import made
from tvad.common.hub import content, folder

if TYPE_CHECKING:
    from bench.suite import Decode

VERSION = 1  # of the file
# Since 2 a family without videos is shown the frames as images, before, it was shown none; since 3 a stock
# Qwen2.5-VL sees them at their times.
ASKED = 3
USAGE = ("tokens_in", "tokens_out", "shared", "finish")  # what is kept beside an answer's text


def identity(spec: str) -> str:
    """What names a model: a checkpoint folder by the content of its files, anything else by its address."""
    kind, _, path = spec.partition(":")
    try:
        place = Path(folder(path)) if is_checkpoint(spec) else None
    except InputError:  # who opens it says so
        place = None
    if place is None or not place.is_dir():
        return spec
    # The same address may hold other weights tomorrow: what is trained further is another model.
    return f"{kind}:{found}" if (found := content(place)) else spec


class ResponseCache:
    """`path`: the SQLite file, made where it is missing. `model`: the model's spec (`identity`); `opened`:
    what it was opened with, the bounds of a clip's pixels and how clips are sent. Raises InputError for
    another file."""

    def __init__(self, path: str | Path, model: str, opened: Mapping[str, Any] | None = None):
        self.model = identity(model) + (
            f" {json.dumps(opened, sort_keys=True, allow_nan=False)}" if opened else ""
        )
        made(Path(path).parent)
        try:
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise InputError(f"{path}: a response cache of version {version}, this one reads {VERSION}")
            self._database.execute(f"PRAGMA user_version={VERSION}")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, texts TEXT NOT NULL) WITHOUT"
                " ROWID"
            )
        except sqlite3.Error as error:
            raise InputError(f"{path}: is no response cache ({error})") from error

    def key(self, request: Request, decode: "Decode") -> str:
        words = [
            (
                message["role"],
                content
                if isinstance(content := message["content"], str)
                else [part.get("text") for part in content],
            )
            for message in request.messages
        ]
        # Greedy answers are the same under any seed; drawn ones are the item's.
        own = {"key": request.key} if decode.temperature else {"seed": None}
        decoding = asdict(decode) | own
        clip = request.frames
        shown = [clip.images.shape, clip.fps, clip.total, np.asarray(clip.indices).tolist()]
        if clip.clock.rate is None:
            shown.append(clip.moments.tolist())
        found = hashlib.sha256(
            json.dumps([ASKED, self.model, words, decoding, shown], sort_keys=True, allow_nan=False).encode()
        )
        found.update(np.ascontiguousarray(clip.images).data)
        return found.hexdigest()

    def get(self, key: str) -> list[Completion] | None:
        row = self._database.execute("SELECT texts FROM responses WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return [_kept(entry) for entry in json.loads(row[0])]

    def put(self, key: str, completions: list[Completion]) -> None:
        self._database.execute(
            "INSERT OR IGNORE INTO responses VALUES (?, ?)",
            (
                key,
                json.dumps([_entry(completion) for completion in completions], allow_nan=False),
            ),
        )


def _entry(completion: Completion) -> str | dict[str, Any]:
    """What is kept of an answer: its text, and what else is known but for what asking took."""
    known = completion.usage.known
    more = {key: known[key] for key in USAGE if key in known}
    if completion.cut or more:
        return {"text": completion.text, "cut": completion.cut, **more}
    return completion.text


def _kept(entry: str | dict[str, Any]) -> Completion:
    """An answer as `_entry` has kept it, now or before there was more than its text, or than its cut."""
    if isinstance(entry, str):
        return Completion(entry, usage=Usage(cached=True))
    more = {"finish": entry["cut"]} | {key: entry[key] for key in USAGE if key in entry}
    return Completion(entry["text"], cut=entry["cut"], usage=Usage(**more, cached=True))
