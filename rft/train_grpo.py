"""Reinforcement fine-tuning of T-VAD by GRPO with verifiable rewards, in the manner of VAU-R1 (arXiv
2505.23504).

    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml          one process, CPU or GPU
    python -m rft.train_grpo --config configs/grpo/demo.yaml --training.learning_rate 1e-5 --seed 1
    accelerate launch --config_file configs/accelerate/ddp.yaml rft/train_grpo.py \
        --config configs/grpo/demo.yaml --engine server:http://127.0.0.1:8100    several, with rollout servers

Differs from the paper's GRPO where a configuration says so and otherwise in this: no KL term unless
`training.beta` is set, a clip and its prompt computed once per group, a loss over all tokens of the batch
(`training.loss_type`). Leaves out asynchronous rollouts. Rollouts run T-VAD in vLLM; without vLLM
transformers' generate takes over and says so. A killed run continues from its last checkpoint by the same
command.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a script, only rft/ is on the path

from rft.common import moved
from rft.grpo.config import GrpoRun
from tvad.common import cli, config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rft/train_grpo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/grpo/demo.yaml")
    known, rest = parser.parse_known_args(arguments)
    data = config.override(config.read_yaml(known.config), rest)
    moved.refuse(data, moved.GRPO, known.config)
    run = config.build(GrpoRun, data, known.config)
    from rft.grpo.train import Stopped, train

    try:
        trainer = train(run)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return stop.status
    print(
        f"{trainer.state.global_step} steps done; the trained model is in {Path(run.out, 'model')}, a page"
        f" about the run in {Path(run.out, 'run.html')}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
