"""Which metrics are judged together when two runs are compared, and the smallest change that would be seen.

Every further metric is a further chance of a false "worse", so the p-values of a family are adjusted for how
many there are (Holm, 1979). The families are the suite's (`families`); by default `primary`, the first
metrics of its tasks, and `other`, the rest. First metrics by slice are a family of their own, `slices`.
Between equals each family holds a false verdict in at most one of twenty comparisons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from bench.metrics.paired import holm
from bench.metrics.stats import Interval
from bench.tasks import CORPUS, HEATMAP, MISSING, PRIMARIES, UNREAD, UNSCORED, lower_is_better
from tvad.common.errors import InputError

ALPHA, POWER = 0.05, 0.8
PRIMARY, OTHER, SLICES = "primary", "other", "slices"
# What only a whole set of answers has: no mean over the questions that two runs share.
WHOLE = (
    *("balanced_accuracy", "f1", "above_blind", "circular_accuracy"),
    *("roc_auc", "average_precision", "odds_accuracy"),
)


@dataclass(frozen=True)
class Difference:
    """A metric before and after, and the paired difference with its interval. p: of `sign_flip` over videos;
    None where the difference is. family: with which metrics it is judged (`bench.families`); adjusted: p for
    as many as these are; sees: the smallest change that would be seen in four of five comparisons; videos:
    how many there are, where their signs are turned."""

    metric: str
    before: float | None
    after: float | None
    change: Interval
    p: float | None = None
    family: str = ""
    adjusted: float | None = None
    sees: float | None = None
    videos: int | None = None

    @property
    def verdict(self) -> str:
        """better, worse, or same where the adjusted p-value is above ALPHA."""
        p = self.p if self.adjusted is None else self.adjusted
        if self.change.value is None or p is None or p > ALPHA:
            return "same"
        return "better" if (self.change.value > 0) != lower_is_better(self.metric) else "worse"


def compared(metric: str) -> bool:
    """Whether two runs are compared by a metric "task.name", where they have it."""
    task, _, name = metric.partition(".")
    if task == HEATMAP:
        return name not in (MISSING, UNSCORED)
    return name not in WHOLE and not name.endswith((CORPUS, UNSCORED)) and not name.startswith(UNREAD)


def family_of(metric: str, declared: Mapping[str, Sequence[str]] | None) -> str:
    """The family of a metric "task.name"; of one that none names SLICES if it is of a slice, else OTHER."""
    known = {PRIMARY: PRIMARIES} if declared is None else declared
    rest = SLICES if metric.endswith("]") else OTHER
    return next((name for name, metrics in known.items() if metric in metrics), rest)


def seen(
    change: Interval,
    tests: int = 1,
    level: float = 0.95,
    alpha: float = ALPHA,
    videos: int | None = None,
) -> float | None:
    """The smallest true change that is told from none in POWER of all such comparisons at `alpha`
    (two-sided), where it is one of `tests` (Bonferroni's share, which Holm's first step has), from the width
    of its interval at `level`; None without one, and where no turning of the signs of so many `videos` could
    be rare enough: all of V alike are one of 2^(V - 1)."""
    if change.low is None or change.high is None:
        return None
    if videos is not None and tests * 2.0 ** (1 - videos) > alpha:
        return None
    law = NormalDist()
    error = (change.high - change.low) / 2 / law.inv_cdf((1 + level) / 2)
    return error * (law.inv_cdf(1 - alpha / 2 / tests) + law.inv_cdf(POWER))


def judged(
    differences: Sequence[Difference], declared: Mapping[str, Sequence[str]] | None = None
) -> list[Difference]:
    """The differences, family by family in the order they are declared, each with its family, its adjusted
    p-value and the smallest change that would be seen. Raises InputError for a declared metric that they
    lack, though they hold its task: the true one would be judged in another family."""
    has = {d.metric: d.metric.partition(".")[0] for d in differences}
    for family, metrics in (declared or {}).items():
        for metric in metrics:
            task = metric.partition(".")[0]
            if metric not in has and task in has.values():
                own = ", ".join(name for name in has if has[name] == task)
                raise InputError(
                    f"families.{family}: {metric!r} is not in both runs; of {task} they have {own}"
                )
    of = {d.metric: family_of(d.metric, declared) for d in differences}
    found = []
    for family in dict.fromkeys([*({PRIMARY: ()} if declared is None else declared), OTHER, SLICES]):
        rows = [d for d in differences if of[d.metric] == family]
        tested = [d for d in rows if d.p is not None]
        adjusted = dict(zip((d.metric for d in tested), holm([d.p or 0.0 for d in tested]), strict=True))
        for d in rows:
            sees = seen(d.change, max(1, len(tested)), videos=d.videos)
            found.append(replace(d, family=family, adjusted=adjusted.get(d.metric), sees=sees))
    return found
