"""A reinforcement run as data: what a file under configs/grpo says, what is refused before anything is
loaded, and TRL's arguments made of it. Imports no torch."""

import importlib.util
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bench.models import ROLLOUTS
from rft.common.trainable import LoraSpec
from tvad.answer import Reading
from tvad.common.config import Behind, behind, of_library
from tvad.common.errors import InputError
from tvad.common.files import check_folder
from tvad.common.shipped import checkpoint, tvad_config
from tvad.data.video import MAX_FRAMES, RATE, Budget, check_sampling

if TYPE_CHECKING:
    from trl import GRPOConfig

METHODS = ("grpo", "reg_grpo")
LOGGERS = ("tensorboard", "trackio", "wandb")
TOKENS = 1 << 16  # of a log-prob pass

# Fields of TRL's GRPOConfig that the run fills in itself or that would do nothing, and what to set instead:
# a test walks through all fields that the installed TRL has. TRL's vllm_… fields are about an engine of its
# own, which never runs here, but for the correction of the loss, which takes any engine's log-probs.
_EVALUATE, _ENGINE = "set `evaluate` or `held_out`", "set `engine` and `engine_options`"
_FULL = "leave it out: completions are drawn from all tokens, or their importance ratios would be biased"
_OURS = "leave it out: it does nothing to a run of this trainer"
_SHAPES = "leave it out: every pass has another shape and would be compiled anew"
OWNED = {
    "output_dir": "set `out`",
    "seed": "set the run's `seed`",
    "data_seed": "set the run's `seed`",
    "reward_weights": "set the weights in `rewards`",
    "report_to": "set `loggers`",
    "remove_unused_columns": "leave it out: rewards read the columns",
    "use_vllm": "set `engine`",
    **dict.fromkeys(
        (
            *("vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode", "vllm_structured_outputs_regex"),
            *("vllm_server_*", "vllm_group_port", "vllm_gpu_*", "vllm_max_*", "vllm_tensor_*"),
        ),
        _ENGINE,
    ),
    "vllm_importance_sampling_cap": "set vllm_importance_sampling_clip_max",
    "use_transformers_*": _ENGINE,
    "transformers_continuous_*": _ENGINE,
    "cache_implementation": _ENGINE,
    "ds3_gather_for_generation": _ENGINE,
    "resume_from_checkpoint": "leave it out: the same command goes on from the last checkpoint in `out`",
    "ignore_data_skip": "leave it out: a run goes on where it stopped",
    "eval_*": _EVALUATE,
    "*_full_eval": _EVALUATE,
    "include_for_metrics": _EVALUATE,
    "per_device_eval_batch_size": _EVALUATE,
    "num_generations_eval": _EVALUATE,
    "load_best_model_at_end": _EVALUATE,
    "metric_for_best_model": _EVALUATE,
    "greater_is_better": _EVALUATE,
    "top_p": _FULL,
    "top_k": _FULL,
    "min_p": _FULL,
    "repetition_penalty": _FULL,
    "generation_kwargs": _FULL,
    "model_init_kwargs": "set `model`",
    "trust_remote_code": "leave it out: no code of a checkpoint is run",
    "sync_ref_model": "leave it out: the reference stays the start",
    "ref_model_*": "leave it out: the reference stays the start",
    "auto_find_batch_size": "set `tokens`: how much a pass takes",
    "chat_template_kwargs": _OURS,
    "max_tool_calling_iterations": _OURS,
    "router_aux_loss_coef": _OURS,
    "use_liger_kernel": _OURS,
    "liger_kernel_config": _OURS,
    "do_*": _OURS,
    "label_*": _OURS,
    "prediction_loss_only": _OURS,
    "batch_eval_metrics": _OURS,
    "train_sampling_strategy": _OURS,
    "length_column_name": _OURS,
    "average_tokens_across_devices": _OURS,
    "dataloader_drop_last": _OURS,
    "include_num_input_tokens_seen": _OURS,
    "pad_to_multiple_of": "leave it out: padding is taken out before a pass",
    "restore_callback_states_from_checkpoint": _OURS,
    "use_cache": _OURS,
    "enable_jit_checkpoint": "leave it out: SIGTERM ends a run with a checkpoint",
    "cast_lm_head_to_fp32": "leave it out: logits are computed as the engine computes them",
    "torch_compile*": _SHAPES,
}
# What a run sets where its configuration does not.
DEFAULTS = {
    "remove_unused_columns": False,
    "logging_steps": 1,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "dataloader_num_workers": 0,
    "save_total_limit": 2,
    "bf16": False,
}


@dataclass
class Difficulty:
    """A curriculum by difficulty (`rft.grpo.difficulty`)."""

    run: str
    """Folder of a finished benchmark run of the start on the training data."""
    floor: float = 0.05
    """Least relative chance of a question, 0 to 1."""


@dataclass
class Features:
    """What the frozen vision tower makes of clips is kept on disk (`rft.grpo.features`), also by vLLM's
    engine in the process: a clip is encoded once for both."""

    folder: str
    """Where; runs may share it."""
    gigabytes: float = 50.0
    """How much at most, in 10^9 bytes."""


@dataclass
class Watch:
    """When a step is warned of, and when a collapse ends the run (`rft.grpo.callbacks.CollapseStop`)."""

    MOVED: ClassVar[dict[str, str]] = {"truncated": "clipped"}

    gap: float = 0.05
    """Mean trainer/sampler difference of log-probs, nats a token, above which a step is warned of."""
    patience: int = 20
    """Steps in a row after which a collapse ends the run."""
    flat: float = 0.98
    """Collapse: the share of groups whose completions all earn the same is above this."""
    entropy: float = 0.005
    """Collapse: the entropy of the next token is below this, nats."""
    clipped: float = 0.95
    """Collapse: the share of completions cut at their length limit is above this."""


@dataclass
class RewardLimits:
    """What a reward may take (`rft.rewards.bounded`)."""

    seconds: float = 30.0
    """Of one reward, for the completions of a rollout in a process; as much again to find the ones at
    fault."""
    characters: int = 1 << 17
    """Of a completion: rewards read no more of it."""
    unfinished: float | None = None
    """What a completion earns of a reward that did not end for it; null: nothing, as where it does not
    apply."""

    def check(self) -> None:
        """Raise InputError for a limit that is none."""
        if not 0 < self.seconds < math.inf:
            raise InputError(f"reward_limits.seconds: {self.seconds}, expected above 0")
        if self.characters < 1:
            raise InputError(f"reward_limits.characters: {self.characters}, expected at least 1")
        if self.unfinished is not None and not math.isfinite(self.unfinished):
            raise InputError(f"reward_limits.unfinished: {self.unfinished}, expected a number or null")


@dataclass
class Evaluate:
    """The benchmark during the run, and the best weights by it in `best/`."""

    suite: str
    """A benchmark configuration."""
    metric: str
    """What decides which weights are kept, e.g. temporal.miou."""
    every: int = 50
    """Steps between evaluations; the last step is evaluated too."""
    lower: bool = False
    """Whether less of the metric is better."""
    overrides: list[str] | None = None
    """Of the suite, as on the command line: [--max_videos, "50"]."""


@dataclass
class HeldOut:
    """What the rewards say of prompts that are not trained on, during the run."""

    data: str
    """A data set folder; its questions of the run's tasks are asked."""
    every: int = 50
    """Steps between evaluations; the last step is evaluated too."""
    prompts: int = 32
    """How many questions, the same each time; less what does not fill a batch."""
    generations: int | None = None
    """Completions of each; by default as many as in training."""

    def check(self) -> None:
        """Raise InputError for a number with which nothing would be asked."""
        for name in ("every", "prompts", "generations"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"held_out.{name}: {value}, expected at least 1")


@dataclass
class GrpoRun:
    """A reinforcement run."""

    FOLDER: ClassVar[str] = "grpo"
    MOVED: ClassVar[dict[str, str]] = {"classes": "reading.classes"}

    out: str
    """Folder of checkpoints, logs and the trained model."""
    model: str
    """The start: a checkpoint folder, the name of a shipped one, or ORG/NAME or ORG/NAME@REVISION of the
    hub."""
    data: str
    """A data set folder."""
    tasks: dict[str, Any]
    """Task: its share of the prompts, or {share, rewards} where it has rewards of its own."""
    rewards: dict[str, float] = field(default_factory=dict)
    """Reward: its weight (`rft.rewards`, temporal_iou.matching too, overlong.TOKENS, vau_r1.TASK.PART,
    package.module:function); weight 0: computed and logged, never paid."""
    reward_limits: RewardLimits = field(default_factory=RewardLimits)
    """Time and text of a reward, and what one that does not end is worth."""
    training: dict[str, Any] = field(default_factory=dict, metadata=behind("trl:GRPOConfig", OWNED))
    """Fields of TRL's GRPOConfig, but for those that the run fills in itself."""
    seed: int = 0
    """Of the prompts, the rollouts and the trainer."""
    engine: str = "auto"
    """Who draws completions: auto (vllm where installed, else hf), vllm (in this process), hf (transformers,
    from the policy itself), server:URL,URL."""
    engine_options: dict[str, Any] = field(default_factory=dict)
    """Parameters of the engine's class, e.g. {sleep: true} of `bench.models.vllm.VllmModel`; of rollout
    servers wait and timeout, in seconds."""
    staleness: int = 0
    """Rollout servers draw the next completions while these are trained on, which are then so many optimiser
    steps old at most; the loss is corrected for it. 0: one after the other."""
    prompt_tokens: int | None = None
    """Most tokens of a prompt, its video tokens included; a row that takes more is refused by name. By
    default what the longest row takes. An engine in this process has room for so many and
    `training.max_completion_length` more."""
    trains: list[str] = field(default_factory=lambda: ["*"])
    """Name patterns of the parameters that learn."""
    lora: LoraSpec | None = None
    """Adapters beside them, on the last decoder layers unless told otherwise."""
    load_in_4bit: bool = False
    """The decoder's frozen linear layers in NF4 while adapters train (`rft.common.four_bit`); completions are
    drawn by transformers from the policy itself."""
    method: str = "grpo"
    """grpo (TRL's losses, by training.loss_type) or reg_grpo (DeepVideo-R1)."""
    reg_scale: float = 1.0
    """reg_grpo: how much a log ratio counts as advantage."""
    redraws: int = 0
    """Rounds in which groups without signal are replaced by other prompts (dynamic sampling)."""
    attention: str | None = None
    """How policy and reference attend: eager or sdpa; by default the library's choice."""
    once_per_group: bool = True
    """Encode a clip and its prompt once per group; false: once per completion, for comparison."""
    rate: float = RATE
    """Frames a second given to the model."""
    max_frames: int = MAX_FRAMES
    """At most so many frames of a clip."""
    min_pixels: int | None = None
    """At least so many pixels of a frame after resizing; by default as the checkpoint has it."""
    max_pixels: int | None = None
    """At most so many pixels of a frame after resizing; by default as the checkpoint has it."""
    total_pixels: int | None = None
    """At most so many pixels of a clip, counted once a time step: 3584 x 28 x 28 are 3584 video tokens of
    Qwen2.5-VL, whatever the number of frames."""
    decoders: int = 1
    """Threads that decode clips ahead of use; 0: when they are used."""
    tokens: int = TOKENS
    """Tokens of a log-prob pass, padding included; groups of similar length share one."""
    features: Features | None = None
    """Where what the frozen vision tower makes of clips is kept."""
    prompts: int | None = None
    """How many questions are drawn; by default what max_steps needs, else every one once."""
    topics: list[str] | None = None
    """Topics of multiple-choice questions; by default all."""
    prompt: str = "tvad"
    """How questions are put (`tvad.prompts.STYLES`)."""
    reading: Reading = field(default_factory=Reading)
    """How rewards read answers, where the protocol leaves it open: a suite's key of the same name."""
    difficulty: Difficulty | None = None
    """Draw questions by how often the start answers them."""
    drop_bad_rows: bool = False
    """Leave bad rows of the data out and say which, instead of refusing."""
    skip_bad_clips: bool = False
    """Go on without clips that cannot be decoded when they are used, each named, instead of ending the run:
    their questions give way to others of the task."""
    held_out: HeldOut | None = None
    """The rewards on prompts that are not trained on, logged as eval_reward, eval_rewards/NAME/mean."""
    watch: Watch = field(default_factory=Watch)
    """Warnings and early stop."""
    evaluate: Evaluate | None = None
    """The benchmark during the run."""
    loggers: list[str] = field(default_factory=list)
    """tensorboard, trackio, wandb, where installed."""

    def __post_init__(self) -> None:
        self.model = checkpoint(self.model)


def check(run: GrpoRun) -> None:
    """Raise InputError for what can be known to be wrong before anything is loaded."""
    if run.method not in METHODS:
        raise InputError(f"method: {run.method!r} is none of {', '.join(METHODS)}")
    if not run.engine.startswith("server:") and run.engine not in ROLLOUTS:
        raise InputError(f"engine: {run.engine!r} is none of {', '.join(ROLLOUTS)}, server:URL,URL")
    if run.lora is not None:
        run.lora.check()
    if run.load_in_4bit and run.engine not in ("hf", "transformers"):
        raise InputError(
            f"load_in_4bit: completions are drawn from the policy itself, set engine: hf; with {run.engine}"
            " it was not run"
        )
    for name in run.loggers:
        if name not in LOGGERS:
            raise InputError(f"loggers: {name!r} is none of {', '.join(LOGGERS)}")
        if importlib.util.find_spec(name) is None:
            raise InputError(f"loggers: {name} is not installed")
    run.reading.check()
    run.reward_limits.check()
    if run.held_out:
        run.held_out.check()
    for folder in (run.out, *([run.features.folder] if run.features else [])):
        check_folder(folder)
    described = tvad_config(run.model)
    own = [plan.get("rewards") or {} for plan in run.tasks.values() if isinstance(plan, dict)]
    if any("evidence" in rewards for rewards in (run.rewards, *own)) and not described.get("use_ahd", True):
        raise InputError(f"rewards: evidence reads heatmaps, and {run.model} makes none (use_ahd is false)")
    check_sampling(run.rate, run.max_frames)
    Budget.of(run)
    if run.prompt_tokens is not None and run.prompt_tokens < 1:
        raise InputError(f"prompt_tokens: {run.prompt_tokens}, expected at least 1")
    if run.prompts is not None and run.prompts < 1:
        raise InputError(f"prompts: {run.prompts}, expected at least 1")


def _evaluation(plan: HeldOut, arguments: "GRPOConfig") -> dict[str, Any]:
    """TRL's arguments of an evaluation: whole groups in every process, about as many rows as in training."""
    size = plan.generations or arguments.num_generations or 1
    return {
        "eval_strategy": "steps",
        "eval_steps": plan.every,
        "num_generations_eval": size,
        "per_device_eval_batch_size": max(1, arguments.per_device_train_batch_size // size) * size,
    }


def settings_of(run: GrpoRun, weights: list[float]) -> "GRPOConfig":
    """TRL's GRPOConfig. Raises InputError for what it does not take."""
    import torch
    from trl import GRPOConfig

    settings = {
        "output_dir": run.out,
        "seed": run.seed,
        "data_seed": run.seed,
        "reward_weights": weights,
        "report_to": run.loggers or "none",
        "use_cpu": not torch.cuda.is_available(),
        **DEFAULTS,
        **({"vllm_importance_sampling_mode": "token_truncate"} if run.staleness else {}),
        **of_library(Behind("trl:GRPOConfig", OWNED), run.training, "training"),
    }
    try:
        if run.held_out:
            settings |= _evaluation(run.held_out, GRPOConfig(**settings))
        return GRPOConfig(**settings)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"training: {error}") from error
