"""Clips that cannot be decoded in the middle of a run, where it is to go on without them (`skip_bad_clips`):
their questions give way to others, by name and counted. Off by default: such a clip ends the run."""

import sys
import zlib
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from datasets import Dataset
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore

Row = dict[str, Any]


class BadClips:
    """Which clips of `store` could not be decoded: path -> the reason."""

    def __init__(self, store: ClipStore):
        self.store = store
        self.found: dict[str, str] = {}

    def replaced(self, trainer: Any, inputs: list[Row]) -> list[Row]:
        """The rows that a trainer is to draw for, those about bad clips replaced; their share is logged."""
        rows = trainer.train_dataset if trainer.model.training else trainer.eval_dataset
        agreed = False
        while not agreed:  # a process may have kept a clip whose file is gone where others look for it
            kept, share = self.readable(inputs, rows, trainer.args.seed, trainer.state.global_step)
            agreed = self._agreed()
        trainer._log_metric("clips/skipped", share)
        return kept

    def _agreed(self) -> bool:
        """Whether all processes found the same clips bad; what any of them found, all know from here on."""
        parts = gather_object([self.found])
        for part in parts:
            self.found |= {path: reason for path, reason in part.items() if path not in self.found}
        return all(part.keys() == self.found.keys() for part in parts)

    def readable(self, inputs: list[Row], rows: Dataset, seed: int, step: int) -> tuple[list[Row], float]:
        """The rows of a rollout, those about a clip that cannot be decoded replaced, and the share of these.

        A question gives way to one of its task, always to the same one, whichever process asks: rows of one
        group may lie in several. Raises InputError where no clip of the data can be decoded.
        """
        replaced = 0
        kept = []
        for row in inputs:
            if self._is_bad(row, step):
                replaced += 1
                row = row | self._other(row, rows, seed, step)
            kept.append(row)
        return kept, replaced / max(1, len(inputs))

    def _is_bad(self, row: Row, step: int) -> bool:
        path = row["video"]
        if path not in self.found:
            try:
                self.store.load(path)
            except InputError as error:
                self.found[path] = str(error)
                tqdm.write(
                    f"WARNING: step {step + 1}: skipped from here on, its questions give way to others:"
                    f" {row['sample_id']}: {error} ({len(self.found)} clips so far)",
                    file=sys.stderr,
                )
        return path in self.found

    def _other(self, row: Row, rows: Dataset, seed: int, step: int) -> Row:
        rng = np.random.default_rng([seed, zlib.crc32(f"{row['sample_id']} {row['prompt']}".encode())])
        tasks = np.array([task == row["task"] for task in rows["task"]])
        order = rng.permutation(len(rows))
        for i in [*order[tasks[order]], *order[~tasks[order]]]:
            if not self._is_bad(other := rows[int(i)], step):
                return other
        raise InputError("skip_bad_clips: no clip of the data can be decoded")

    def told(self) -> str:
        """What was skipped, for people; empty where nothing was."""
        names = ", ".join(self.found)
        return f"skip_bad_clips: {len(self.found)} clips were skipped: {names}" if self.found else ""
