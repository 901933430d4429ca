"""The figures of a run's answers, odds and maps with all that stands beside them: the oracle's, the share
that is unscored, the share that a judge read."""

from collections.abc import Mapping

from bench import oracle, readings, unscored
from bench.answers import video_of
from bench.intervals import odds_metrics, summarise
from bench.metrics.stats import Interval
from bench.suite import Item, Suite, with_notes
from bench.tasks import HEATMAP, UNSCORED, heatmap
from tvad.data.sample import Sample


def of_answers(
    lines: list[dict], samples: list[Sample], items: list[Item], suite: Suite, hits: Mapping[str, float]
) -> dict[str, Interval]:
    """{"task.metric": Interval} of the lines of samples.jsonl; hits: per item id whether the best blind
    baseline is right."""
    found = with_notes(summarise(lines, suite, hits), suite, samples)
    found = found if suite.hidden else oracle.beside(found, items, suite, hits)
    return readings.beside(unscored.beside(found, lines), lines)


def of_odds(lines: list[dict], suite: Suite) -> dict[str, Interval]:
    """Of the lines of odds.jsonl."""
    return unscored.beside(odds_metrics(lines, suite), lines, f"odds_{UNSCORED}")


def of_maps(
    videos: dict[str, heatmap.VideoScores],
    without: Mapping[str, dict],
    samples: list[Sample],
    suite: Suite,
) -> dict[str, Interval]:
    """Of the videos that have a map; without: the line that says why another has none, by its id."""
    found = heatmap.metrics(videos, suite.resamples, suite.seed) if videos else {}
    asked = [without.get(s.id, {"task": HEATMAP, **video_of(s)}) for s in samples]
    return unscored.beside({f"{HEATMAP}.{name}": value for name, value in found.items()}, asked)
