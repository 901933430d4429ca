"""Gold closure: the reference to every question, written as an answer, is read back without a defect and
earns the most of whatever scores; a corrupted one (letter swapped, span shifted, box moved) earns less.

What scores is not known here: packages above name a function each in the entry point group `tvad.gold`, which
takes the samples and gives a `Scorer`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points

from tqdm import tqdm

from tvad.answer import NONE, Box, judged, parse, written_boxes, written_spans
from tvad.data.check import Problem
from tvad.data.dialogue import PARTS, turns
from tvad.data.questions import LETTERS, TOPICS
from tvad.data.sample import DIALOGUE_TURN, Question, Sample

GROUP = "tvad.gold"
# For a rationale, which the protocol asks for; no word of it is anybody's option ("No").
STAND_IN = "Reasons are left out here."
OTHERWISE = "Nothing of the kind occurs"  # for a rationale or a reply that is wrong
CORNERS = tuple((x, y, x + 10.0, y + 10.0) for x in (0.0, 990.0) for y in (0.0, 990.0))
EXACT = 1e-9


@dataclass(frozen=True)
class Case:
    """A question with its reference as an answer, and what becomes wrong in it -> that answer."""

    sample: Sample
    question: Question
    place: str
    right: str
    wrong: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Earned:
    """What an answer earns of one metric or reward, 0 to 1, more is better; `tells`: the corruptions that
    must lower it (letter, verdict, class, span, box, rationale, words)."""

    value: float
    tells: tuple[str, ...] = ()


Scorer = Callable[[Case, str], dict[str, Earned]]


def written(question: Question, sample: Sample) -> str:
    """The reference as a whole answer: with a rationale, if only one that stands in; of a dialogue turn its
    plain words."""
    if question.kind == DIALOGUE_TURN:
        return question.answer
    return sample.solution(question if question.rationale else replace(question, rationale=STAND_IN))


def cases(samples: Sequence[Sample]) -> Iterator[Case]:
    """Every question and every turn of a dialogue, in each of its forms."""
    classes = [q.answer for s in samples for q in s.questions if q.kind == "classification"]
    for sample in samples:
        for n, question in enumerate(sample.questions):
            wrong = _corrupted(question, sample, classes)
            answers = {what: written(other, sample) for what, other in wrong.items()}
            yield Case(sample, question, f"question {n}", written(question, sample), answers)
        for form in ("stored", "talk", "figure"):
            for n, (asked, replied) in enumerate(turns(sample, form)):
                question = Question(DIALOGUE_TURN, asked, replied, None, TOPICS.get(asked))
                yield Case(sample, question, f"{form} turn {n}", replied, _misreplied(question))


def _corrupted(question: Question, sample: Sample, classes: list[str]) -> dict[str, Question]:
    """What is wrong -> the question with that for its reference."""
    found: dict[str, Question] = {}
    kind, answer = question.kind, question.answer
    if kind == "mcq" and (count := len(question.options or ())) > 1:
        found["letter"] = replace(question, answer=LETTERS[(LETTERS.index(answer) + 1) % count])
    if kind in ("judgement", "temporal") and (verdict := judged(answer)) is not None:
        yes, no = ("Yes", "No") if kind == "judgement" else ("Anomaly", "Normal")
        found["verdict"] = replace(question, answer=no if verdict else yes)
    if kind == "classification":
        own = {answer, *sample.categories}
        found["class"] = replace(question, answer=next((c for c in classes if c not in own), OTHERWISE))
    if kind == "temporal":
        spans = question.spans if isinstance(question.spans, tuple) else ()
        end = max((b for _, b in spans), default=0.0)
        later = tuple((a + end, b + end) for a, b in spans) or ((0.0, 1.0),)
        found["span"] = replace(question, spans=later)
    if kind == "spatial" and question.boxes:
        free = next((c for c in CORNERS if all(_apart(c, b.xyxy) for b in question.boxes)), None)
        if free is not None:  # a box over the whole picture cannot be moved away from itself
            found["box"] = replace(question, boxes=tuple(Box(free, b.t) for b in question.boxes))
    if question.rationale:
        found["rationale"] = replace(question, rationale=OTHERWISE)
    return found


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def _misreplied(question: Question) -> dict[str, str]:
    """What is wrong -> the reply, of a turn in plain words."""
    reply, found = question.answer, {}
    if question.topic in ("judgement", "structured"):
        if (verdict := judged(reply.split(".")[0])) is not None:
            found["verdict"] = " ".join(["No." if verdict else "Yes.", *reply.partition(".")[2:]]).strip()
        if question.topic == "judgement":
            return found
        parts = reply
        for name in PARTS.values():
            parts = parts.replace(f"{name}: ", f"{name}: {OTHERWISE} ")
        return found if parts == reply else found | {"words": parts}
    return {"words": f"{OTHERWISE} {reply}"}


def read_back(case: Case) -> list[str]:
    """What is lost when the reference is read, and which corrupted answers are read as the same."""
    question = case.question
    if question.kind == DIALOGUE_TURN:
        return []
    read = parse(case.right, "strict")
    found = [f"the reference cannot be read: {defect}" for defect in read.defects]
    spans = written_spans(question.spans) if isinstance(question.spans, tuple) else question.spans
    meant = {
        "answer": (read.answer, question.answer.strip()),
        "times": (read.spans, spans if question.kind == "temporal" else None),
        "boxes": (read.boxes, written_boxes(question.boxes) if question.kind == "spatial" else ()),
    }
    found += [f"the reference's {what} is read as {a!r}" for what, (a, b) in meant.items() if a != b]
    if isinstance(read.spans, str) and read.spans != NONE:
        found.append(f"the reference's times are read as {read.spans!r}")
    return found + [
        f"a wrong {what} is read as right" for what, text in case.wrong.items() if parse(text) == read
    ]


def earned(case: Case, scorer: Scorer) -> list[str]:
    """Where the reference earns less than all, and where a corrupted one earns as much."""
    best = scorer(case, case.right)
    found = [
        f"the reference earns {own.value:.3f} of {name}"
        for name, own in best.items()
        if own.value < 1 - EXACT
    ]
    for what, text in case.wrong.items():
        telling = {name: own for name, own in best.items() if what in own.tells and own.value > 0}
        for name, own in scorer(case, text).items() if telling else ():
            if name in telling and own.value > telling[name].value - EXACT:
                found.append(f"a wrong {what} earns {own.value:.3f} of {name}, as the reference does")
    return found


def scorers(samples: Sequence[Sample]) -> dict[str, Scorer]:
    """What scores, by the name under which an installed package gives it."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    return {entry.name: entry.load()(list(samples)) for entry in found}


def check(samples: Sequence[Sample], by: dict[str, Scorer]) -> tuple[int, list[Problem]]:
    """How many answers were held against reading and the scorers, and what is not closed; samples without
    problems of their own."""
    problems: list[Problem] = []
    count = 0
    for case in tqdm(cases(samples), unit="answer", desc="gold", disable=None):
        count += 1
        reasons = read_back(case)
        for scorer in by.values():
            reasons += earned(case, scorer)
        problems += [Problem(case.sample.id, f"{case.place}: {reason}") for reason in reasons]
    return count, problems
