"""Tasks of the benchmark. A question task is a file with `score(answer, question) -> {metric: value per item}`; a value of None means
that the metric does not apply to the item. `heatmap` scores whole data sets instead."""

from bench.tasks import classification, dialogue, judgement, mcq, spatial, temporal
from tvad.data.sample import DIALOGUE_TURN

TASKS = {
    "mcq": mcq, "judgement": judgement, "classification": classification, "temporal": temporal, "spatial": spatial, DIALOGUE_TURN: dialogue,
}  # fmt: skip
HEATMAP = "heatmap"
NAMES = (*TASKS, HEATMAP)
