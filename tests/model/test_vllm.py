"""vLLM runs the T-VAD model itself; it must agree with transformers, before and after every module's weights
change."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(Path(__file__).parent))

from agreement import check_outputs, check_sync, make_requests

from bench.models.base import Sampling


def test_engines_agree_before_and_after_a_sync_of_every_module(engine, checkpoint):
    check_sync(engine, checkpoint)


def test_heatmaps_and_greedy_answers_are_the_same(engine, checkpoint):
    check_outputs(engine, checkpoint)


SLOW = pytest.mark.slow
CASES = [
    pytest.param("checkpoint_qwen3", {}, id="Qwen3-VL"),
    *(
        pytest.param(family, changes, id=f"{family} {changes}", marks=SLOW)
        for family in ("checkpoint", "checkpoint_qwen3")
        for changes in ({"use_ahd": False}, {"use_rae": False})
    ),
]


@pytest.mark.parametrize("family, changes", CASES)
def test_the_other_family_and_the_ablations_agree_too(family, changes, request, tmp_path):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    folder = request.getfixturevalue(family)
    if changes:
        folder = ablated(folder, tmp_path, **changes)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/model/agreement.py"), str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0 and "agree" in done.stdout, done.stderr[-3000:]


def ablated(folder, out, **changes):
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    config = AutoConfig.from_pretrained(folder, **changes)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(out)
    AutoProcessor.from_pretrained(folder, anomaly_prompts_per_step=config.prompts_per_step).save_pretrained(
        out
    )
    return out


def test_forbidden_tokens_are_never_sampled(engine):
    forbidden = set(engine.llm.llm_engine.vllm_config.model_config.hf_config.forbidden_token_ids)
    found = engine.sample(make_requests(), Sampling(8, 2.0, max_tokens=24, seed=1))
    assert not forbidden & {t for group in found for c in group for t in c.ids}


def test_draws_are_the_requests_own_in_any_company(engine):
    requests = [replace(request, key=f"v{n}") for n, request in enumerate(make_requests())]
    sampling = Sampling(2, 1.0, max_tokens=12, seed=3)
    every = [[c.ids for c in group] for group in engine.sample(requests, sampling)]
    part = [[c.ids for c in group] for group in engine.sample(requests[::-2], sampling)]
    assert part == every[::-2]


def test_two_draws_with_one_seed_agree(engine):
    requests = make_requests()
    draws = [
        [c.ids for g in engine.sample(requests, Sampling(2, 1.0, max_tokens=12, seed=s)) for c in g]
        for s in (3, 3, 4)
    ]
    assert draws[0] == draws[1] != draws[2]
