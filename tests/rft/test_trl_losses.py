"""The loss is TRL's own, in every setting that it has: the same steps by TRL's methods as they stand, over
log-probs computed the plain way, a row a completion."""

from types import SimpleNamespace

import pytest
import torch
from grpo_scripted import Small, unswept
from trl import GRPOTrainer

from rft.grpo.importance import MODES
from rft.grpo.video_grpo import VideoGRPOTrainer
from tvad.common.errors import InputError


class AsTRL(VideoGRPOTrainer):
    """TRL's own scoring, correction and loss, as with vLLM; the log-probs of one completion at a time, from
    whole logits."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.use_vllm, self._last_loaded_step = True, 0
        self.vllm_generation = SimpleNamespace(sync_weights=lambda: None)

    def _compute_loss(self, model, inputs):
        self.clips_of = inputs["group_index"].tolist()
        try:
            return GRPOTrainer._compute_loss(self, model, inputs)
        finally:
            self.clips_of = None

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, compute_entropy=False, **rest
    ):
        clips = getattr(self, "clips_of", None) or self._rollout.group_index.tolist()
        logps, entropies = torch.zeros(2, len(input_ids), logits_to_keep).unbind()
        rows = []
        for row, mask, clip in zip(input_ids, attention_mask, clips, strict=True):
            vision = self._rollout.clips([clip])
            places = mask.bool() | (torch.arange(len(mask)) >= len(mask) - logits_to_keep)  # masked ones too
            found = model(input_ids=row[places][None], **vision).logits[0, -logits_to_keep - 1 : -1]
            log_p = (found.float() / self.temperature).log_softmax(-1)
            chosen = log_p.gather(-1, row[-logits_to_keep:, None])[:, 0]
            rows.append((chosen, -(log_p.exp() * log_p).sum(-1)))
        logps, entropies = (torch.stack(part) for part in zip(*rows, strict=True))
        keep = attention_mask[:, -logits_to_keep:]
        return logps * keep, entropies * keep if compute_entropy else None, None


@pytest.fixture(scope="module")
def small(checkpoint, scenes):
    with unswept():
        yield Small(checkpoint, scenes)


LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")
# Within which some ratios lie, and some do not.
BOUNDS = {mode: (0.1, 3.0) if mode.startswith("sequence") else (0.7, 1.2) for mode in MODES}
TOKENS = {"vllm_importance_sampling_mode": "token_truncate"}
SETTINGS = {
    **{f"loss {name}": {"loss_type": name, **(TOKENS if name == "vespo" else {})} for name in LOSSES},
    "GSPO": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "beta": {"beta": 0.2},
    "clipping": {"epsilon": 0.01, "epsilon_high": 0.02, "delta": 1.01},
    "one iteration": {"num_iterations": 1},
    "several passes a rollout": {"steps_per_generation": 2, "per_device_train_batch_size": 2},
    "accumulation": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    "accumulation, one iteration": {
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 2,
        "num_iterations": 1,
    },
    "half a rollout a step": {
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 4,
        "per_device_train_batch_size": 2,
        "num_iterations": 1,
    },
    "truncated ones masked": {"mask_truncated_completions": True, "max_completion_length": 4},
    "temperature": {"temperature": 0.7},
    "off-policy mask": {"off_policy_mask_threshold": 0.05},
    # Quantiles that lie between two of a pass's 21 tokens: at one, a last bit decides.
    "strongest tokens": {"top_entropy_quantile": 0.33},
    "entropy": {"entropy_coef": 0.3},
    "entropy, strongest tokens": {"entropy_coef": 0.3, "top_entropy_quantile": 0.52},
    "entropy, accumulation": {
        "entropy_coef": 0.3,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 2,
    },
    "entropy, adaptive": {"entropy_coef": 0.3, "use_adaptive_entropy": True, "entropy_target": 50.0},
    "no correction": {"vllm_importance_sampling_correction": False},
    **{
        f"correction {mode}": {
            "vllm_importance_sampling_mode": mode,
            "vllm_importance_sampling_clip_max": high,
            "vllm_importance_sampling_clip_min": low,
        }
        for mode, (low, high) in BOUNDS.items()
    },
    "correction, one bound": {
        "vllm_importance_sampling_mode": "token_mask",
        "vllm_importance_sampling_clip_max": None,
        "vllm_importance_sampling_clip_min": 0.9,
        "num_iterations": 1,
    },
}


def done(small, out, cls, knobs) -> tuple[list[dict], dict[str, torch.Tensor]]:
    plan = {"optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    trainer = small.trainer(small.run(out, **plan | knobs), cls)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return rows, {n: p.detach() for n, p in trainer.core.named_parameters() if p.requires_grad}


def test_every_loss_that_the_installed_trl_knows_is_here():
    import dataclasses

    from trl import GRPOConfig

    told = next(f for f in dataclasses.fields(GRPOConfig) if f.name == "loss_type").metadata["help"]
    named = told.split("Supported values are ")[1].split(". ")[0]
    assert {name.strip(" '") for name in named.replace("and ", "").split(",")} == set(LOSSES)


# One of each kind at every commit; all before a release.
ALWAYS = {"loss dapo", "GSPO", "beta", "several passes a rollout", "entropy", "correction token_truncate"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.slow) for name in SETTINGS]
)
def test_losses_gradients_and_weights_are_trls(name, small, tmp_path):
    ours, weights = done(small, tmp_path / "ours", VideoGRPOTrainer, SETTINGS[name])
    theirs, wanted = done(small, tmp_path / "theirs", AsTRL, SETTINGS[name])
    assert len(ours) == len(theirs) == 2
    for one, two in zip(ours, theirs, strict=True):
        # Ratios are logged by pass here, by rollout there; they are compared in the loss.
        compared = [key for key in two if key in one and not key.startswith("sampling/")]
        compared = [key for key in compared if not key.endswith(("runtime", "per_second", "step_time"))]
        assert {"loss", "grad_norm", "entropy"} <= set(compared)
        for key in compared:
            assert one[key] == pytest.approx(two[key], abs=2e-4, rel=1e-3), key
    start = dict(small.model.named_parameters())
    learned = max(float((wanted[n] - start[n]).abs().max()) for n in wanted)
    assert learned > 1e-3
    assert max(float((weights[n] - wanted[n]).abs().max()) for n in wanted) < 1e-3 * learned


def test_vespo_with_a_correction_of_whole_sequences_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"vespo .* vllm_importance_sampling_mode"):
        small.trainer(small.run(tmp_path, loss_type="vespo"))
