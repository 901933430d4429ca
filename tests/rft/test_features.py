"""By what a clip's features are found again: everything that decides them, and nothing that need be in
memory."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import SHIPPED
from outcomes import in_two_processes
from safetensors.torch import load_file, save_file

from rft.grpo.features import FeatureCache, clip_keys, precision_of, seen_clips, tower_hash
from rft.grpo.rollout import Rollout
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadForConditionalGeneration, TvadProcessor


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "copy")


def rewritten(folder, change):
    """The checkpoint with `change` made of its weights."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    return tower_hash(folder)


def test_another_tower_is_another_and_the_rest_of_the_model_is_not_asked(copy):
    known = tower_hash(SHIPPED)
    assert tower_hash(copy) == known
    plus = lambda part: lambda weights: {k: v + 1 if part in k else v for k, v in weights.items()}  # noqa: E731
    assert rewritten(copy, plus("lm_head")) == known
    assert rewritten(copy, plus("visual.merger")) != known


def test_a_tower_under_its_published_names_and_in_parts_is_the_same(copy):
    """Qwen's own checkpoints say `visual.`, in several files."""
    known, weights = tower_hash(SHIPPED), load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    for n in (0, 1):
        part = {
            k.replace("model.visual.", "visual."): v for i, (k, v) in enumerate(weights.items()) if i % 2 == n
        }
        save_file(part, copy / f"model-{n}.safetensors")
    assert tower_hash(copy) == known


@pytest.mark.parametrize("key", ["ahd_layers", "vision_config.window_size", "use_ahd"])
def test_what_is_read_off_the_tower_counts(copy, key):
    config = json.loads((copy / "config.json").read_text())
    *outer, name = key.split(".")
    (config[outer[0]] if outer else config)[name] = [0, 1] if name == "ahd_layers" else 0
    (copy / "config.json").write_text(json.dumps(config))
    assert tower_hash(copy) != tower_hash(SHIPPED)


def test_a_checkpoint_without_a_tower_is_refused(copy):
    with pytest.raises(InputError, match="holds no weights of a vision tower"):
        rewritten(copy, lambda weights: {k: v for k, v in weights.items() if "visual" not in k})


def test_a_clip_is_what_the_tower_is_given_of_it(scenes):
    """Normalisation and size of the same frames; not which clips stand beside."""
    clips = [ClipStore(2.0, 8).frames(sample) for sample in load(scenes)[:2]]

    def keys(**knobs):
        processor = TvadProcessor.from_pretrained(SHIPPED)
        for name, value in knobs.items():
            setattr(processor.video_processor, name, value)
        return clip_keys(processor.vision_inputs(clips))

    known = keys()
    assert len(set(known)) == 2
    (alone,) = clip_keys(TvadProcessor.from_pretrained(SHIPPED).vision_inputs(clips[1:]))
    assert alone == known[1]
    for other in (keys(image_mean=[0.5] * 3), keys(image_std=[0.4] * 3), keys(do_rescale=False)):
        assert not set(other) & set(known)


def test_the_precision_of_here_and_now_counts():
    core = TvadForConditionalGeneration.from_pretrained(SHIPPED)
    found = {precision_of(core)}
    with torch.autocast("cpu", torch.bfloat16):
        found.add(precision_of(core))
    found.add(precision_of(core.to(torch.bfloat16)))
    assert len(found) == 3


def test_a_process_that_lacks_nothing_runs_the_tower_beside_one_that_does(scenes, tmp_path, monkeypatch):
    """Its weights are gathered by all together."""
    core = TvadForConditionalGeneration.from_pretrained(SHIPPED)
    clips = [ClipStore(2.0, 8).frames(sample) for sample in load(scenes)[:3]]
    vision = TvadProcessor.from_pretrained(SHIPPED).vision_inputs(clips)
    rollout = Rollout(vision, ["a", "b", "c"], clip_keys(vision), torch.arange(3))
    cache, runs = FeatureCache(tmp_path, 1.0, "tower"), []
    inner = core.model.see_clips

    def counted(pixels, grids):
        runs.append(len(grids))
        return inner(pixels, grids)

    monkeypatch.setattr(core.model, "see_clips", counted)

    def seen(groups, missing_elsewhere):
        beside = torch.tensor([missing_elsewhere])
        accelerator = SimpleNamespace(device="cpu", gather=lambda count: torch.cat([count, beside]))
        return seen_clips(cache, core, rollout, groups, accelerator)

    first = seen([0, 2, 0], 0)
    assert runs == [2] and cache.misses == 2 and len(first) == 3
    again = seen([2, 0], 0)
    assert runs == [2] and torch.equal(again[0].video, first[1].video)
    kept = sorted(tmp_path.rglob("*.safetensors"))
    beside = seen([2, 0], 4)
    assert runs == [2, 1] and torch.equal(beside[1].video, first[0].video)
    assert sorted(tmp_path.rglob("*.safetensors")) == kept
    seen([1, 0], 1)
    assert runs == [2, 1, 1] and cache.misses == 3


SHARDED = """
import sys
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from rft.grpo.features import sees
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadForConditionalGeneration, TvadProcessor
torch.distributed.init_process_group("gloo")
core = TvadForConditionalGeneration.from_pretrained(sys.argv[1])
core.model.visual.requires_grad_(False)
clip = ClipStore(2.0, 8).frames(load(sys.argv[2])[0])
vision = TvadProcessor.from_pretrained(sys.argv[1]).vision_inputs([clip])
given = vision["pixel_values_videos"], vision["video_grid_thw"]
ids = torch.arange(3, 40)[None]
with torch.no_grad():
    expected, logits = core.see_clips(*given)[0].video, core(input_ids=ids).logits
mesh = init_device_mesh("cpu", (2,))
for block in [*core.model.visual.blocks, *core.model.language_model.layers]:
    fully_shard(block, mesh=mesh)
fully_shard(core, mesh=mesh)
for _ in range(2):
    with torch.no_grad():
        found = sees(core)(*given)[0].video
    assert torch.allclose(found, expected, atol=1e-5)
out = core(input_ids=ids).logits
assert torch.allclose(out, logits, atol=1e-4)
out.mean().backward()
assert all(p.grad is None for p in core.model.visual.parameters())
assert next(core.model.language_model.layers[0].parameters()).grad is not None
"""


@pytest.mark.slow
def test_a_tower_that_is_shared_out_sees_what_a_whole_one_does(scenes, tmp_path):
    """FSDP2 in two processes: only the whole model gathers what is in no block of its own."""
    in_two_processes(tmp_path / "sharded.py", SHARDED, SHIPPED, scenes, timeout=300)
