"""Reinforcement fine-tuning of T-VAD by GRPO with verifiable rewards, in the manner of VAU-R1 (arXiv
2505.23504).

    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml
    accelerate launch rft/train_grpo.py --config configs/grpo/demo.yaml --training.learning_rate 1e-5 --seed 1

Rollouts run T-VAD in vLLM, in this process; without vLLM, transformers' generate takes over and says so. A
killed run continues from its last checkpoint. Differs from the published method where the configuration says
so: no KL term unless `beta` is set, clip and prompt computed once per group, loss over all tokens of the
batch (`loss_type`).
"""

import argparse
import dataclasses
import functools
import json
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rft.curriculum.stage import LoraSpec
from rft.grpo.callbacks import BenchEvaluation, Evaluate, Guard, Terminator, Watch
from tvad.common import cli, config
from tvad.common.errors import InputError
from tvad.common.files import write_whole


@dataclass
class Difficulty:
    """run: a finished benchmark run of the start on the training data (`rft.grpo.difficulty`). floor: least
    relative chance of a question."""

    run: str
    floor: float = 0.05


@dataclass
class Features:
    """folder, gigabytes: where and how much of what the frozen vision tower makes of clips is kept
    (`rft.grpo.features`)."""

    folder: str
    gigabytes: float = 50.0


@dataclass
class GrpoRun:
    """`training`: fields of TRL's GRPOConfig. `tasks`: share of every task among the prompts, or {share,
    rewards} where it has rewards of its own. `rewards`: name -> weight (`rft.rewards.named`). `prompt`: how
    questions are put (`tvad.prompts.STYLES`).

    `engine`: vllm (in this process), transformers, auto (vllm where installed), or server:URL,URL
    (`rft.grpo.server`). `engine_options`: of `bench.models.vllm.VllmModel`. `trains`: name patterns of the
    parameters that learn; `lora`: also adapters on the last decoder layers. `method`: grpo (the losses of TRL
    by `training.loss_type` and `training.importance_sampling_level`) or reg_grpo with `reg_scale`. `redraws`:
    rounds in which groups without signal are replaced (dynamic sampling). `rate` and `max_frames`: how clips
    are sampled; `decoders`: threads that decode ahead. `prompts`: how many questions are drawn (default: what
    max_steps needs, else every one once). `tokens`: of a log-prob pass. `loggers`: tensorboard, trackio,
    wandb.
    """

    out: str
    model: str
    data: str
    tasks: dict[str, Any]
    rewards: dict[str, float] = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    seed: int = 0
    engine: str = "auto"
    engine_options: dict = field(default_factory=dict)
    trains: list[str] = field(default_factory=lambda: ["*"])
    lora: LoraSpec | None = None
    method: str = "grpo"
    reg_scale: float = 1.0
    redraws: int = 0
    once_per_group: bool = True
    rate: float = 2.0
    max_frames: int = 8
    decoders: int = 1
    tokens: int = 1 << 16
    features: Features | None = None
    prompts: int | None = None
    topics: list[str] | None = None
    prompt: str = "tvad"
    difficulty: Difficulty | None = None
    drop_bad_rows: bool = False
    watch: Watch = field(default_factory=Watch)
    evaluate: Evaluate | None = None
    loggers: list[str] = field(default_factory=list)


METHODS = ("grpo", "reg_grpo")
LOGGERS = ("tensorboard", "trackio", "wandb")


def open_engine(
    kind: str, path: str, model, processor, sequences: int, length: int, seed: int, **options: Any
):
    """The rollout engine: vLLM, servers, or transformers' generate over the trainer's own model."""
    import importlib.util

    if kind.startswith("server:"):
        from rft.grpo.server import RolloutClient

        return RolloutClient(kind.partition(":")[2])
    if kind not in ("auto", "vllm", "transformers"):
        raise InputError(f"engine: {kind!r} is none of auto, vllm, transformers, server:URL")
    if kind == "auto" and importlib.util.find_spec("vllm") is None:
        print(
            "WARNING: vLLM is not installed: rollouts use transformers' generate, which is several times"
            " slower",
            file=sys.stderr,
        )
        kind = "transformers"
    if kind == "transformers":
        from bench.models.hf import HfModel

        return HfModel(model, processor, **options)
    from bench.models.vllm import VllmModel

    return VllmModel(path, **{"max_model_len": length, "max_num_seqs": sequences, "seed": seed, **options})


def check(run: GrpoRun) -> None:
    """Raise InputError for what can be known to be wrong before anything is loaded."""
    import importlib.util

    if run.method not in METHODS:
        raise InputError(f"method: {run.method!r} is none of {', '.join(METHODS)}")
    for name in run.loggers:
        if name not in LOGGERS:
            raise InputError(f"loggers: {name!r} is none of {', '.join(LOGGERS)}")
        if importlib.util.find_spec(name) is None:
            raise InputError(f"loggers: {name} is not installed")
    if not Path(run.model, "config.json").is_file():
        raise InputError(f"model: {run.model} is not a checkpoint folder (no config.json)")


def settings_of(run: GrpoRun, weights: list[float]):
    """TRL's GRPOConfig. Raises InputError for what it does not take."""
    import torch
    from trl import GRPOConfig

    hints = typing.get_type_hints(GRPOConfig)
    given = {}
    for key, value in run.training.items():
        if key not in hints:
            raise InputError(f"training: unknown key {key!r}; expected a field of TRL's GRPOConfig")
        kinds = typing.get_args(hints[key]) or (hints[key],)
        given[key] = value
        if (
            isinstance(value, str) and str not in kinds and (float in kinds or int in kinds)
        ):  # YAML 1.1 reads 1e-6 as text
            try:
                given[key] = float(value)
            except ValueError:
                raise InputError(f"training: {key}: expected a number, found {value!r}") from None
    settings = {
        "output_dir": run.out,
        "seed": run.seed,
        "data_seed": run.seed,
        "reward_weights": weights,
        "report_to": run.loggers or "none",
        "remove_unused_columns": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "save_total_limit": 2,
        "bf16": False,
        **given,
    }
    try:
        return GRPOConfig(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"training: {error}") from error


class Stopped(Exception):
    """Training ended before its last step; `status` is the command's exit status."""

    def __init__(self, reason: str, status: int):
        super().__init__(reason)
        self.status = status


def train(run: GrpoRun, engine=None):
    """Carry out a run; returns the trainer. The result is in `out`/model (and `out`/adapter with LoRA), logs
    in `out`/log.jsonl and `out`/rollouts.jsonl, a page in `out`/run.html. Raises Stopped where SIGTERM or a
    collapse ended it early; the same call goes on."""
    import os

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import transformers
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor

    import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
    from rft.common.model_card import rft_card
    from rft.common.run_log import RunLog, last_checkpoint
    from rft.curriculum.stage import add_lora, save_adapter, select_trainable
    from rft.grpo import difficulty, mixture
    from rft.grpo.features import FeatureCache, weights_hash
    from rft.grpo.run_page import write_run_page
    from rft.grpo.video_grpo import VideoGRPOTrainer
    from tvad.data import load_checked
    from tvad.data.dataset import ClipStore

    check(run)
    tasks = mixture.tasks_of(run.tasks)
    functions, weights = mixture.rewards_of(tasks, run.rewards)
    samples = load_checked(run.data, drop=run.drop_bad_rows)
    arguments = settings_of(run, weights)
    groups = arguments.generation_batch_size // arguments.num_generations
    every = sum(len(mixture.pool_of(samples, name, run.topics)) for name in tasks)
    count = run.prompts or (arguments.max_steps * groups if arguments.max_steps > 0 else every)
    chances = (
        difficulty.weights(difficulty.pass_rates(run.difficulty.run), run.difficulty.floor)
        if run.difficulty
        else None
    )
    rows = mixture.rows(samples, tasks, count, run.seed, run.topics, run.prompt, chances)
    opened = functools.partial(
        AutoModelForImageTextToText.from_pretrained,
        run.model,
        dtype="bfloat16" if arguments.bf16 else "float32",
    )
    model = opened()
    processor = AutoProcessor.from_pretrained(run.model)
    learned = select_trainable(model, run.trains)
    tuner = add_lora(model, run.lora) if run.lora else None
    features = None
    if run.features:
        if any(name.startswith("model.visual.") for name in learned):
            raise InputError(
                "features: the vision tower trains, so its features change; leave it out of `trains` or leave"
                " out `features`"
            )
        features = FeatureCache(run.features.folder, run.features.gigabytes, weights_hash(model.model.visual))
    out = Path(run.out)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "grpo.json", json.dumps(dataclasses.asdict(run), indent=1))
    if engine is None:
        length = 1024 + arguments.max_completion_length
        engine = open_engine(
            run.engine,
            run.model,
            model,
            processor,
            arguments.generation_batch_size,
            length,
            run.seed,
            **run.engine_options,
        )
    elif engine.name == "hf":
        engine.model = model
    log, guard, store = RunLog(out), Guard(run.watch), ClipStore(run.rate, run.max_frames)
    evaluation = BenchEvaluation(run.evaluate, out) if run.evaluate else None
    with Terminator() as terminator:
        trainer = VideoGRPOTrainer(
            model=model,
            reward_funcs=functions,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=processor,
            engine=engine,
            store=store,
            once_per_group=run.once_per_group,
            method=run.method,
            reg_scale=run.reg_scale,
            redraws=run.redraws,
            features=features,
            tuner=tuner,
            tokens=run.tokens,
            reference=opened() if arguments.beta else None,
            callbacks=[log, guard, terminator, *([evaluation] if evaluation else [])],
        )
        log.trainer = trainer
        if evaluation:
            evaluation.trainer = trainer
        trainer.remove_callback(transformers.PrinterCallback)
        if run.decoders:
            store.prefetch(
                dict.fromkeys(rows[i]["video"] for i in trainer._get_train_sampler()), run.decoders
            )
        try:
            trainer.train(resume_from_checkpoint=last_checkpoint(out))
        finally:
            store.stop_prefetch()
    if trainer.accelerator.is_main_process:
        write_run_page(out)
    if terminator.caught:
        raise Stopped(
            f"stopped by SIGTERM after step {trainer.state.global_step}; the same command goes on from there",
            143,
        )
    trainer.save_policy(out / "model")
    if trainer.accelerator.is_main_process:
        write_whole(out / "model" / "README.md", rft_card(run, out, sys.argv))
    if tuner is not None:
        with trainer.gathered():
            if trainer.accelerator.is_main_process:
                save_adapter(tuner, out / "adapter", run.model)
    if guard.reason:
        raise Stopped(f"stopped early: {guard.reason}; see {out / 'run.html'}", 3)
    return trainer


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rft/train_grpo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/grpo/demo.yaml")
    known, rest = parser.parse_known_args(arguments)
    run = config.build(GrpoRun, config.override(config.read_yaml(known.config), rest), known.config)
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
