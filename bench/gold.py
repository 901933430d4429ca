"""What the benchmark's metrics pay for an answer to a question whose reference is known: for `tvad data check
--gold`, which takes it by the entry point group `tvad.gold`."""

from dataclasses import replace

from bench.answers import line_scores, score_item
from bench.suite import Item, resolved
from bench.tasks import RATIONALE, TASKS
from tvad.answer import TAGS, Reading
from tvad.data.gold import Case, Earned, Scorer
from tvad.data.sample import DIALOGUE_TURN, Sample

# By which corruption a task's answers are told apart; a topic of a dialogue by its verdict or its words.
TELLS = {
    "mcq": ("letter",),
    "judgement": ("verdict",),
    "classification": ("class",),
    "temporal": ("span",),
    "spatial": ("box",),
    RATIONALE: ("rationale",),
}
WRITING = ("well_formed", "parse_failure")  # how an answer is written tells nothing of what it says


def scorer(samples: list[Sample]) -> Scorer:
    """By question: the scores of its task, and of its rationale where it has one."""
    read_as = resolved(Reading(), samples, "tvad", TAGS)

    def earn(case: Case, text: str) -> dict[str, Earned]:
        asked = Item(case.place, case.question.kind, case.sample, case.question, reading=read_as(case.sample))
        items = [asked]
        if case.question.rationale and asked.task in ("mcq", "judgement"):
            items.append(replace(asked, task=RATIONALE))
        return {name: own for item in items for name, own in _earned(item, text).items()}

    return earn


def _earned(item: Item, text: str) -> dict[str, Earned]:
    line = {"task": item.task, **score_item(item, text)}
    found = {}
    for name, value in line_scores(line).items():
        more = 1 - value if name in TASKS[item.task].LOWER else value
        found[f"{item.task}.{name}"] = Earned(more, _tells(item.task, name))
    return found


def _tells(task: str, name: str) -> tuple[str, ...]:
    if name in WRITING:
        return ()
    if task == DIALOGUE_TURN:
        return ("words",) if name.endswith("_bleu4") else ("verdict",)
    return TELLS[task]
