"""What the references themselves earn, of every metric, by the same code as any answer: what stands beside a
figure in every report. Where it is less than the best there is, the metric or the data is at fault, and a
model cannot reach it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.answers import asked_of, score_item
from bench.intervals import Columns
from bench.metrics.stats import Interval
from bench.suite import Item, Suite
from bench.tasks import MISSING, UNREAD, UNSCORED, lower_is_better
from tvad.answer import Reading
from tvad.data.gold import written


def reference_text(item: Item) -> str:
    """The reference as an answer: written by the protocol, a rationale standing in where there is none; of a
    dialogue turn its plain words."""
    return written(item.question, item.sample)


def lines(items: list[Item]) -> Iterator[dict]:
    """A line an item, as if it had been answered by its reference. It is written by the protocol, so that is
    how it is read, whatever the suite says of a model's family."""
    readings: dict[int, Reading] = {}  # one for many items: each makes its table of classes
    for item in items:
        if (reading := readings.get(id(item.reading))) is None:
            reading = replace(item.reading, boxes="permille", picture=None)
            readings[id(item.reading)] = reading
        own = replace(item, reading=reading)
        yield {**asked_of(item), "attempt": 0, **score_item(own, reference_text(item))}


def beside(
    metrics: Mapping[str, Interval], items: list[Item], suite: Suite, hits: Mapping[str, float] | None = None
) -> dict[str, Interval]:
    """The metrics of answers, each with what the references to the items earn; `hits`: see `Columns`."""
    columns = Columns(hits)
    for line in lines(items):
        columns.add(line)
    earned = columns.intervals(replace(suite, resamples=1))
    return {name: with_oracle(name, metric, _of(name, earned)) for name, metric in metrics.items()}


def _of(name: str, earned: Mapping[str, Interval]) -> float | None:
    if (found := earned.get(name)) is not None:
        return found.value
    metric = name.partition(".")[2]  # no reference is unread, missing or unscored
    return 0.0 if metric == MISSING or metric.endswith(UNSCORED) or metric.startswith(UNREAD) else None


def with_oracle(name: str, metric: Interval, value: float | None) -> Interval:
    """A metric with the oracle's value; its ceiling, where that is less than 1 and more is better."""
    short = value is not None and value < 1 - 1e-9 and not lower_is_better(name)
    return replace(metric, oracle=value, ceiling=value if short else None)
