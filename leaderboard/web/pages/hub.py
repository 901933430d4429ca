"""Results in the forms of the Hugging Face Hub: `eval.yaml` for the data set that a suite is published as,
and for every model what belongs into `.eval_results/` of its repository. Both as documented at
huggingface.co/docs/hub/eval-results; values are read as the table's page reads them."""

from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from leaderboard.store import ranking
from leaderboard.store.standings import UNANSWERED
from leaderboard.web.pages.downloads import Downloads

FRAMEWORK = "tvad-bench"  # whose harness scores


def _text(content: object) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def write(pages: Downloads, folder: Path) -> int:
    """Write hub/SUITE/eval.yaml and hub/SUITE/eval_results/HASH.yaml of every suite that names its data set;
    returns how many."""
    board, count = pages.board, 0
    for name, entry in board.suites.items():
        table = board.table_of(name)
        if not entry.hub or entry.split not in pages.splits(table):
            continue
        found = pages.every_row(table, entry.split)
        metrics = ranking.columns(pages.store.metrics(table, entry.split, found["version"]))
        place = folder / "hub" / name
        (place / "eval_results").mkdir(parents=True)
        tasks = [{"id": metric, "config": "default", "split": "test"} for metric in metrics]
        about = {
            "name": f"{board.title}: {name}",
            "description": f"Version {found['version']}, {entry.split} labels; 95 % intervals over videos.",
            "evaluation_framework": FRAMEWORK,
            "tasks": tasks,
        }
        (place / "eval.yaml").write_text(_text(about), encoding="utf-8")
        for row in found["models"]:
            if row["unranked"] == UNANSWERED:  # what has no rank here gives no figure for elsewhere
                continue
            doubts = "; flagged" * row["flagged"] + f"; run again: {row['rerun']}" * bool(row["rerun"])
            entries = [
                EvalResultEntry(
                    dataset_id=entry.hub,
                    task_id=metric,
                    value=value["value"],
                    date=row["created"],
                    source_url=f"{board.address}/models/{row['hash']}" if board.address else None,
                    source_name=board.title if board.address else None,
                    notes=f"suite version {found['version']}"
                    + (
                        f"; interval {value['low']:.3f}–{value['high']:.3f}"
                        if value["low"] is not None
                        else ""
                    )
                    + doubts,
                )
                for metric in metrics
                if (value := row["metrics"].get(metric))
            ]
            if entries:
                text = _text(eval_result_entries_to_yaml(entries))
                (place / "eval_results" / f"{row['hash']}.yaml").write_text(text, encoding="utf-8")
                count += 1
        count += 1
    return count
