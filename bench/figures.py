"""The figures of a run's answers with all that stands beside them: the oracle's, the share that is unscored,
the share that a judge read."""

from collections.abc import Mapping

from bench import oracle, readings, unscored
from bench.intervals import summarise
from bench.metrics.stats import Interval
from bench.suite import Item, Suite, with_notes
from tvad.data.sample import Sample


def of_answers(
    lines: list[dict], samples: list[Sample], items: list[Item], suite: Suite, hits: Mapping[str, float]
) -> dict[str, Interval]:
    """{"task.metric": Interval} of the lines of samples.jsonl; hits: per item id whether the best blind
    baseline is right."""
    found = with_notes(summarise(lines, suite, hits), suite, samples)
    found = found if suite.hidden else oracle.beside(found, items, suite, hits)
    return readings.beside(unscored.beside(found, lines), lines)
