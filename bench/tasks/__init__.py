"""Tasks of the benchmark. A question task is a file with `score(answer, question, sample) -> {metric: value
per item}`; a value of None means that the metric does not apply to the item. `heatmap` scores whole data sets
instead."""

from bench.tasks import (
    classification,
    dialogue,
    faithfulness,
    judgement,
    mcq,
    mcq_circular,
    rationale,
    spatial,
    temporal,
)
from tvad.data.sample import DIALOGUE_TURN

CIRCULAR, RATIONALE, FAITHFULNESS = "mcq_circular", "rationale", "faithfulness"
TASKS = {
    "mcq": mcq,
    CIRCULAR: mcq_circular,
    "judgement": judgement,
    "classification": classification,
    "temporal": temporal,
    "spatial": spatial,
    RATIONALE: rationale,
    DIALOGUE_TURN: dialogue,
    FAITHFULNESS: faithfulness,
}
HEATMAP = "heatmap"
NAMES = (*TASKS, HEATMAP)
# What a table or a picture of a run shows first, in this order.
PRIMARIES = (
    *(f"{task}.{module.PRIMARY}" for task, module in TASKS.items()),
    "heatmap.micro_auc",
    "heatmap.pixel_auc",
    "heatmap.rbdc",
    "heatmap.tbdc",
)
