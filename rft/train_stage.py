"""Supervised training of T-VAD: one stage or a curriculum of them, from a YAML file. The last stage's merged
model is the result.

    accelerate launch rft/train_stage.py --config configs/stage/tiny.yaml           one process, CPU or GPU
    python -m rft.train_stage --config configs/stage/tiny.yaml --seed 1             the same, a key overridden
    accelerate launch --multi_gpu rft/train_stage.py --config configs/stage/tiny.yaml   several GPUs
    torchrun --standalone --nproc_per_node 2 -- rft/train_stage.py --config tiny        several CPU processes

T-VAD's stages (arXiv 2511.00524) are the files tvad-7b-*.yaml; what the paper leaves open is marked there.
Beyond the paper: stage 0, which makes a tiny backbone out of nothing, Muon, and the check that nothing else
than a stage's own parameters changed. A killed run continues: finished stages are skipped, the current one
resumes from its last checkpoint, with other settings only where --resume-with new asks for it.
"""

import sys
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a script, only rft/ is on the path

from rft.curriculum.config import Curriculum
from tvad.common import cli


def run(config: Curriculum, resume_with: Literal["same", "new"] = "same") -> int:
    """Carry out a curriculum.

    Args:
        config: YAML file, or the name of a shipped one.
        resume_with: Whether a stage that has begun goes on with other settings than before (new), or is
            refused with those that differ (same).
    """
    from rft.curriculum.train import train

    print(f"the trained model is in {train(config, resume_with=resume_with)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("rft/train_stage.py", run, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
