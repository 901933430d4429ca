"""What Prometheus is told: requests of this process by route (prometheus-fastapi-instrumentator), and the
queue as the database has it, so that several servers tell the same of it."""

from collections.abc import Iterator
from datetime import UTC

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator import Instrumentator
from sqlalchemy.exc import SQLAlchemyError

from leaderboard.store import Store


class QueueGauges(Collector):
    """The queue, at every look."""

    def __init__(self, store: Store):
        self.store = store

    def describe(self) -> list[Metric]:
        return []  # else the database would be asked before its tables are there

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("leaderboard_database_up", "Whether the database answers")
        try:
            watched, failures, (count, seconds) = (
                self.store.watch(),
                self.store.failures(),
                self.store.scoring(),
            )
        except SQLAlchemyError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        states = GaugeMetricFamily("leaderboard_submissions", "Submissions by state", labels=["state"])
        for state, number in sorted(watched.states.items()):
            states.add_metric([state], number)
        yield states
        yield GaugeMetricFamily(
            "leaderboard_queue_oldest_seconds", "Age of the oldest queued submission", watched.waits or 0.0
        )
        yield GaugeMetricFamily("leaderboard_scorers", "Scorers heard of lately", watched.scorers)
        if watched.heard is not None:
            heard = GaugeMetricFamily(
                "leaderboard_scorer_heartbeat_timestamp_seconds", "When the last scorer was heard of"
            )
            heard.add_metric([], watched.heard.replace(tzinfo=UTC).timestamp())
            yield heard
        yield CounterMetricFamily(
            "leaderboard_scoring_seconds",
            "Seconds that scoring took, each time in whole steps of 10",
            seconds,
        )
        yield CounterMetricFamily("leaderboard_scored", "Submissions in that sum", count)
        failed = CounterMetricFamily(
            "leaderboard_failures",
            "Tries without results, by kind; fail: for good, retry: made again",
            labels=["action", "kind"],
        )
        for (action, kind), number in sorted(failures.items()):
            failed.add_metric([action, kind], number)
        yield failed


def install(app: FastAPI, store: Store) -> CollectorRegistry:
    """Count the requests of an application; what /metrics tells."""
    registry = CollectorRegistry()
    # Paths that no route knows are counted as one: a visitor can make up any number of them.
    Instrumentator(registry=registry).instrument(app)
    registry.register(QueueGauges(store))
    return registry
