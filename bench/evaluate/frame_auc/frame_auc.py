"""Micro and macro frame AUC for the `evaluate` library: `evaluate.load("bench/evaluate/frame_auc")`. See
bench/metrics/frame.py."""

import datasets
import evaluate
import numpy as np

from bench.metrics.frame import auc


class FrameAuc(evaluate.Metric):
    """predictions: per video the scores of its frames; references: per video the labels, 0 or 1."""

    def _info(self):
        features = {
            "predictions": datasets.Sequence(datasets.Value("float64")),
            "references": datasets.Sequence(datasets.Value("int64")),
        }
        return evaluate.MetricInfo(
            description=__doc__,
            citation="Acsintoae et al., UBnormal, CVPR 2022",
            inputs_description=type(self).__doc__,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, padded=True):
        return auc([np.asarray(r) for r in references], [np.asarray(p) for p in predictions], padded)
