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
command; with other settings only where --resume-with new asks for it.
"""

import sys
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a script, only rft/ is on the path

from rft.grpo.config import GrpoRun
from tvad.common import cli


def run(config: GrpoRun, resume_with: Literal["same", "new"] = "same") -> int:
    """Carry out a reinforcement run.

    Args:
        config: YAML file, or the name of a shipped one.
        resume_with: Whether a run that has done steps goes on with other settings than before (new), or is
            refused with those that differ (same).
    """
    from rft.grpo.train import train

    trainer = train(config, resume_with=resume_with)
    print(
        f"{trainer.state.global_step} steps done; the trained model is in {Path(config.out, 'model')}, a page"
        f" about the run in {Path(config.out, 'run.html')}"
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    return cli.run("rft/train_grpo.py", run, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main))
