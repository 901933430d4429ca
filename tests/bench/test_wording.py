"""Metrics in words."""

import pytest

from bench.tasks import NAMES, PRIMARIES
from bench.wording import METRICS, TASKS, metric_in_words, metric_parts


def test_every_task_and_first_metric_has_words_of_its_own():
    assert set(NAMES) <= set(TASKS)
    said = [metric_in_words(name) for name in PRIMARIES]
    assert len(set(said)) == len(said), "two metrics that are called alike could not be told apart"
    assert all("_" not in words and ": " in words for words in said)
    assert all(name.partition(".")[2] in METRICS or "bleu4" in name for name in PRIMARIES)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mcq.accuracy", "Multiple choice: accuracy"),
        ("temporal.r@0.5", "When: share with IoU ≥ 0.5"),
        ("temporal.f1@0.3", "When: F1 at IoU 0.3"),
        ("dialogue.target_bleu4_corpus", "Dialogue: target, BLEU-4, over all words"),
        ("mcq.unread_no_letter", "Multiple choice: unread: no letter"),
        ("mcq.accuracy[light=night]", "Multiple choice: accuracy, light: night"),
        ("heatmap.ano_auc:fire", "Heatmap: frame AUC, anomalous videos, fire"),
        ("someone.else_s", "someone: else s"),
        ("nothing", "nothing"),
    ],
)
def test_a_metric_is_said_in_words(name, words):
    assert metric_in_words(name) == words
    task, measure = metric_parts(name)
    assert words == (f"{task}: {measure}" if task else measure)
