"""What the project's own rewards pay for an answer to a question whose reference is known: for `tvad data
check --gold`, which takes it by the entry point group `tvad.gold`. Rewards that need the engine (`evidence`)
are left out, and VAU-R1's, which pay by their published code."""

from bench.suite import resolved
from rft.grpo.mixture import row_of
from rft.rewards.base import needs_of
from rft.rewards.mix import OWN
from tvad.answer import TAGS, Reading
from tvad.data.gold import Case, Earned, Scorer
from tvad.data.sample import Sample

# By which corruption a reward tells answers apart; the others pay how an answer is written.
TELLS = {
    "answer": ("letter", "verdict", "class"),
    "temporal_iou": ("span",),
    "temporal_iou.matching": ("span",),
    "box": ("box",),
    "words": ("words",),
}


def scorer(samples: list[Sample]) -> Scorer:
    read_as = resolved(Reading(), samples, "tvad", TAGS)
    paying = {name: reward for name, reward in OWN.items() if not needs_of(reward)}

    def earn(case: Case, text: str) -> dict[str, Earned]:
        row = row_of(case.sample, case.question, reading=read_as(case.sample))
        columns = {name: [value] for name, value in row.items() if name != "prompt"}
        values = {name: reward([text], **columns)[0] for name, reward in paying.items()}
        return {
            f"rewards.{name}": Earned(value, TELLS.get(name, ()))
            for name, value in values.items()
            if value is not None
        }

    return earn
