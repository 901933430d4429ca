"""Temporal grounding for the `evaluate` library: `evaluate.load("bench/evaluate/temporal_grounding")`. See
bench/metrics/temporal.py."""

import datasets
import evaluate

from bench.metrics.temporal import THRESHOLDS, iou
from tvad.answer import parse


class TemporalGrounding(evaluate.Metric):
    """predictions, references: texts in the answer protocol; mIoU and recalls over anomalous references,
    false alarms over normal ones."""

    def _info(self):
        features = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=type(self).__doc__,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references):
        pairs = [(parse(p).span, parse(r).span) for p, r in zip(predictions, references, strict=True)]
        values = [iou(found, wanted) for found, wanted in pairs if isinstance(wanted, tuple)]
        alarms = [float(found != "none") for found, wanted in pairs if not isinstance(wanted, tuple)]
        recalls = {
            f"r@{t}": sum(v >= t for v in values) / len(values) if values else None for t in THRESHOLDS
        }
        mean = {
            "miou": sum(values) / len(values) if values else None,
            "false_alarm": sum(alarms) / len(alarms) if alarms else None,
        }
        return mean | recalls
