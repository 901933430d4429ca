"""One vision tower for the trainer and an engine in its process, where features are kept."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from grpo_runs import run_of

from rft.grpo import weights
from rft.grpo.config import Features
from rft.grpo.features import clip_key, shared_precision
from rft.grpo.train import train
from tvad.model import TvadForConditionalGeneration

WATCHED = ("loss", "grad_norm", "reward", "sampler_gap/max")


@pytest.fixture
def towers(engine, checkpoint, monkeypatch):
    """How many clips the engine's tower is given and the trainers'."""
    runs = {"engine": 0, "trainer": 0}

    def counted(tower, whose):
        inner = tower.forward

        def forward(pixels, grid_thw, *args, **kwargs):
            runs[whose] += len(grid_thw)
            return inner(pixels, grid_thw, *args, **kwargs)

        monkeypatch.setattr(tower, "forward", forward)

    counted(engine.llm.llm_engine.model_executor.driver_worker.model_runner.model.visual, "engine")
    inner = weights.loaded

    def opened(*args, **kwargs):
        model = inner(*args, **kwargs)
        counted(model.model.visual, "trainer")
        return model

    monkeypatch.setattr(weights, "loaded", opened)
    yield runs
    engine.sync(TvadForConditionalGeneration.from_pretrained(checkpoint).engine_weights())


def test_a_clip_is_encoded_once_for_engine_and_trainer_together(scenes, checkpoint, tmp_path, engine, towers):
    def figures(name, features):
        towers.update(engine=0, trainer=0)
        run = run_of(scenes, checkpoint, tmp_path / name, learning_rate=1e-3)
        train(replace(run, features=features), engine)
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        return [[row[key] for key in WATCHED] for row in rows], dict(towers)

    kept = Features(str(tmp_path / "features"))
    alone, both = figures("alone", None)
    assert both["trainer"] == 4 and both["engine"] == 4  # two steps of two prompts
    shared, once = figures("shared", kept)
    rollouts = (tmp_path / "shared" / "rollouts.jsonl").read_text().splitlines()
    clips = {json.loads(line)["clip"] for line in rollouts}
    assert once == {"engine": len(clips), "trainer": 0}
    torch.testing.assert_close(torch.tensor(shared), torch.tensor(alone), atol=1e-4, rtol=1e-3)
    assert figures("again", kept) == (shared, {"engine": 0, "trainer": 0})
    kept_files = list((tmp_path / "features").rglob("*.safetensors"))
    assert len(kept_files) == len(clips) and all(f.stem.endswith("-float32-vllm") for f in kept_files)


def test_clips_of_equal_patches_and_other_grids_are_two():
    patches = torch.zeros(64, 12, dtype=torch.uint8)
    assert clip_key(patches, [4, 4, 4]) != clip_key(patches, [2, 8, 4])


def test_a_tower_of_another_type_is_another(engine, checkpoint, monkeypatch):
    core = TvadForConditionalGeneration.from_pretrained(checkpoint)
    assert shared_precision(engine, core) == "float32-vllm"
    with torch.autocast("cpu", torch.bfloat16):
        assert shared_precision(engine, core) is None
    assert shared_precision(engine, core.to(torch.bfloat16)) is None
    parallel = engine.llm.llm_engine.vllm_config.parallel_config
    monkeypatch.setattr(parallel, "world_size", 2)
    assert engine.tower() is None
    assert shared_precision(SimpleNamespace(name="another", sample=None, heatmaps=None), core) is None


KEPT = """
import sys
import numpy as np
import torch
from bench.models.base import Request, Sampling
from bench.models.vllm import VllmModel
from rft.grpo.features import FeatureCache, kept_by
from tvad.data import load
from tvad.data.dataset import ClipStore
checkpoint, scenes, folder = sys.argv[1:]
ASKED = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Is there an anomaly?"}]}
engine = VllmModel(checkpoint, max_num_seqs=4)
tower = engine.llm.llm_engine.model_executor.driver_worker.model_runner.model.visual
clips = [ClipStore(2.0, 8).frames(sample) for sample in load(scenes)[:2]]
requests = [Request([ASKED], clip, key=str(n)) for n, clip in enumerate(clips)]
cache = FeatureCache(folder, 1.0, "tower")
found, runs, inner = [], [], tower.forward
tower.forward = lambda *args, **kwargs: runs.append(1) or inner(*args, **kwargs)
for way in ("plain", "filled", "read"):
    with torch.no_grad():
        engine.sync([])
    runs.clear()
    def draw():
        answers = engine.sample(requests, Sampling(2, 1.0, 1.0, 8, 0))
        return [(c.ids, c.logprobs) for group in answers for c in group], engine.heatmaps(clips)
    if way == "plain":
        found.append(draw())
    else:
        with kept_by(engine, cache, clips, ["a", "b"], engine.processor):
            found.append(draw())
    print(way, len(runs))
for answers, maps in found[1:]:
    assert answers == found[0][0]
    assert all(np.array_equal(a, b) for a, b in zip(maps, found[0][1], strict=True))
vision = engine.llm.model_config.hf_config.vision_config
assert len(cache.get("a").deep) == len(vision.deepstack_visual_indexes) > 0
"""


@pytest.mark.slow
def test_with_deepstack_levels_the_kept_clip_gives_the_same_answers(checkpoint_qwen3, scenes, tmp_path):
    command = [sys.executable, "-c", KEPT, str(checkpoint_qwen3), str(scenes), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["plain", "4", "filled", "2", "read", "0"]
