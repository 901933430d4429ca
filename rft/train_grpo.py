"""Reinforcement fine-tuning of T-VAD by GRPO with verifiable rewards, in the manner of VAU-R1 (arXiv 2505.23504).

    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml
    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml --training.learning_rate 1e-5 --seed 1

Rollouts run T-VAD in vLLM, in this process; without vLLM, transformers' generate takes over and says so. A killed run continues
from its last checkpoint. Differs from the published method where the configuration says so: no KL term unless `beta` is set, clip
and prompt computed once per group, loss over all tokens of the batch (`loss_type`).
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tvad import cli, config
from tvad.errors import InputError


@dataclass
class GrpoRun:
    """`training`: fields of TRL's GRPOConfig. `tasks`: share of every task among the prompts, or {share, rewards} where it
    has rewards of its own. `rewards`: name -> weight. `prompt`: how questions are put (`tvad.prompts.STYLES`).

    `engine`: vllm, transformers, or auto (vllm where installed). `trains`: name patterns of the parameters that learn. `rate` and
    `max_frames`: how clips are sampled.
    """

    out: str
    model: str
    data: str
    tasks: dict[str, Any]
    rewards: dict[str, float]
    training: dict = field(default_factory=dict)
    seed: int = 0
    engine: str = "auto"
    trains: list[str] = field(default_factory=lambda: ["*"])
    once_per_group: bool = True
    rate: float = 2.0
    max_frames: int = 8
    prompts: int | None = None
    topics: list[str] | None = None
    prompt: str = "tvad"
    drop_bad_rows: bool = False


def open_engine(kind: str, path: str, model, processor, sequences: int, length: int, seed: int):
    """The rollout engine: vLLM, or transformers' generate over the trainer's own model."""
    import importlib.util

    if kind not in ("auto", "vllm", "transformers"):
        raise InputError(f"engine: {kind!r} is none of auto, vllm, transformers")
    if kind == "auto" and importlib.util.find_spec("vllm") is None:
        print("WARNING: vLLM is not installed: rollouts use transformers' generate, which is several times slower", file=sys.stderr)
        kind = "transformers"
    if kind == "transformers":
        from bench.models.hf import HfModel

        return HfModel(model, processor)
    from bench.models.vllm import VllmModel

    return VllmModel(path, max_model_len=length, max_num_seqs=sequences, seed=seed)


def train(run: GrpoRun, engine=None):
    """Carry out a run; returns the trainer. The result is in `out`/model; logs in `out`/log.jsonl and `out`/rollouts.jsonl."""
    import dataclasses
    import os

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import transformers
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import GRPOConfig

    import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
    from rft import mixture
    from rft.curriculum.stage import select_trainable
    from rft.run_log import RunLog, last_checkpoint, save_whole
    from rft.video_grpo import VideoGRPOTrainer
    from tvad.data import load_checked
    from tvad.data.dataset import ClipStore

    tasks = mixture.tasks_of(run.tasks)
    functions, weights = mixture.rewards_of(tasks, run.rewards)
    known = {f.name for f in dataclasses.fields(GRPOConfig)}
    for key in run.training:
        if key not in known:
            raise InputError(f"training: unknown key {key!r}; expected a field of TRL's GRPOConfig")
    if not Path(run.model, "config.json").is_file():
        raise InputError(f"model: {run.model} is not a checkpoint folder (no config.json)")
    samples = load_checked(run.data, drop=run.drop_bad_rows)
    settings = {
        "output_dir": run.out, "seed": run.seed, "data_seed": run.seed, "reward_weights": weights, "report_to": "none",
        "remove_unused_columns": False, "use_cpu": None, "logging_steps": 1, "disable_tqdm": True, "gradient_checkpointing": False,
        "dataloader_num_workers": 0, "save_total_limit": 2, "bf16": False, **run.training,
    }  # fmt: skip
    if settings["use_cpu"] is None:
        import torch

        settings["use_cpu"] = not torch.cuda.is_available()
    try:
        arguments = GRPOConfig(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"training: {error}") from error
    groups = arguments.generation_batch_size // arguments.num_generations
    count = run.prompts or max(groups, arguments.max_steps * groups)
    rows = mixture.rows(samples, tasks, count, run.seed, run.topics, run.prompt)
    model = AutoModelForImageTextToText.from_pretrained(run.model, dtype="float32")
    processor = AutoProcessor.from_pretrained(run.model)
    select_trainable(model, run.trains)
    out = Path(run.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "grpo.json").write_text(json.dumps(dataclasses.asdict(run), indent=1))
    if engine is None:
        engine = open_engine(run.engine, run.model, model, processor, arguments.generation_batch_size, 1024, run.seed)
    elif engine.name == "hf":
        engine.model = model
    log = RunLog(out)
    trainer = VideoGRPOTrainer(
        model=model, reward_funcs=functions, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=processor,
        engine=engine, store=ClipStore(run.rate, run.max_frames), once_per_group=run.once_per_group, callbacks=[log],
    )  # fmt: skip
    log.trainer = trainer
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    save_whole(out / "model", model, processor)
    return trainer


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rft/train_grpo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/grpo/demo.yaml")
    known, rest = parser.parse_known_args(arguments)
    run = config.build(GrpoRun, config.override(config.read_yaml(known.config), rest), known.config)
    trainer = train(run)
    print(f"{trainer.state.global_step} steps done; the trained model is in {Path(run.out, 'model')}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main))
