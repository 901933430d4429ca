"""VANGUARD's annotation of one sub-clip: a teacher writes a structured trajectory (observation, evidence,
reasoning, conclusion) beside the captions that people wrote of it, a zero-shot detector says where the
objects are that the trajectory rests on, and what does not hold up is left out, with the reason. The paper
(arXiv 2605.02912) says no more than that; prompt, schema, filters and thresholds are ours."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from tvad.annotate import detector
from tvad.annotate.rounds import Rounds
from tvad.annotate.schema import object_of, read_object, without_signs, word
from tvad.annotate.teacher import Ask, Reply, remedy
from tvad.annotate.write import clock_of
from tvad.answer import Timing, judged
from tvad.answer.moments import moments_in
from tvad.answer.spans import seconds_of
from tvad.common.errors import InputError
from tvad.data import captions, masks, video
from tvad.data.build import grounding_questions
from tvad.data.check import Problem, completed
from tvad.data.components import Corners
from tvad.data.folder import save
from tvad.data.readers.labels import asked
from tvad.data.sample import Question, Sample, Track, from_json, to_json

PARTS = ("observation", "evidence", "reasoning")
MOST_OBJECTS, MOST_EVIDENCE, MOST_CAPTIONS = 4, 6, 12
LONGEST = 800  # characters of a part
SMALLEST = 4.0  # pixels of a box's side
REPEATED = 0.5  # least share of different words of four in a row: below it, a text goes round in circles
LATE = 0.1  # seconds past the end that a rounded time may name
NORMAL = "normal"

_TEXT = {"type": "string", "maxLength": 600}
TRAJECTORY = object_of(
    observation=_TEXT,
    evidence={"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": MOST_EVIDENCE},
    reasoning=_TEXT,
    conclusion=object_of(abnormal={"type": "boolean"}, category={"type": "string", "maxLength": 40}),
    objects={
        "type": "array",
        "items": {"type": "string", "maxLength": 40},
        "maxItems": MOST_OBJECTS,
    },
)
PROMPT = (
    "These frames are {seconds:.1f} seconds of a surveillance video. {captions}Answer with JSON only:"
    " observation (what is seen, in one or two sentences), evidence (a list: each thing seen that speaks for"
    " or against something abnormal), reasoning (what follows from the evidence), conclusion (abnormal: true"
    " or false; category: one of {classes}), objects (the one to four people or things that the conclusion"
    " rests on, each as two to four words). Write of what is seen, never of captions or labels."
)
_SAID = re.compile(r"[^\w\s.,;:'()%/-]|_")
_CAPTIONS = re.compile(r"\b(caption|annotat|label|ground truth|metadata)", re.IGNORECASE)


@dataclass(frozen=True)
class Trajectories:
    """How sub-clips are annotated; all defaults are ours."""

    frames: int = 8
    """Of a sub-clip that the teacher sees, evenly spread."""
    agreement: float = 0.2
    """Least share of the captions' own words that observation and evidence must hold."""
    least: int = 4
    """Words of each part of a trajectory."""
    largest: float = 0.9
    """Share of the picture that a box may cover at most."""
    max_tokens: int = 768
    """Of a reply."""

    def check(self) -> None:
        """Raises InputError."""
        if self.frames < 1 or self.max_tokens < 1 or self.least < 1:
            raise InputError("frames, max_tokens and least must be at least 1")
        if not (0 <= self.agreement <= 1 and 0 < self.largest <= 1):
            raise InputError("agreement must lie in 0 to 1, largest above 0 and at most 1")


def sentences(value: Any) -> str:
    """A teacher's words as they may stand in a rationale: one line of letters, digits and a few signs."""
    if not isinstance(value, str):
        return ""
    return without_signs(value[: 4 * LONGEST], _SAID)[:LONGEST].strip()


def read(text: str) -> dict[str, Any]:
    """A reply's trajectory: its parts as text, `abnormal`, `category`, `objects`. Raises ValueError, whose
    words are the reason."""
    row = read_object(text)
    found: dict[str, Any] = {name: sentences(row.get(name)) for name in ("observation", "reasoning")}
    evidence = row.get("evidence")
    listed = evidence[:MOST_EVIDENCE] if isinstance(evidence, list) else []
    found["evidence"] = "; ".join(said.rstrip(".;") for each in listed if (said := sentences(each)))
    conclusion = row.get("conclusion")
    if not isinstance(conclusion, dict) or not isinstance(conclusion.get("abnormal"), bool):
        raise ValueError("no conclusion")
    found["abnormal"] = conclusion["abnormal"]
    found["category"] = word(conclusion.get("category")) or ""
    objects = row.get("objects")
    named = [word(each) for each in (objects[:MOST_OBJECTS] if isinstance(objects, list) else [])]
    found["objects"] = list(dict.fromkeys(name for name in named if name))
    return found


def own_words(text: str) -> set[str]:
    """The words that say something, by their stems."""
    from nltk.stem import PorterStemmer

    stem = PorterStemmer().stem
    return {stem(w) for w in re.findall(r"[^\W\d_]{2,}", text.lower()) if w not in ENGLISH_STOP_WORDS}


def stated(sample: Sample) -> bool | None:
    """Whether a sub-clip is known to be abnormal: by its label, else its spans, its mask, its classes, its
    own answers; None where nothing says so, and the teacher is asked."""
    if sample.label is not None:
        return sample.anomalous
    if sample.spans is not None:
        return bool(sample.spans)
    if sample.mask is not None:
        return masks.opened(sample.path(sample.mask)).area() is not None
    if any(word(name) != NORMAL for name in sample.categories) or any(
        t.anomalous for t in sample.tracks or ()
    ):
        return True
    if sample.categories:
        return False
    answers = [judged(q.answer) for q in sample.questions if q.kind == "judgement"]
    return answers[0] if answers else None


def outside(text: str, seconds: float) -> bool:
    """Whether a text names a moment that a sub-clip of so many seconds does not have."""
    timing = Timing(seconds)
    named = (seconds_of(moment, timing) for moment in moments_in(text))
    return any(moment is not None and moment > seconds + LATE for moment in named)


def reasons_against(
    told: dict[str, Any], sample: Sample, said: str, how: Trajectories, seconds: float | None = None
) -> list[str]:
    """Why a trajectory is left out; nothing where it holds up. seconds: of the sub-clip."""
    found = []
    if any(len(told[part].split()) < how.least for part in PARTS):
        found.append("a part says too little")
    everything = " ".join(told[part] for part in PARTS)
    words = everything.lower().split()
    fours = [tuple(words[n : n + 4]) for n in range(len(words) - 3)]
    if fours and len(set(fours)) < REPEATED * len(fours):
        found.append("goes round in circles")
    if _CAPTIONS.search(everything):
        found.append("speaks of captions or labels, which whoever learns from it does not see")
    if seconds is not None and outside(everything, seconds):
        found.append("names a time outside the sub-clip")
    if (known := stated(sample)) is not None and told["abnormal"] != known:
        found.append("its conclusion contradicts the label")
    if told["category"] and told["abnormal"] == (told["category"] == NORMAL):
        found.append("its category contradicts its conclusion")
    classes = {word(c) for c in sample.categories}
    if known and told["abnormal"] and classes and told["category"] not in classes:
        found.append("its category contradicts the label")
    if wanted := own_words(said):
        share = len(wanted & own_words(f"{told['observation']} {told['evidence']}")) / len(wanted)
        if share < how.agreement:
            found.append("does not say what the captions say")
    return found


def annotate(how: Trajectories, classes: Sequence[str], boxes: bool, sample: Sample) -> Rounds:
    """Ask about a sub-clip in rounds; the row comes back. boxes: ask the detector, too. Raises InputError for
    a video or mask that cannot be read or is not as stated."""
    clip = video.decode(sample.clip(), None, how.frames)
    sample, _ = completed(sample, clip.clock, *clip.images.shape[1:3])
    timed = captions.captions_of(sample.description)
    lines = [c.text for c in timed] or (sample.description or "").splitlines()
    lines = [line for text in lines[:MOST_CAPTIONS] if (line := sentences(text))]
    spoken = f"People wrote of them: {' '.join(f'({line})' for line in lines)} " if lines else ""
    prompt = PROMPT.format(
        seconds=clip.duration, captions=spoken, classes=", ".join([NORMAL, *classes]) if classes else NORMAL
    )
    moments = tuple(round(float(t), 3) for t in clip.times)
    about = {"sample": sample.id, "stage": "trajectory"}
    counts: Counter[str] = Counter(["sub-clips"])
    row: dict[str, Any] = {"id": sample.id, "sample": to_json(sample), "verdict": "dropped", "reasons": []}
    ask = Ask(prompt, TRAJECTORY, clip.images, moments, how.max_tokens, about, read)
    (reply,) = yield [ask]
    # What has no answer is left without a row: the next run asks again.
    if reply.failed:
        raise InputError(f"no reply: {reply.failed}; {remedy([ask], [reply])}")
    try:
        told = read(reply.text)
    except ValueError as error:
        raise InputError(f"no reply that can be read: {error}; {remedy([ask], [reply])}") from error
    row["told"] = told
    row["reasons"] = reasons_against(told, sample, " ".join(lines), how, clip.duration)
    counts["labels that the teacher gave"] += not row["reasons"] and stated(sample) is None
    counts.update(f"dropped: {reason}" for reason in row["reasons"])
    if not row["reasons"]:
        row["verdict"] = "kept"
        counts["kept"] += 1
        counts["without captions to agree with"] += not lines
        if boxes and not sample.tracks and told["objects"]:
            frame = _frame(sample, clip)
            image = clip.images[frame]
            (reply,) = yield [detector.request(image, told["objects"], round(float(clip.times[frame]), 3))]
            found = boxes_of(reply, told["objects"], image.shape[1], image.shape[0], how.largest, counts)
            row["boxes"] = {name: list(box) for name, box in found.items()}
            row["frame"] = int(clip.indices[frame])
    row["counts"] = dict(sorted(counts.items()))
    return row


def _frame(sample: Sample, clip: video.Frames) -> int:
    """The frame that the detector sees: in the middle of what is anomalous, else of the sub-clip."""
    middle = clip.duration / 2
    if isinstance(sample.spans, tuple) and sample.spans:
        start, end = max(sample.spans, key=lambda span: span[1] - span[0])
        middle = (start + end) / 2
    return int(np.abs(clip.times - middle).argmin())


def bare_words(name: str) -> set[str]:
    """A name's words without accents and signs, in lower case: a detector's tokenizer gives "t - shirt." for
    "t-shirt", "cafe" for "café"."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.lower()) if unicodedata.category(c) != "Mn")
    return set(re.findall(r"\w+", plain))


def boxes_of(
    reply: Reply, names: Sequence[str], width: int, height: int, largest: float, counts: Counter[str]
) -> dict[str, Corners]:
    """The best box of each name, in inclusive pixels; counted: what is no box of the picture, covers nearly
    all of it, belongs to no name, or to several alike ("man" of a man in red and one in blue)."""
    best: dict[str, tuple[float, Corners]] = {}
    asked_for = {name: bare_words(name) for name in names}
    for each in json.loads(reply.text)["found"]:
        words = bare_words(each["name"])
        fits = {n: (len(words & own), -len(own - words)) for n, own in asked_for.items()}
        name = max(names, key=lambda n: fits[n])
        x1, y1, x2, y2 = each["box"]
        x1, y1, x2, y2 = max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)
        if not words & asked_for[name]:
            counts["boxes of nothing that was asked for"] += 1
        elif [*fits.values()].count(fits[name]) > 1:
            counts["boxes that fit several names alike"] += 1
        elif not (x2 - x1 >= SMALLEST and y2 - y1 >= SMALLEST):
            counts["boxes that are none"] += 1
        elif (x2 - x1) * (y2 - y1) > largest * width * height:
            counts["boxes of nearly the whole picture"] += 1
        elif name not in best or each["score"] > best[name][0]:
            best[name] = each["score"], (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
    counts["objects with a box"] += len(best)
    counts["objects without a box"] += len(names) - len(best)
    return {name: box for name, (_, box) in best.items()}


def rationale_of(told: dict[str, Any]) -> str:
    """A trajectory as text, a line a part."""
    verdict = f"abnormal, {told['category']}" if told["abnormal"] and told["category"] else "abnormal"
    ending = verdict if told["abnormal"] else NORMAL
    return "\n".join([*(f"{part.capitalize()}: {told[part]}" for part in PARTS), f"Conclusion: {ending}."])


def sample_of(row: dict[str, Any], root: str) -> Sample:
    """A kept row as a sample: what was known of the sub-clip, its own questions first, its trajectory as
    rationale of judgement and class, the detector's boxes as tracks of one frame."""
    bare, told = from_json(row["sample"], root, row["id"]), row["told"]
    shown, tracks = bare.video, bare.tracks
    if row.get("boxes"):
        frame = int(row["frame"])
        wrong = (frame,) if told["abnormal"] else ()
        boxes: dict[str, Corners] = {name: tuple(box) for name, box in row["boxes"].items()}
        tracks = tuple(Track(n, name, {frame: box}, wrong) for n, (name, box) in enumerate(boxes.items()))
    text = rationale_of(told)
    spans = bare.spans if isinstance(bare.spans, tuple) else None
    if spans is None:
        first: tuple[Question, ...] = asked(told["abnormal"], None, ())
    else:
        size = shown.width or 1, shown.height or 1
        first = grounding_questions(spans, tracks or (), clock_of(shown), *size)
    if bare.categories:
        first += asked(told["abnormal"], None, bare.categories)[-1:]
    own = {q.kind for q in bare.questions}
    first = (*bare.questions, *(q for q in first if q.kind not in own))
    questions = tuple(
        replace(q, rationale=text) if q.kind in ("judgement", "classification") else q for q in first
    )
    label = bare.label or ("anomalous" if told["abnormal"] else NORMAL)
    key = bare.key_object or (told["objects"][0] if told["objects"] else None)
    return replace(bare, label=label, tracks=tracks, questions=questions, rationale=text, key_object=key)


def write(rows: Sequence[dict[str, Any]], out: Any, lost: Sequence[Problem] = ()) -> list[Sample]:
    """Write the samples of the kept rows into `out`, whole or not at all. lost: sub-clips without a row.
    Raises InputError where none is kept."""
    kept = [row for row in rows if row["verdict"] == "kept"]
    if not kept:
        reasons = [reason for row in rows for reason in row["reasons"]] + [each.reason for each in lost]
        why, count = Counter(reasons).most_common(1)[0]
        raise InputError(f"{out}: none of {len(rows) + len(lost)} trajectories holds up; {count}: {why}")
    samples = [sample_of(row, str(out)) for row in kept]
    save(samples, out)
    return samples
