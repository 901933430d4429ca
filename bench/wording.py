"""Metrics in words, for people: what `mcq.accuracy` is called in reports and on a leaderboard. Files, options
and interfaces keep the keys."""

import re

from bench.by_slice import parts
from bench.tasks import (
    CIRCULAR,
    CORPUS,
    FAITHFULNESS,
    HEATMAP,
    MISSING,
    RATIONALE,
    READ_BY_JUDGE,
    UNREAD,
    UNSCORED,
)

TASKS = {
    "mcq": "Multiple choice",
    CIRCULAR: "Multiple choice, every rotation",
    "judgement": "Anomaly or not",
    "classification": "Kind of anomaly",
    "temporal": "When",
    "spatial": "Where",
    RATIONALE: "Reasoning",
    "dialogue": "Dialogue",
    "dialogue_talk": "Dialogue, as a talk",
    "dialogue_figure": "Dialogue, as one answer",
    FAITHFULNESS: "Faithfulness",
    HEATMAP: "Heatmap",
}
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "circular_accuracy": "right in every rotation",
    "odds_accuracy": "accuracy of the likeliest letter",
    "above_blind": "above the best blind baseline",
    "f1": "F1",
    "sensitivity": "anomalies found",
    "specificity": "normal clips cleared",
    "jaccard": "overlap of the classes named",
    "roc_auc": "area under ROC",
    "average_precision": "average precision",
    "miou": "mean IoU",
    "matched_iou": "IoU of matched spans",
    "best_iou": "IoU of the best span",
    "map": "mean average precision",
    "class_map": "mean average precision by class",
    "false_alarm": "false alarms",
    "pointing": "points at the object",
    "rouge_l": "ROUGE-L",
    "names_object": "names the key object",
    "consistent": "agrees with its option",
    "yes_no": "yes or no",
    "changes": "changes to normal",
    "micro_auc": "frame AUC",
    "micro_ap": "frame average precision",
    "macro_auc": "frame AUC, mean over videos",
    "ano_auc": "frame AUC, anomalous videos",
    "pixel_auc": "pixel AUC",
    "rbdc": "regions found (RBDC)",
    "tbdc": "tracks found (TBDC)",
    "parse_failure": "unreadable answers",
    "well_formed": "well-formed answers",
    MISSING: "missing answers",
    UNSCORED: "answers without a score",
    READ_BY_JUDGE: "read by a judge model",
}


def task_in_words(task: str) -> str:
    """A task's name for people; of an unknown one its own."""
    return TASKS.get(task, task.replace("_", " "))


def _measure(name: str) -> str:
    """A metric's name without its task."""
    if name in METRICS:
        return METRICS[name]
    if name.endswith(CORPUS):
        return f"{_measure(name.removesuffix(CORPUS))}, over all words"
    if at := re.fullmatch(r"(r|f1)@([\d.]+)", name):
        return f"{'share with' if at[1] == 'r' else 'F1 at'} IoU {'≥ ' if at[1] == 'r' else ''}{at[2]}"
    if name.startswith(UNREAD):
        return f"unread: {name.removeprefix(UNREAD).replace('_', ' ')}"
    if bleu := re.fullmatch(r"(?:(\w+)_)?bleu4", name):
        return f"{bleu[1].replace('_', ' ')}, BLEU-4" if bleu[1] else "BLEU-4"
    if ":" in name:  # of one class
        kind, _, of = name.partition(":")
        return f"{_measure(kind)}, {of}"
    return name.replace("_", " ")


def metric_parts(metric: str) -> tuple[str, str]:
    """(task, measure) in words of a metric "task.name", or of one of a slice (`bench.by_slice.name_of`)."""
    whole, kind, value = parts(metric) or (metric, "", "")
    task, dot, name = whole.partition(".")
    if not dot:
        return "", metric.replace("_", " ")
    sliced = f", {kind.replace('_', ' ')}: {value}" if kind else ""
    return task_in_words(task), _measure(name) + sliced


def metric_in_words(metric: str) -> str:
    """A metric's name for people: "Multiple choice: accuracy"."""
    task, measure = metric_parts(metric)
    return f"{task}: {measure}" if task else measure
