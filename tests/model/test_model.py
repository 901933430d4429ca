import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLConfig

from bench.models.base import Request, Sampling
from bench.models.hf import HfModel
from tvad.data import load, video
from tvad.data.dataset import ClipStore
from tvad.model import TvadForConditionalGeneration, TvadProcessor, count_parameters
from tvad.model.ahd import patch_targets, to_raster, upsample
from tvad.model.packing import pack
from tvad.model.rae import RegionAwareAnomalyEncoder
from tvad.prompts import messages


@pytest.fixture(scope="module")
def model(checkpoint):
    return TvadForConditionalGeneration.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def processor(checkpoint):
    return TvadProcessor.from_pretrained(checkpoint)


def clip_of(t=8, h=48, w=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (t, h, w, 3), dtype=np.uint8)


def prompt(processor, text="Is there an anomaly in this video?"):
    return processor.apply_chat_template(messages(text), tokenize=False, add_generation_prompt=True)


def test_auto_classes_load_what_was_saved(checkpoint, model, processor):
    again, loaded = AutoModelForImageTextToText.from_pretrained(checkpoint).eval(), AutoProcessor.from_pretrained(checkpoint)
    assert type(again) is TvadForConditionalGeneration and type(loaded) is TvadProcessor
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    inputs = processor.encode([prompt(processor)], [clip_of()], [2.0])
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, again(**loaded.encode([prompt(loaded)], [clip_of()], [2.0])).logits)


def test_only_safetensors_are_written(checkpoint):
    assert {p.suffix for p in checkpoint.iterdir()} <= {".safetensors", ".json", ".jinja"}


def test_parameter_counts_on_the_7b_dimensions_are_the_papers():
    config = Qwen2_5_VLConfig(
        text_config=dict(vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
                         num_key_value_heads=4),
        vision_config=dict(hidden_size=1280, out_hidden_size=3584, fullatt_block_indexes=[7, 15, 23, 31]), tie_word_embeddings=False,
    )  # fmt: skip
    counts = {name: round(value / 1e6, 2) for name, value in count_parameters(config).items()}
    assert counts == {"ahd": 24.96, "rae": 7.54, "base": 8292.17, "total": 8324.67}


def slow_positions(ids, grids, seconds, config):
    """One token after the other, as one would by hand."""
    merge, out, at, i, clip = 2, [], 0, 0, 0
    while i < len(ids):
        if ids[i] == config.video_token_id and clip < len(grids):
            t, h, w = grids[clip]
            here = []
            for a in range(t):
                for b in range(h // merge):
                    for c in range(w // merge):
                        here.append((at + int(a * seconds[clip] * config.vision_config.tokens_per_second), at + b, at + c))
            out += here
            at = max(max(p) for p in here) + 1
            i, clip = i + len(here), clip + 1
        else:
            out.append((at, at, at))
            at, i = at + 1, i + 1
    return torch.tensor(out).T


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.floats(0.1, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_positions_against_the_slow_reference(model, t, h, w, seconds, before, after, padding):
    config, grid = model.config, (t, 2 * h, 2 * w)
    ids = [40] * before + [config.video_token_id] * (t * h * w) + [41] * after + [config.video_token_id] * 2  # two stray tokens
    row = torch.tensor([[0] * padding + ids])
    mask = torch.tensor([[0] * padding + [1] * len(ids)])
    found, delta = model.model.get_rope_index(row, video_grid_thw=torch.tensor([grid]), second_per_grid_ts=torch.tensor([seconds]), attention_mask=mask)
    seconds32 = float(torch.tensor(seconds))
    assert torch.equal(found[:, 0, padding:], slow_positions(ids, [grid], [seconds32], config))
    assert int(delta) == int(found[:, 0, padding:].max()) + 1 - len(ids)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 3, 4]))
@settings(max_examples=40, deadline=None)
def test_raster_order_undoes_windows_and_merging(t, h, w, window):
    from transformers.vision_utils import get_vision_window_index

    grid = torch.tensor([[t, 2 * h, 2 * w]])
    index, _ = get_vision_window_index(grid, spatial_merge_size=2, window_size=window * 16, patch_size=8, kwargs={})
    raster = torch.arange(t * 4 * h * w).reshape(t, h, 2, w, 2)
    towers = raster.permute(0, 1, 3, 2, 4).reshape(-1, 4)[index].reshape(-1, 1).float()
    assert torch.equal(to_raster(towers, index, t, 2 * h, 2 * w, 2)[:, 0].long(), torch.arange(t * 4 * h * w))


def test_a_stray_video_token_in_a_completion_neither_crashes_nor_shifts(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()], [2.0])
    inputs.pop("mm_token_type_ids")
    config = model.config
    for stray in (config.video_token_id, config.anomaly_pad_token_id):
        tail = torch.tensor([[50, stray, 51]])
        ids = torch.cat([inputs["input_ids"], tail], 1)
        extra = dict(inputs) | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            plain, odd = model(**inputs).logits, model(**extra).logits
        assert torch.allclose(plain, odd[:, : plain.shape[1]], atol=1e-4)


def test_tokens_that_stand_for_pixels_are_never_generated(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()], [2.0])
    with torch.no_grad():
        probabilities = model(**inputs).logits.softmax(-1)
    assert len(model.config.forbidden_token_ids) == 7
    assert float(probabilities[..., model.config.forbidden_token_ids].max()) == 0.0


def test_one_encoded_clip_serves_many_rows(model, processor):
    inputs = processor.encode([prompt(processor)] * 3, [clip_of(seed=s) for s in (0, 1, 0)], [2.0] * 3)
    inputs.pop("mm_token_type_ids")
    patches = inputs["video_grid_thw"][0].prod()
    shared = dict(inputs) | {
        "pixel_values_videos": inputs["pixel_values_videos"][: 2 * patches], "video_grid_thw": inputs["video_grid_thw"][:2],
        "second_per_grid_ts": inputs["second_per_grid_ts"][:2], "clip_index": torch.tensor([0, 1, 0]),
    }  # fmt: skip
    with torch.no_grad():
        assert torch.allclose(model(**inputs).logits, model(**shared).logits, atol=1e-5)


def test_too_few_placeholders_are_an_error(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()], [2.0])
    inputs["input_ids"][inputs["input_ids"] == model.config.video_token_id] = 41
    with pytest.raises(ValueError, match="tokens"):
        model(**inputs)


def test_branches_that_share_a_prefix_equal_separate_rows(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()], [2.0])
    inputs.pop("mm_token_type_ids")
    ids = inputs.pop("input_ids")[0]
    inputs.pop("attention_mask")
    branches = [torch.randint(20, 300, (n,), generator=torch.Generator().manual_seed(n)) for n in (3, 9, 1)]
    packed = pack([ids], [branches], 0)
    positions, _ = model.model.get_rope_index(ids[None], video_grid_thw=inputs["video_grid_thw"], second_per_grid_ts=inputs["second_per_grid_ts"])
    with torch.no_grad():
        together = model(
            input_ids=packed.input_ids, attention_mask=packed.attention_mask(), position_ids=packed.position_ids(positions), clip_index=torch.tensor([0]),
            **inputs,
        ).logits[0]
        at = len(ids)
        for branch in branches:
            alone = model(input_ids=torch.cat([ids, branch])[None], **inputs).logits[0]
            assert torch.allclose(together[at : at + len(branch)], alone[len(ids) :], atol=2e-4)
            at += len(branch)


def test_generate_agrees_with_forward_step_by_step(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()], [2.0])
    with torch.no_grad():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=8, min_new_tokens=8)
        ids = inputs.pop("input_ids")
        inputs.pop("attention_mask")
        inputs.pop("mm_token_type_ids")
        for i in range(8):
            logits = model(input_ids=out[:, : ids.shape[1] + i], **inputs).logits[0, -1]
            logits[model.generation_config.eos_token_id] = -1e9
            assert int(logits.argmax()) == int(out[0, ids.shape[1] + i])


def test_sampling_is_seeded_and_reports_its_own_logprobs(model, processor):
    engine = HfModel(model, processor)
    frames = video.Frames(clip_of(), np.arange(8) / 2, np.arange(8), 2.0, 8)
    requests = [Request(messages("What happens in this video?"), frames)]
    draw = [engine.sample(requests, Sampling(3, 1.0, max_tokens=6, seed=s))[0] for s in (1, 1, 2)]
    assert [c.ids for c in draw[0]] == [c.ids for c in draw[1]] != [c.ids for c in draw[2]]
    assert all(len(c.ids) == len(c.logprobs) and max(c.logprobs) <= 0 for c in draw[0])


def test_rae_tokens_follow_the_change_and_vanish_without_one():
    rae = RegionAwareAnomalyEncoder(16, hidden=8)
    assert rae(torch.rand(5, 9, 7)).shape == (4 * 20, 16)
    assert rae(torch.rand(1, 9, 7)).shape == (0, 16)


def test_targets_mark_a_step_where_either_frame_is_anomalous():
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[1, :8, 8:] = True
    masks[2, 8:, :8] = True
    targets = patch_targets(masks, 2, 2)
    assert targets.tolist() == [[[0, 1], [0, 0]], [[0, 0], [1, 0]]]
    assert upsample(targets.float(), 3, 16, 16).shape == (3, 16, 16)


def test_real_surveillance_clips_run_through_a_model(checkpoint, tmp_path):
    from conftest import shared

    from tvad.infer import infer, open_model

    path = shared("data/ubnormal/abnormal_scene_29_scenario_3.mp4")
    model, processor = open_model(str(checkpoint))
    result = infer(model, processor, str(path), ["What is the target?"], str(tmp_path))
    assert (result["width"], result["height"], result["frames"]) == (1080, 720, 451)
    assert len(result["frame_scores"]) == 451 and len(result["dialogue"]) == 4
    assert (tmp_path / "heatmap.png").stat().st_size > 1000 and (tmp_path / "result.json").exists()


def test_clips_are_decoded_once(scenes, monkeypatch):
    store, sample = ClipStore(2.0, 8), load(scenes)[0]
    first = store.frames(sample)
    monkeypatch.setattr(video, "decode", lambda *a: pytest.fail("decoded again"))
    assert store.frames(sample) is first


def test_the_shipped_model_config_builds():
    assert (ROOT / "configs/model/tiny.yaml").exists()
