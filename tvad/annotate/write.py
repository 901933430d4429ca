"""The data set that rows of annotation and the decisions of a review come to: tracks, narratives, dialogue
with exact times, questions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tvad.annotate import words
from tvad.annotate.choices import Draft, with_choices
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.build import grounding_questions, spans_of
from tvad.data.folder import save
from tvad.data.sample import Sample, Video, from_json


def settled(row: Mapping[str, Any], decisions: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The targets of a row that are kept: those without a contradiction, those that a person has accepted or
    edited, with the words that the decision gives them, and those whose place is a mask's: of what was
    contradicted only the words go, or wait. decisions: id -> the last one."""
    kept = []
    for target in row["targets"]:
        decision = decisions.get(target["id"])
        if decision is not None:
            if decision["decision"] != "reject" or target["masked"]:
                kept.append({**target, "look": decision["look"], "action": decision["action"]})
        elif target["verdict"] == "kept" or target["masked"]:
            kept.append(target)
    return kept


def waits(row: Mapping[str, Any], decisions: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether a person must say first what happens in a video without a mask: something unusual in it waits
    for review and is not decided about, or was dropped where nothing else is unusual: what was contradicted
    does not make a video normal."""
    if row["lit"] is not None:
        return False
    undecided = [t for t in row["targets"] if t["anomalous"] and t["id"] not in decisions]
    if any(t["verdict"] == "review" for t in undecided):
        return True
    dropped = any(t["verdict"] == "dropped" for t in undecided)
    return dropped and not any(t["anomalous"] for t in settled(row, decisions))


def clock_of(shown: Video) -> video.Clock | float:
    """When its frames appear; frames a second where these are even. Raises InputError where it states neither
    (rows of former versions)."""
    if shown.times:
        return video.Clock(np.array(shown.times), shown.duration or 0.0)
    if not shown.fps:
        raise InputError(f"{shown.path}: states neither fps nor times; annotate it anew with another --out")
    return shown.fps


def sample_of(row: Mapping[str, Any], targets: Sequence[dict[str, Any]], root: str) -> Sample:
    """A row as a sample, without the questions that have options."""
    bare = from_json(row["sample"], root, row["id"])
    shown = bare.video
    unusual = sorted((t for t in targets if t["anomalous"]), key=lambda t: (min(t["anomalous"]), t["id"]))
    wrong = [t for t in unusual if t["boxes"]]  # without: a person said that what could not be read is so
    tracks = tuple(words.track_of(t) for t in targets if t["boxes"])
    clock = clock_of(shown)
    lit = row["lit"] if row["lit"] is not None else sorted({f for t in unusual for f in t["anomalous"]})
    spans = spans_of(lit, clock)
    sample = replace(
        bare,
        label="anomalous" if lit else "normal",
        spans=spans,
        tracks=tracks,
        questions=grounding_questions(spans, tracks, clock, shown.width or 1, shown.height or 1),
    )
    sample = replace(sample, rationale=words.rationale(sample, wrong))
    overall = [answer for _, answer in words.told(sample)["overall"]]
    said = " ".join([*overall, sample.rationale or ""]).strip() or None
    key = words.kind_of(wrong[0]["look"]) if wrong else None
    return replace(sample, description=said, key_object=key, dialogue=words.dialogue(sample, wrong))


def draft_of(row: Mapping[str, Any], targets: Sequence[dict[str, Any]], root: str, rate: float) -> Draft:
    """A row as a sample with what its questions with options are made of. rate: frames a second that were
    looked at, between which nothing begins or ends where no mask says when."""
    sample = sample_of(row, targets, root)
    shown, clock = sample.video, clock_of(sample.video)
    if not isinstance(clock, video.Clock):
        clock = video.Clock.constant(shown.frames or 1, clock)
    looked = (
        [*range(len(clock))] if row["lit"] is not None else sorted({int(n) for n in clock.taken(rate)[0]})
    )
    return Draft(sample, {t["id"]: t["look"] for t in targets}, looked, clock)


def write(
    rows: Sequence[Mapping[str, Any]],
    decisions: Mapping[str, Mapping[int, Mapping[str, Any]]],
    out: Path,
    seed: int,
    rate: float,
) -> list[Sample]:
    """Write samples.jsonl into `out` of the rows that do not wait for a person, whole or not at all. Raises
    InputError for a row that is none."""
    drafts = []
    for row in rows:
        decided = decisions.get(row["id"], {})
        try:
            if not waits(row, decided):
                drafts.append(draft_of(row, settled(row, decided), str(out), rate))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{out}: {row['id']}: not a row of `tvad annotate run` ({error!r})") from error
    samples = with_choices(drafts, seed)
    save(samples, out)
    return samples
