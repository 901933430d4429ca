"""Multiple-choice accuracy for the `evaluate` library: `evaluate.load("bench/evaluate/mcq_accuracy")`. See
tvad/answer/letters.py."""

import datasets
import evaluate

from tvad.answer import letter, parse


class McqAccuracy(evaluate.Metric):
    """predictions: free-form responses; references: letters; options: per question the texts of its
    options."""

    def _info(self):
        features = {
            "predictions": datasets.Value("string"),
            "references": datasets.Value("string"),
            "options": datasets.Sequence(datasets.Value("string")),
        }
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=type(self).__doc__,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, options):
        found = [letter(parse(p).answer, o) for p, o in zip(predictions, options, strict=True)]
        hits = [f == r for f, r in zip(found, references, strict=True)]
        return {
            "accuracy": sum(hits) / len(hits),
            "parse_failure": sum(f is None for f in found) / len(found),
        }
