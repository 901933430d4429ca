"""Every field of the installed TrainingArguments: given in a stage's `options` it changes what a real stage
does, is refused with what to set instead, or stands in UNSEEN with the reason why a stage on one CPU cannot
show it. A field that a new transformers brings fails here until somebody has looked at it."""

import contextlib
import dataclasses
import json

import pytest
from outcomes import loader_of, untimed, weights_hash
from transformers import TrainingArguments

from rft.curriculum import stage as stages
from rft.curriculum.config import OWNED, Data, Losses, Optimiser, Selection, Stage, Texts
from tvad.common import config
from tvad.common.errors import InputError
from tvad.model import TvadForConditionalGeneration, TvadProcessor

FIELDS = [field.name for field in dataclasses.fields(TrainingArguments)]
REFUSED = {name for name in FIELDS if config.Behind("transformers:TrainingArguments", OWNED).instead(name)}

# What is looked at beside them: the loader alone, or a decoder that learns.
LOADER, WORDS = "what the loader is", "a decoder that learns"
WORKER = {LOADER: True, "dataloader_num_workers": 1}

# Field: a value that is not its default, and the settings beside which it says something.
CHANGES = {
    "optim": ("sgd", {}),
    "adam_beta1": (0.5, {}),
    "adam_epsilon": (1.0, {}),
    "max_grad_norm": (1e-3, {}),
    "bf16": (True, {}),
    "gradient_checkpointing": (True, {}),
    "gradient_checkpointing_kwargs": ({"use_reentrant": True}, {"gradient_checkpointing": True}),
    "neftune_noise_alpha": (5.0, {WORDS: True}),
    "logging_strategy": ("no", {}),
    "logging_steps": (2, {}),
    "logging_first_step": (True, {"logging_steps": 2}),
    "skip_memory_metrics": (False, {}),
    "eval_delay": (2, {}),
    "eval_on_start": (True, {}),
    "save_strategy": ("no", {}),
    "save_only_model": (True, {}),
    "save_total_limit": (2, {}),
    "dataloader_drop_last": (True, {}),
    "dataloader_num_workers": (1, {LOADER: True}),
    "dataloader_persistent_workers": (True, WORKER),
    "dataloader_prefetch_factor": (3, WORKER),
    "dataloader_multiprocessing_context": ("spawn", WORKER),
    "dataloader_in_order": (False, WORKER),
}

_SEVERAL = "several processes or GPUs"
_GPU = "a GPU"
_NETWORK = "the network, and an account"
UNSEEN = {
    "fp16": _GPU,
    "tf32": _GPU,
    "torch_empty_cache_steps": _GPU,
    "dataloader_pin_memory": _GPU,
    "use_cpu": _GPU,
    "full_determinism": f"{_GPU}: on the CPU the same settings give the same stage",
    "optim_args": "an optimiser of a package that is not installed",
    "optim_target_modules": "an optimiser of a package that is not installed (GaLore, APOLLO)",
    "logging_nan_inf_filter": "a loss that is not finite: how it is logged",
    "log_level": "how loud the library is",
    "debug": "a stage that overflows: where is printed",
    **dict.fromkeys(
        (
            *("log_on_each_node", "log_level_replica", "save_on_each_node", "accelerator_config"),
            *(
                "parallelism_config",
                "ddp_find_unused_parameters",
                "ddp_bucket_cap_mb",
                "ddp_broadcast_buffers",
            ),
            *(
                "ddp_static_graph",
                "ddp_backend",
                "ddp_timeout",
                "fsdp",
                "fsdp_config",
                "deepspeed",
                "local_rank",
            ),
        ),
        _SEVERAL,
    ),
    **dict.fromkeys([name for name in FIELDS if name.startswith("hub_")] + ["push_to_hub"], _NETWORK),
}


@pytest.fixture(scope="module")
def outcomes(checkpoint, scenes, tmp_path_factory):
    """A function: what a stage of two steps with these options leaves, kept for those asked for again."""
    known: dict[str, dict] = {}

    def of(settings: dict) -> dict:
        key = repr(sorted(settings.items(), key=str))
        if key not in known:
            known[key] = outcome(checkpoint, scenes, tmp_path_factory.mktemp("stage"), settings)
        return known[key]

    return of


def outcome(checkpoint, scenes, out, settings: dict) -> dict:
    """Log lines, weights, files, and how the trainer is set up."""
    options = {key: value for key, value in settings.items() if key in FIELDS}
    stage = Stage(
        "x",
        ["*"] if WORDS in settings else ["model.ahd.*"],
        Data(str(scenes), str(scenes)),
        Texts(kinds=None if WORDS in settings else []),
        Losses(text=float(WORDS in settings), heatmap=1.0),
        optimiser=Optimiser(steps=2, lr=1e-2, batch=3),
        selection=Selection(save_steps=1),
        options={"logging_steps": 1, **options},
    )
    found: dict = {}

    class Watched(stages.StageTrainer):
        def train(self, *args, **kwargs):
            found.update(loader_of(self))
            if LOADER in settings:
                raise Looked
            super().train(*args, **kwargs)
            core = self.accelerator.unwrap_model(self.model)
            found["recomputes"] = core.is_gradient_checkpointing and self.args.gradient_checkpointing_kwargs
            found["files"] = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
            found["log"] = untimed(self.state.log_history)

    model = TvadForConditionalGeneration.from_pretrained(checkpoint)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Looked):
        patch.setattr(stages, "StageTrainer", Watched)
        processor = TvadProcessor.from_pretrained(checkpoint)
        model = stages.run(stage, model, processor, out, 0, 2.0, 8, log=lambda text: None)
    return found | {"weights": weights_hash(model)}


class Looked(Exception):
    """The loader has been seen; nothing is trained."""


def test_every_option_has_been_looked_at():
    groups = (REFUSED, set(CHANGES), set(UNSEEN))
    assert set().union(*groups) == set(FIELDS), "an option that nobody has looked at, or one that left"
    assert sum(map(len, groups)) == len(FIELDS)  # each in one place


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_each_option_changes_a_stage_or_is_refused_or_says_what_it_waits_for(name, outcomes):
    if name in REFUSED:
        with pytest.raises(InputError, match=rf"options: '{name}' belongs to the run: (set|leave) "):
            config.build(
                Stage, {"name": "x", "trains": [], "data": {"train": "d"}, "options": {name: 1}}, "x"
            )
    elif name in UNSEEN:
        assert UNSEEN[name]
    else:
        value, beside = CHANGES[name]
        assert outcomes({**beside, name: value}) != outcomes(beside)


@pytest.mark.slow
def test_the_same_options_twice_give_the_same_stage(checkpoint, scenes, tmp_path):
    first, second = (outcome(checkpoint, scenes, tmp_path / name, {}) for name in "ab")
    assert json.dumps(first) == json.dumps(second) and first["log"]
