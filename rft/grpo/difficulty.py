"""A curriculum by difficulty: questions that the start sometimes answers teach, those that it always or never
answers do not."""

from pathlib import Path

import numpy as np

from bench.run_folder import open_run
from bench.suite import Suite, load
from bench.tasks import TASKS
from tvad.common import config
from tvad.common.errors import InputError


def pass_rates(run: str | Path) -> dict[tuple[str, str], float]:
    """(sample id, question text) -> mean of the task's primary metric over the answers of a benchmark run,
    best with several drawn answers a question (`bench run --data TRAIN --decode.n 8 --decode.temperature
    1`)."""
    record, lines, _ = open_run(run)
    suite = config.build(Suite, record["suite"], str(Path(run) / "run.json"))
    by_id = {item.id: item for item in load(suite)[1]}
    scores: dict[str, list[float]] = {}
    for line in lines:
        primary = TASKS[line["task"]].PRIMARY
        if primary in line["scores"]:
            scores.setdefault(line["id"], []).append(line["scores"][primary])
    return {
        (by_id[key].sample.id, by_id[key].question.text): float(np.mean(values))
        for key, values in scores.items()
    }


def weights(rates: dict[tuple[str, str], float], floor: float = 0.05) -> dict[tuple[str, str], float]:
    """Chance of a question, 1 where half of the answers are right: 4 p (1 - p), the variance of a right/wrong
    reward over its largest value; at least `floor`, so that what is hard now may be tried later."""
    if not 0 <= floor <= 1:
        raise InputError(f"difficulty: floor must lie in 0 to 1, found {floor}")
    return {key: max(floor, 4 * p * (1 - p)) for key, p in rates.items()}
