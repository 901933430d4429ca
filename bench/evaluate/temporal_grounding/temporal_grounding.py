"""Temporal grounding for the `evaluate` library: `evaluate.load("bench/evaluate/temporal_grounding")`. See
bench/metrics/temporal.py."""

import datasets
import evaluate

from bench.metrics.temporal import THRESHOLDS, scores
from tvad.answer import NONE, parse


class TemporalGrounding(evaluate.Metric):
    """predictions, references: texts in the answer protocol; mIoU and recalls over anomalous references,
    false alarms over normal ones. Where a reference or a prediction has several spans, also what is about
    several."""

    def _info(self):
        features = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=type(self).__doc__,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references):
        pairs = [(parse(p).spans, parse(r).spans) for p, r in zip(predictions, references, strict=True)]
        several = any(isinstance(s, tuple) and len(s) > 1 for pair in pairs for s in pair)
        names = ["miou", *(f"r@{t}" for t in THRESHOLDS)]
        if several:
            names += ["matched_iou", "best_iou", *(f"f1@{t}" for t in THRESHOLDS), "map"]
        values = [scores(found, wanted) for found, wanted in pairs if isinstance(wanted, tuple)]
        alarms = [float(found != NONE) for found, wanted in pairs if not isinstance(wanted, tuple)]
        means = {name: sum(v[name] for v in values) / len(values) if values else None for name in names}
        return means | {"false_alarm": sum(alarms) / len(alarms) if alarms else None}
