"""Several videos' rounds of requests, asked together, and what comes of them as rows."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from tvad.annotate.construct import Construction, Found, construct
from tvad.annotate.teacher import Ask, Reply
from tvad.annotate.words import as_row
from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.check import Problem
from tvad.data.sample import Sample, to_json


def row_of(found: Found, stages: bool) -> dict[str, Any]:
    """A video's annotation as JSON."""
    sample, lit = found.sample, None
    if sample.mask:
        lit = [int(f) for f in masks.opened(sample.path(sample.mask)).lit().nonzero()[0]]
    row: dict[str, Any] = {
        "id": sample.id,
        "sample": to_json(sample),
        "lit": lit,
        "targets": [as_row(t) for t in found.timelines],
        "unanswered": found.unanswered,
        "counts": dict(sorted(found.counts.items())),
    }
    if stages:
        row["stages"] = found.stages
        row["sightings"] = {
            str(f): [{"box": list(s.box), "look": s.look} for s in seen]
            for f, seen in found.sightings.items()
        }
    return row


Rounds = Generator[list[Ask], Sequence[Reply], dict[str, Any]]


def constructed(how: Construction, stages: bool, sample: Sample) -> Rounds:
    """T-VAU's construction of one video's row."""
    return row_of((yield from construct(sample, how)), stages)


def annotated(
    samples: Sequence[Sample],
    make: Callable[[Sample], Rounds],
    ask: Callable[[list[Ask], Any], list[Reply]],
    bar: Any = None,
) -> list[dict[str, Any] | Problem]:
    """The rows of some videos by `make`, whose requests are asked together, in order; a Problem for a video
    that cannot be read."""
    found: list[dict[str, Any] | Problem] = [Problem(sample.id, "not asked") for sample in samples]
    running = [(n, make(sample)) for n, sample in enumerate(samples)]
    sent: dict[int, Any] = dict.fromkeys(range(len(samples)))
    while running:
        waiting, asks = [], []
        for n, rounds in running:
            try:
                wanted = rounds.send(sent[n])
            except StopIteration as done:
                found[n] = done.value
            except InputError as error:
                found[n] = Problem(samples[n].id, str(error))
            else:
                waiting.append((n, rounds, len(wanted)))
                asks += wanted
        answers = iter(ask(asks, bar)) if asks else iter(())
        sent = {n: [next(answers) for _ in range(count)] for n, _, count in waiting}
        running = [(n, rounds) for n, rounds, _ in waiting]
    return found
