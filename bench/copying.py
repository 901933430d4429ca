"""What the turns of a dialogue earn without looking, metric by metric, for `bench audit`: by the baselines
that copy a training part's replies and by the code that scores any answer, so that runs of them say the
same; and how the references of a turn score each other, each against the others alone."""

from collections.abc import Sequence

import numpy as np

from bench.answers import asked_of, cluster, score_item
from bench.intervals import summarise
from bench.metrics.stats import Interval, mean_interval
from bench.models.base import Request, Sampling
from bench.models.baseline import Baseline
from bench.suite import Item, Suite, dialogue_items
from bench.tasks.dialogue import among_themselves
from tvad.data.sample import DIALOGUE_TURN, Sample
from tvad.data.video import Frames

COPIED = {"neighbour": "nearest train window", "window": "a random one", "prior": "most frequent"}
AMONG = "references among themselves"
Rows = dict[str, dict[str, Interval]]  # metric -> what earned it -> how much


def earned(samples: Sequence[Sample], train: str | None, seed: int = 0) -> Rows:
    """Of the dialogues that samples hold; train: the data set whose replies are copied, None for references
    alone. Empty where there is no dialogue."""
    items = [item for s in samples for item in dialogue_items(s, DIALOGUE_TURN, s.dialogue or ())]
    found: Rows = {}
    if items and train is not None:
        plan = Suite("audit", "", seed=seed)
        for which, name in COPIED.items():
            for metric, interval in summarise(_lines(items, f"{which}={train}", seed), plan).items():
                found.setdefault(metric.partition(".")[2], {})[name] = interval
    for metric, interval in references(items).items():
        found.setdefault(metric, {})[AMONG] = interval
    return found


def _lines(items: list[Item], which: str, seed: int) -> list[dict]:
    """As samples.jsonl has them. No pixel is looked at, so none is decoded."""
    unseen = Frames(np.empty((0, 1, 1, 3), np.uint8), np.empty(0), np.empty(0, np.int64), 1.0, 0)
    requests = [Request([], unseen, item, item.id) for item in items]
    given = Baseline(which).sample(requests, Sampling(seed=seed))
    return [
        {**asked_of(i), "attempt": 0, **score_item(i, said.text)}
        for i, (said,) in zip(items, given, strict=True)
    ]


def references(items: Sequence[Item]) -> dict[str, Interval]:
    """Metric -> what the references of the items' turns earn against each other, over videos."""
    scores: dict[str, tuple[list[float], list[str]]] = {}
    for item in items:
        for metric, value in among_themselves(item.question, item.sample).items():
            values, videos = scores.setdefault(metric, ([], []))
            values.append(value)
            videos.append(cluster(asked_of(item)))
    return {metric: mean_interval(np.array(v), np.array(videos)) for metric, (v, videos) in scores.items()}
