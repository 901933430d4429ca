"""Supervised training of T-VAD: one stage or a curriculum of them, from a YAML file. The last stage's merged
model is the result.

    accelerate launch rft/train_stage.py --config configs/stage/tiny.yaml           one process, CPU or GPU
    python -m rft.train_stage --config configs/stage/tiny.yaml --seed 1             the same, a key overridden
    accelerate launch --multi_gpu rft/train_stage.py --config configs/stage/tiny.yaml   several

T-VAD's stages (arXiv 2511.00524) are the files tvad-7b-*.yaml; what the paper leaves open is marked there.
Beyond the paper: stage 0, which makes a tiny backbone out of nothing, Muon, and the check that nothing else
than a stage's own parameters changed. A killed run continues: finished stages are skipped, the current one
resumes from its last checkpoint.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a script, only rft/ is on the path

from rft.common import moved
from rft.curriculum.config import Curriculum
from tvad.common import cli, config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rft/train_stage.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/stage/tiny.yaml")
    known, rest = parser.parse_known_args(arguments)
    data = config.override(config.read_yaml(known.config), rest)
    moved.refuse_in_stages(data, known.config)
    plan = config.build(Curriculum, data, known.config)
    from rft.curriculum.train import train

    print(f"the trained model is in {train(plan)}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
