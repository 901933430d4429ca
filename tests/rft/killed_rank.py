"""Run by tests/rft/test_killed_rank.py under torchrun: `rft.train_grpo` with the arguments given, but the
last process is killed while it draws the answers of its Nth rollout; 0: none is.

python killed_rank.py N ARGUMENTS…
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.models import hf
from rft import train_grpo
from tvad.common import cli

TOKEN = 3


def kill_in(rollout: int) -> None:
    """Have this process killed in a rollout."""
    sample, draw, begun = hf.HfModel.sample, hf.Draws.__call__, [0]

    def counted(self, requests, sampling):
        begun[0] += 1
        return sample(self, requests, sampling)

    def drawn(self, *arguments):
        if begun[0] == rollout and self.step == TOKEN:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, *arguments)

    hf.HfModel.sample, hf.Draws.__call__ = counted, drawn


if __name__ == "__main__":
    rollout = int(sys.argv[1])
    if rollout and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        kill_in(rollout)
    sys.exit(cli.guard(lambda: train_grpo.main(sys.argv[2:])))
