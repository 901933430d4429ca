"""vLLM runs the T-VAD model itself; it must agree with transformers, before and after every module's weights
change."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, untrained

sys.path.insert(0, str(Path(__file__).parent))

from agreement import check_outputs, check_sync, make_requests

from bench.models.base import Sampling
from tvad.common.leaving import leave


def test_engines_agree_before_and_after_a_sync_of_every_module(engine, checkpoint):
    check_sync(engine, checkpoint)


def test_heatmaps_and_greedy_answers_are_the_same(engine, checkpoint):
    check_outputs(engine, checkpoint)


FAMILIES = ("tiny.yaml", "tiny-qwen3.yaml")
PUBLISHED = {"rae_input": "classes", "prompt_order": "video_first"}
FIRST = {"rae_input": "abnormal", "prompt_order": "anomaly_first"}
OTHERS = [
    {"use_ahd": False, **PUBLISHED},
    {"use_ahd": False, **FIRST},
    {"use_rae": False},
    {"rae_input": "classes", "prompt_order": "anomaly_first"},
    {"rae_input": "abnormal", "prompt_order": "video_first"},
    {"ahd_layout": "thesis", "prompt_features": "embeddings", **PUBLISHED},
]
# `checkpoint`, whose engine the session shares, has the first form; Qwen3-VL's has the published one.
CASES = [
    pytest.param("tiny.yaml", PUBLISHED, id="published form"),
    pytest.param("tiny-qwen3.yaml", {}, id="Qwen3-VL", marks=pytest.mark.slow),
    *(
        pytest.param(config, form, id=f"{config} {form}", marks=pytest.mark.slow)
        for config in FAMILIES
        for form in (*OTHERS, *([FIRST] if config == "tiny-qwen3.yaml" else []))
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("config, switches", CASES)
def test_other_forms_the_other_family_and_the_ablations_agree_too(config, switches, tmp_path):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    agree(untrained(config, tmp_path / "checkpoint", **switches))


def agree(*arguments) -> None:
    """The checkpoint, and `compiled`."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/model/agreement.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0 and "agree" in done.stdout, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["checkpoint", "checkpoint_qwen3"])
def test_a_compiled_engine_agrees_too_and_starts_again_from_what_it_kept(
    family, request, tmp_path, monkeypatch
):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    folder = request.getfixturevalue(family)
    agree(folder, "compiled")
    kept = {*tmp_path.rglob("*.so")}
    assert kept
    agree(folder, "compiled")
    assert {*tmp_path.rglob("*.so")} == kept


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


def test_whoever_leaves_a_launch_leaves_the_engine_its_groups(engine):
    """A command that ends within a process (`cli.guard`) does not take what an engine there works with."""
    leave()
    assert all(c.ids for g in engine.sample(make_requests(), Sampling(max_tokens=4)) for c in g)
