"""Settings of TRL that a run gives and that its other settings leave without effect: refused, since whoever
gives one expects it to do something."""

import dataclasses
import fnmatch
from typing import Any

from rft.grpo.config import GrpoRun
from tvad.common.errors import InputError

CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
# Patterns of fields, the field that they depend on, and its values with which they do something.
NEEDS: tuple[tuple[tuple[str, ...], str, tuple[Any, ...]], ...] = (
    (("epsilon", "delta"), "loss_type", CLIPPED),
    (("epsilon_high",), "loss_type", (*CLIPPED, "cispo")),
    (("sapo_*",), "loss_type", ("sapo",)),
    (("vespo_*",), "loss_type", ("vespo",)),
    (("entropy_coef_*", "entropy_target"), "use_adaptive_entropy", (True,)),
    (
        ("vllm_importance_sampling_mode", "vllm_importance_sampling_clip_*"),
        "vllm_importance_sampling_correction",
        (True,),
    ),
    (
        ("log_unique_prompts", "num_completions_to_print", "log_completions_*", "log_multimodal"),
        "log_completions",
        (True,),
    ),
    (("dataloader_persistent_workers",), "dataloader_num_workers", ()),
)
# What only TRL's losses read.
LOSS = (
    *("beta", "delta", "entropy_*", "epsilon*", "importance_sampling_level", "loss_type"),
    *("mask_truncated_completions", "off_policy_mask_threshold", "sapo_*", "top_entropy_quantile"),
    *("use_adaptive_entropy", "use_bias_correction_kl", "vespo_*", "vllm_importance_sampling_*"),
)


def check_idle(run: GrpoRun, arguments: Any) -> None:
    """Raise InputError for a setting that differs from its default and would do nothing. arguments: TRL's."""
    defaults = {field.name: field.default for field in dataclasses.fields(arguments)}
    given = [key for key, value in run.training.items() if value != defaults.get(key)]

    def named(patterns: tuple[str, ...]) -> list[str]:
        return [key for key in given if any(fnmatch.fnmatch(key, pattern) for pattern in patterns)]

    if run.method == "reg_grpo" and (idle := named(LOSS)):
        raise InputError(
            f"training: {idle[0]}: method reg_grpo has a loss of its own, which does not read it"
        )
    for patterns, other, values in NEEDS:
        value = getattr(arguments, other)
        if (idle := named(patterns)) and not (value in values if values else value):
            told = f"only {other} {' or '.join(map(str, values))} reads it" if values else f"needs {other}"
            raise InputError(f"training: {idle[0]}: does nothing with {other} {value}: {told}")
    if "use_bias_correction_kl" in given and not arguments.beta:
        raise InputError("training: use_bias_correction_kl: does nothing with beta 0.0")
