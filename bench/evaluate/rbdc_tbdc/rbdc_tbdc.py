"""RBDC and TBDC for the `evaluate` library: `evaluate.load("bench/evaluate/rbdc_tbdc")`. See
bench/metrics/detection.py."""

import datasets
import evaluate

from bench.metrics.detection import rbdc_tbdc


class RbdcTbdc(evaluate.Metric):
    """predictions: detections (video, frame, x1, y1, x2, y2, score); references: track rows (video, track,
    frame, x1, y1, x2, y2), as many as there are; both given as one list each to `compute` with num_frames,
    iou and track."""

    def _info(self):
        row = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=__doc__,
            citation="Ramachandra and Jones, Street Scene, WACV 2020",
            inputs_description=type(self).__doc__,
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(self, predictions, references, num_frames, iou=0.1, track=0.1):
        detections = [row for rows in predictions for row in rows]
        tracks = [row for rows in references for row in rows]
        return rbdc_tbdc(tracks, detections, num_frames, iou, track)
