"""What a training leaves, as two of them are compared: its loader, its log without times, its weights; and a
script that two processes run together."""

import hashlib
import os
import subprocess
import sys

from conftest import ROOT

TIMED = ("runtime", "per_second", "step_time", "flos")


def loader_of(trainer) -> dict:
    """How a trainer's loader is set up."""
    loader = trainer.get_train_dataloader()
    names = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "in_order")
    found = {name: getattr(loader, name, None) for name in names}
    return found | {"context": type(getattr(loader, "multiprocessing_context", None)).__name__}


def untimed(history: list[dict]) -> list[dict]:
    """A trainer's log without what the clock says."""
    return [{key: value for key, value in row.items() if not key.endswith(TIMED)} for row in history]


def weights_hash(model) -> str:
    found = hashlib.sha256()
    for parameter in model.parameters():
        found.update(parameter.detach().float().numpy().tobytes())
    return found.hexdigest()


# A process that goes while its group's threads live is aborted now and then.
LEAVES = """
from tvad.common.leaving import leave
leave()
"""


def in_two_processes(script, text: str, *arguments, timeout: int = 120) -> str:
    """What `text`, written to the path `script`, prints in two gloo processes; they leave their group at its
    end, as the commands do, and must end well."""
    script.write_text(text + LEAVES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
