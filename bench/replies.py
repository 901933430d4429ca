"""What a judge model replies: asked for, kept as it comes in so that a killed command asks nothing twice, and
the JSON objects in it. Judges rate rationales (`bench.judge`) and read answers (`bench.read`)."""

import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.models.base import Busy, Completion, Down
from bench.models.openai import OpenAiModel
from bench.models.options import ModelOptions
from bench.run_folder import read_lines, write_lines
from bench.unscored import reason_of
from tvad.answer import split
from tvad.common.files import made
from tvad.common.text import whole

ATTEMPTS = 3  # at a usable reply, one a call
MOST = 1 << 14  # characters of a reply that are read, its last
LONGEST = 6000  # characters of a text that a judge is shown
BUSY = "no time for it"
REFUSALS = 8  # requests in a row, before any answer, after which the endpoint is at fault
BRACES = 32  # of a reply, at which an object may begin
FOLDER = "judge"  # of a run's folder

Kept = dict[str, Any]  # {"key", "reply", "cut" where it is not whole}, or {"key", "failed"}


def enclosed(text: str, end: bool = False) -> str:
    """The first LONGEST characters of a text, with `end` the last, as they stand between <<<NAME and NAME>>>,
    marks that cannot be closed from inside."""
    text = whole(text).replace("<<<", "< < <").replace(">>>", "> > >")
    return text[-LONGEST:] if end else text[:LONGEST]


def key_of(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def opened(spec: str, options: ModelOptions) -> OpenAiModel:
    """The judge openai:NAME@URL. Raises InputError for what is none, and for an option that it has not."""
    return OpenAiModel(spec.removeprefix("openai:"), **options.given)


def name_of(judge: OpenAiModel) -> str:
    """What its readings and ratings are pinned to: with what every request of it says besides."""
    more = json.dumps(judge.extra_body, sort_keys=True, allow_nan=False) if judge.extra_body else ""
    return f"{judge.model}@{judge.url}{more}"


def _agreed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that it gives two values has both, and so no value that is read."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = [found[key], value] if key in found and found[key] != value else value
    return found


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The complete JSON objects of a text, in order, those within others before these; of more than BRACES
    braces the last are tried, so that a text takes linear time."""

    def inside(value: Any) -> Iterator[dict[str, Any]]:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from inside(inner)
        if isinstance(value, dict):
            yield value

    decoder, done = json.JSONDecoder(object_pairs_hook=_agreed), 0
    for match in deque(re.finditer(r"\{", text), BRACES):
        if match.start() < done:
            continue
        try:
            found, done = decoder.raw_decode(text, match.start())
            yield from inside(found)
        except (ValueError, RecursionError):
            continue


def objects_in(kept: Kept) -> list[dict[str, Any]]:
    """The objects of a kept reply, behind any reasoning. Raises ValueError, whose text is the reason, for a
    reply that was cut or holds none."""
    if failed := kept.get("failed"):
        raise ValueError(f"refused ({failed})")
    if cut := kept.get("cut"):  # a draft may stand before the cut
        raise ValueError(f"cut ({cut})")
    said = split(kept["reply"])[1][-MOST:]
    if not 0 <= said.find("{") < said.rfind("}"):
        raise ValueError("refused or not JSON")
    found = list(objects(said))
    if not found:
        raise ValueError("malformed JSON")
    return found


class Replies:
    """Replies of one judge to prompts of one kind and version, kept in RUN/judge/HASH.jsonl."""

    def __init__(self, run: Path, judge: OpenAiModel, version: str):
        self.judge = judge
        name = hashlib.sha256(f"{name_of(judge)} {version}".encode()).hexdigest()[:12]
        self.path = made(run / FOLDER) / f"{name}.jsonl"
        rows = read_lines(self.path)
        write_lines(self.path, rows)  # a line that a kill cut goes before the next is appended
        self.attempts = Counter(row["key"] for row in rows)
        self.kept: dict[str, Kept] = {row["key"]: row for row in rows}

    def exhausted(self, key: str) -> bool:
        """Whether it has been asked as often as it is."""
        return self.attempts[key] >= ATTEMPTS

    def ask(
        self,
        prompts: Mapping[str, str],
        usable: Callable[[str, Kept], bool],
        schema: dict,
        name: str,
        unit: str,
    ) -> dict[str, Kept]:
        """The replies to prompts by their keys; what has no usable one yet is asked once more. A request that
        is refused is a reply that cannot be used; one that a busy judge did not get to has failed for BUSY,
        and is not kept. Raises the endpoint's error where it has answered nothing, or refuses REFUSALS in a
        row before it answers one."""
        to_ask = [
            key
            for key in prompts
            if key not in self.kept or not (self.exhausted(key) or usable(key, self.kept[key]))
        ]
        refused: list[Kept] = []  # kept back until the judge answers
        error: Exception | None = None
        busy: Busy | None = None
        most, answers = REFUSALS if self.kept else 1, False
        with self.path.open("a", encoding="utf-8") as out:
            asked = self.judge.ask_texts([prompts[key] for key in to_ask], schema, name)
            for which, reply in tqdm(
                asked, total=len(to_ask), unit=unit, desc=self.judge.model, disable=None
            ):
                if isinstance(reply, Down):
                    raise reply
                if isinstance(reply, Busy):
                    busy = reply
                    continue
                if isinstance(reply, Exception):
                    refused.append({"key": to_ask[which], "failed": reason_of(reply)})
                    error = reply
                    continue
                self._keep(out, [*refused, _row(to_ask[which], reply)])
                refused, answers = [], True
            if error is not None and not answers and len(refused) >= most:
                raise error
            self._keep(out, refused)
        if busy is not None and not answers:
            raise busy
        return {key: self.kept.get(key, {"key": key, "failed": BUSY}) for key in prompts}

    def _keep(self, out: Any, rows: list[Kept]) -> None:
        for row in rows:
            self.kept[row["key"]] = row
            self.attempts[row["key"]] += 1
            out.write(json.dumps(row, allow_nan=False) + "\n")
        out.flush()


def _row(key: str, reply: Completion) -> Kept:
    return {"key": key, "reply": reply.text} | ({"cut": reply.cut} if reply.cut else {})
