"""Tasks of the benchmark. A question task is a file with `score(answer, question) -> {metric: value per item}`; a value of None means
that the metric does not apply to the item. `heatmap` scores whole data sets instead."""

from bench.tasks import classification, judgement, mcq, spatial, temporal

TASKS = {"mcq": mcq, "judgement": judgement, "classification": classification, "temporal": temporal, "spatial": spatial}
HEATMAP = "heatmap"
NAMES = (*TASKS, HEATMAP)
