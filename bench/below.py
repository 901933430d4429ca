"""What stands below a run's table of metrics: those by slice, what the answers cost, and what can be had
without looking."""

from pathlib import Path

from bench import blind, by_slice, usage
from bench.run_folder import read_record


def lines(folder: str | Path) -> list[str]:
    """Of a finished run, as text; no line where there is nothing to say."""
    sliced, cost = by_slice.read(folder), usage.read(folder)
    return [
        *([by_slice.table(sliced)] if sliced else []),
        *([usage.table(cost)] if cost else []),
        *blind.warnings(read_record(folder)["blind"]),
    ]
