"""Every field of the installed GRPOConfig: given in a run's `training` it changes what a real step does, is
refused with what to set instead, or stands in UNSEEN with the reason why a step on one CPU cannot show it. A
field that a new TRL brings fails here until somebody has looked at it."""

import contextlib
import dataclasses
import io

import pytest
from grpo_scripted import Small, unswept
from outcomes import loader_of, untimed, weights_hash
from trl import GRPOConfig

from rft.common.trainable import LoraSpec
from rft.grpo.config import OWNED, GrpoRun
from tvad.common import config
from tvad.common.errors import InputError

FIELDS = {field.name: field for field in dataclasses.fields(GRPOConfig)}
REFUSED = {name for name in FIELDS if config.Behind("trl:GRPOConfig", OWNED).instead(name)}

LOADER, LORA = "what the loader is", "with LoRA"
SAVES = {"save_strategy": "steps", "save_steps": 1}
ADAPTIVE = {"entropy_coef": 0.1, "use_adaptive_entropy": True}
EAGER = {**ADAPTIVE, "entropy_target": 100.0}
WORKER = {LOADER: True, "dataloader_num_workers": 1}
COSINE = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}}
TOKENWISE = {"vllm_importance_sampling_mode": "token_truncate"}
EPOCHS = {"max_steps": -1, "num_iterations": 1, "num_train_epochs": 1}
VESPO = {"loss_type": "vespo", **TOKENWISE}

# Field: a value that is not its default, and the settings beside which it says something.
CHANGES = {
    "per_device_train_batch_size": (2, {}),
    "num_train_epochs": (2, EPOCHS),
    "max_steps": (1, {}),
    "learning_rate": (2e-2, {}),
    "lr_scheduler_type": ("constant", {}),
    "lr_scheduler_kwargs": ({"min_lr_rate": 0.5}, COSINE),
    "warmup_steps": (2, {}),
    "optim": ("sgd", {}),
    "weight_decay": (0.5, {}),
    "adam_beta1": (0.5, {}),
    "adam_beta2": (0.5, {}),
    "adam_epsilon": (1.0, {}),
    "gradient_accumulation_steps": (2, {}),
    "max_grad_norm": (1e-3, {}),
    "bf16": (True, {}),
    "gradient_checkpointing": (True, {}),
    "gradient_checkpointing_kwargs": ({"use_reentrant": True}, {"gradient_checkpointing": True}),
    "neftune_noise_alpha": (5.0, {}),
    "logging_strategy": ("no", {}),
    "logging_steps": (2, {}),
    "logging_first_step": (True, {"logging_steps": 2}),
    "disable_tqdm": (False, {}),
    "skip_memory_metrics": (False, {}),
    "save_strategy": ("steps", {"save_steps": 1}),
    "save_steps": (2, SAVES),
    "save_total_limit": (1, SAVES),
    "save_only_model": (True, SAVES),
    "dataloader_num_workers": (1, {LOADER: True}),
    "dataloader_persistent_workers": (True, WORKER),
    "dataloader_prefetch_factor": (3, WORKER),
    "dataloader_multiprocessing_context": ("spawn", WORKER),
    "dataloader_in_order": (False, WORKER),
    "disable_dropout": (True, {LORA: True}),
    "num_generations": (4, {}),
    "max_completion_length": (3, {}),
    "shuffle_dataset": (False, {"num_iterations": 1}),
    "generation_batch_size": (8, {}),
    "steps_per_generation": (2, {}),
    "temperature": (0.7, {}),
    "beta": (0.1, {}),
    "num_iterations": (1, {}),
    "epsilon": (1e-3, {}),
    "epsilon_high": (1e-3, {}),
    "delta": (1.001, {}),
    "sapo_temperature_neg": (2.0, {"loss_type": "sapo"}),
    "sapo_temperature_pos": (2.0, {"loss_type": "sapo"}),
    "vespo_k_pos": (1.0, VESPO),
    "vespo_lambda_pos": (1.0, VESPO),
    "vespo_k_neg": (1.0, VESPO),
    "vespo_lambda_neg": (1.0, VESPO),
    "importance_sampling_level": ("sequence", {}),
    "multi_objective_aggregation": ("normalize_then_sum", {}),
    "scale_rewards": ("none", {}),
    "loss_type": ("grpo", {}),
    "mask_truncated_completions": (True, {"max_completion_length": 4}),
    "top_entropy_quantile": (0.2, {}),
    "entropy_coef": (0.5, {}),
    "use_adaptive_entropy": (True, {"entropy_coef": 0.1}),
    "entropy_coef_min": (0.1, ADAPTIVE),
    "entropy_coef_max": (0.1, EAGER),
    "entropy_coef_delta": (0.05, EAGER),
    "entropy_target": (100.0, ADAPTIVE),
    "off_policy_mask_threshold": (0.01, {}),
    "use_bias_correction_kl": (False, {"beta": 0.1}),
    "vllm_importance_sampling_correction": (False, {}),
    "vllm_importance_sampling_mode": ("token_truncate", {}),
    "vllm_importance_sampling_clip_max": (1.0, TOKENWISE),
    "vllm_importance_sampling_clip_min": (0.9, TOKENWISE),
    "log_completions": (True, {}),
    "num_completions_to_print": (1, {"log_completions": True}),
}

_SEVERAL = "several processes or GPUs"
_GPU = "a GPU"
_LOGGER = "a logger that is set by `loggers`, and reads it there"
_NETWORK = "the network, and an account"
UNSEEN = {
    "fp16": _GPU,
    "tf32": _GPU,
    "torch_empty_cache_steps": _GPU,
    "dataloader_pin_memory": _GPU,
    "use_cpu": _GPU,
    "full_determinism": f"{_GPU}: on the CPU the same settings give the same steps (a test below)",
    "optim_args": "an optimiser of a package that is not installed",
    "optim_target_modules": "an optimiser of a package that is not installed (GaLore, APOLLO)",
    "logging_nan_inf_filter": "a loss that is not finite: how it is logged",
    "log_on_each_node": _SEVERAL,
    "log_level": "how loud the library is",
    "log_level_replica": _SEVERAL,
    "save_on_each_node": _SEVERAL,
    "accelerator_config": f"{_SEVERAL}: how batches are spread over them",
    "parallelism_config": _SEVERAL,
    "ddp_find_unused_parameters": _SEVERAL,
    "ddp_bucket_cap_mb": _SEVERAL,
    "ddp_broadcast_buffers": _SEVERAL,
    "ddp_static_graph": _SEVERAL,
    "ddp_backend": _SEVERAL,
    "ddp_timeout": _SEVERAL,
    "fsdp": _SEVERAL,
    "fsdp_config": _SEVERAL,
    "deepspeed": _SEVERAL,
    "local_rank": _SEVERAL,
    "debug": "a step that overflows: where is printed",
    "run_name": _LOGGER,
    "log_unique_prompts": f"{_LOGGER} (`test_logged_pictures.py`)",
    "log_multimodal": f"{_LOGGER} (`test_logged_pictures.py`)",
    "project": _LOGGER,
    "trackio_space_id": _LOGGER,
    "trackio_bucket_id": _LOGGER,
    "trackio_static_space_id": _LOGGER,
    "push_to_hub": _NETWORK,
    "hub_token": _NETWORK,
    "hub_private_repo": _NETWORK,
    "hub_model_id": _NETWORK,
    "hub_strategy": _NETWORK,
    "hub_always_push": _NETWORK,
    "hub_revision": _NETWORK,
    "log_completions_hub_repo": _NETWORK,
}


@pytest.fixture(scope="module")
def small(checkpoint, scenes):
    with unswept():
        yield Small(checkpoint, scenes)


@pytest.fixture(scope="module")
def outcomes(small, tmp_path_factory):
    """A function: what two steps with these settings leave, kept for settings that are asked for again."""
    known: dict[str, dict] = {}

    def of(settings: dict) -> dict:
        key = repr(sorted(settings.items(), key=str))
        if key not in known:
            known[key] = outcome(small, tmp_path_factory.mktemp("run"), settings)
        return known[key]

    return of


def outcome(small: Small, out, settings: dict) -> dict:
    """Log lines, weights, files, what is printed, and how the trainer is set up."""
    knobs = {key: value for key, value in settings.items() if key in FIELDS}
    lora = LoraSpec(2, 4, 8, 0.5) if LORA in settings else None
    trainer = small.trainer(small.run(out, **knobs), lora=lora)
    found = loader_of(trainer)
    if LOADER in settings:
        return found
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        trainer.train()
    return found | {
        "log": untimed(trainer.state.log_history),
        "weights": weights_hash(trainer.core),
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*")),
        "printed": printed.getvalue(),
        "callbacks": [type(callback).__name__ for callback in trainer.callback_handler.callbacks],
        "recomputes": trainer.core.is_gradient_checkpointing and trainer.args.gradient_checkpointing_kwargs,
    }


def test_every_field_has_been_looked_at():
    groups = (REFUSED, set(CHANGES), set(UNSEEN))
    assert set().union(*groups) == set(FIELDS), "a field of TRL's that nobody has looked at, or one that left"
    assert sum(map(len, groups)) == len(FIELDS)  # each in one place


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_each_field_changes_a_step_or_is_refused_or_says_what_it_waits_for(name, outcomes):
    if name in REFUSED:
        with pytest.raises(InputError, match=rf"training: '{name}' belongs to the run: (set|leave) "):
            config.build(GrpoRun, {"training": {name: 1}}, "x.yaml")
    elif name in UNSEEN:
        assert UNSEEN[name]
    else:
        value, beside = CHANGES[name]
        assert outcomes({**beside, name: value}) != outcomes(beside)


def test_the_same_settings_twice_give_the_same_outcome(small, tmp_path):
    first, second = (outcome(small, tmp_path / name, {}) for name in "ab")
    assert first == second and first["log"] and first["weights"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sapo_temperature_neg": 2.0}, "sapo_temperature_neg: does nothing with loss_type dapo"),
        ({"loss_type": "sapo", "epsilon": 0.1}, "epsilon: does nothing with loss_type sapo"),
        ({"entropy_target": 1.0}, "entropy_target: does nothing with use_adaptive_entropy False"),
        ({"use_bias_correction_kl": False}, "use_bias_correction_kl: does nothing with beta 0"),
        ({"dataloader_persistent_workers": True}, "persistent_workers: does nothing with dataloader_num_w"),
        (
            {"vllm_importance_sampling_correction": False, "vllm_importance_sampling_clip_max": 2.0},
            "vllm_importance_sampling_clip_max: does nothing with vllm_importance_sampling_correction False",
        ),
        ({"vllm_importance_sampling_mode": "both"}, "vllm_importance_sampling_mode: 'both' is none of"),
    ],
)
def test_a_setting_that_its_neighbours_leave_without_effect_is_refused(settings, words, small, tmp_path):
    with pytest.raises(InputError, match=words):
        small.trainer(small.run(tmp_path, **settings))


@pytest.mark.parametrize(
    ("name", "value"),
    [("beta", 0.1), ("entropy_coef", 0.1), ("loss_type", "grpo"), ("mask_truncated_completions", True)],
)
def test_reg_grpo_refuses_what_only_trls_losses_read(name, value, small, tmp_path):
    with pytest.raises(InputError, match=f"{name}: method reg_grpo has a loss of its own"):
        small.trainer(small.run(tmp_path, "reg_grpo", **{name: value}))
