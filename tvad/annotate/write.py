"""The data set that rows of annotation and the decisions of a review come to: tracks, narratives, dialogue
with exact times, questions with letters that are balanced over the data set."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tvad.annotate import words
from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.build import grounding_questions, spans_of
from tvad.data.folder import save
from tvad.data.narrate import WAYS, motion
from tvad.data.questions import LETTERS
from tvad.data.sample import Question, Sample, from_json

# What is asked with options (the words are ours); topic -> question.
CHOICES = {
    "target": "Which target behaves unusually?",
    "direction": "Which way does the unusual target go?",
    "when": "When does something unusual happen?",
}
OPTIONS = 4


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


def sample_of(row: Mapping[str, Any], targets: Sequence[dict[str, Any]], root: str) -> Sample:
    """A row as a sample, without the questions that have options."""
    bare = from_json(row["sample"], root, row["id"])
    shown = bare.video
    unusual = sorted((t for t in targets if t["anomalous"]), key=lambda t: (min(t["anomalous"]), t["id"]))
    wrong = [t for t in unusual if t["boxes"]]  # without: a person said that what could not be read is so
    tracks = tuple(words.track_of(t) for t in targets if t["boxes"])
    clock = video.Clock(np.array(shown.times), shown.duration or 0.0) if shown.times else shown.fps or 1.0
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


def with_choices(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The samples with their multiple-choice questions: distractors from the same video first, then from what
    targets of this data set look like; letters rotate within each topic in an order drawn from the seed."""
    common = Counter(_name(track) for sample in samples for track in sample.tracks or ())
    pool = [name for name, _ in sorted(common.items(), key=lambda pair: (-pair[1], pair[0]))]
    turn: dict[str, list[int]] = defaultdict(list)
    draws = {topic: np.random.default_rng([seed, n]) for n, topic in enumerate(CHOICES)}
    found = []
    for number, sample in enumerate(samples):
        rng = np.random.default_rng([seed, len(CHOICES), number])
        asked = list(sample.questions)
        for topic, right, wrong in _choices(sample, pool, rng):
            if not turn[topic]:
                turn[topic] = [int(i) for i in draws[topic].permutation(OPTIONS)]
            letter = turn[topic].pop()
            options = [str(w) for w in wrong]
            options.insert(letter, right)
            asked.append(
                Question("mcq", CHOICES[topic], LETTERS[letter], tuple(options), topic, sample.rationale)
            )
        found.append(replace(sample, questions=tuple(asked)))
    return found


def _name(track: Any) -> str:
    return f"{track.kind}, {track.look}" if track.look else track.kind


def _choices(
    sample: Sample, pool: Sequence[str], rng: np.random.Generator
) -> Iterable[tuple[str, str, list]]:
    """(topic, right option, three wrong ones) of an anomaly whose one target is known."""
    shown = sample.video
    wrong = [track for track in sample.tracks or () if track.anomalous]
    if len(wrong) != 1 or not shown.width or not shown.fps:
        return
    (track,) = wrong
    right, there = _name(track), {_name(t) for t in sample.tracks or () if t is not track}
    if track.look and right not in there:
        # Others of this video are the most plausible, then what is like it elsewhere, by kind.
        near = sorted(there)
        like = [n for n in pool if n.split(",")[0] == track.kind and n != right and n not in there]
        rest = [n for n in pool if n not in like and n != right and n not in there]
        options = [*(str(n) for n in rng.permutation(near)), *like, *rest][: OPTIONS - 1]
        if len(options) == OPTIONS - 1:
            yield "target", right, options
    move = motion(track.boxes, shown.width, shown.fps, shown.times)
    if move["moving"]:
        yield (
            "direction",
            move["way"],
            [str(w) for w in rng.permutation([w for w in WAYS if w != move["way"]])],
        )
    if len(sample.spans or ()) == 1 and (times := _other_times(sample, rng)):
        yield "when", _time(*sample.spans[0]), times  # type: ignore[index]


def _time(start: float, end: float) -> str:
    return f"from {start:.2f} to {end:.2f} s"


def _other_times(sample: Sample, rng: np.random.Generator) -> list[str] | None:
    """Three other spans of the video that overlap the right one, and each other, by at most half; None where
    it has not so many."""
    assert sample.spans and not isinstance(sample.spans, str)
    (start, end), whole = sample.spans[0], sample.video.duration or 0.0
    chosen = [(start, end)]
    for _ in range(200):
        length = float(rng.uniform(0.5, 1.5)) * (end - start)
        if length >= whole:
            continue
        first = round(float(rng.uniform(0, whole - length)), 2)
        last = round(first + length, 2)
        if all(_iou((first, last), other) <= 0.5 for other in chosen):
            chosen.append((first, last))
        if len(chosen) == OPTIONS:
            return [_time(*span) for span in chosen[1:]]
    return None


def _iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    both = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return both / max(1e-9, one[1] - one[0] + other[1] - other[0] - both)


def write(
    rows: Sequence[Mapping[str, Any]],
    decisions: Mapping[str, Mapping[int, Mapping[str, Any]]],
    out: Path,
    seed: int,
) -> list[Sample]:
    """Write samples.jsonl into `out` of the rows that do not wait for a person, whole or not at all. Raises
    InputError for a row that is none."""
    bare = []
    for row in rows:
        decided = decisions.get(row["id"], {})
        try:
            if not waits(row, decided):
                bare.append(sample_of(row, settled(row, decided), str(out)))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{out}: {row['id']}: not a row of `tvad annotate run` ({error!r})") from error
    samples = with_choices(bare, seed)
    save(samples, out)
    return samples
