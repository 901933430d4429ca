import copy

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
    Qwen3VLModel,
)
from transformers.vision_utils import get_vision_window_index

from bench.models.base import Request, Sampling
from bench.models.hf import HfModel
from tvad.data import load, video
from tvad.data.dataset import ClipStore
from tvad.model import (
    TvadForConditionalGeneration,
    TvadProcessor,
    TvadQwen3ForConditionalGeneration,
    TvadQwen3Processor,
    count_parameters,
    vision_attention,
)
from tvad.model.ahd import heatmap, patch_targets, to_raster, upsample
from tvad.model.modeling import config_from
from tvad.model.packing import pack
from tvad.model.rae import RegionAwareAnomalyEncoder
from tvad.prompts import messages

CLASSES = {
    "tvad": (TvadForConditionalGeneration, TvadProcessor),
    "tvad_qwen3": (TvadQwen3ForConditionalGeneration, TvadQwen3Processor),
}


@pytest.fixture(scope="module", params=["checkpoint", "checkpoint_published", "checkpoint_qwen3"])
def folder(request):
    """A checkpoint of each backbone family, Qwen2.5-VL as the first ones were made and in the published
    form."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def processor(folder):
    return AutoProcessor.from_pretrained(folder)


def clip_of(t=8, h=48, w=64, seed=0, rate=2.0):
    images = np.random.default_rng(seed).integers(0, 255, (t, h, w, 3), dtype=np.uint8)
    return video.Frames(images, np.arange(t) / rate, np.arange(t), rate, t)


def prompt(processor, text="Is there an anomaly in this video?"):
    return processor.apply_chat_template(messages(text), tokenize=False, add_generation_prompt=True)


def test_auto_classes_load_what_was_saved(folder, model, processor):
    again, loaded = (
        AutoModelForImageTextToText.from_pretrained(folder).eval(),
        AutoProcessor.from_pretrained(folder),
    )
    assert (type(again), type(loaded)) == CLASSES[model.config.model_type]
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    inputs = processor.encode([prompt(processor)], [clip_of()])
    with torch.no_grad():
        assert torch.equal(
            model(**inputs).logits, again(**loaded.encode([prompt(loaded)], [clip_of()])).logits
        )


def test_only_safetensors_are_written(checkpoint):
    assert {p.suffix for p in checkpoint.iterdir()} <= {".safetensors", ".json", ".jinja"}


def seven_billion(hidden=3584, layers=28, heads=28, tie=False):
    """Qwen2.5-VL-7B's configuration, or another size's."""
    return Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=152064,
            hidden_size=hidden,
            intermediate_size=18944,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=4,
            tie_word_embeddings=tie,
        ),
        vision_config=dict(hidden_size=1280, out_hidden_size=hidden, fullatt_block_indexes=[7, 15, 23, 31]),
        tie_word_embeddings=tie,
    )


def test_parameter_counts_on_the_7b_dimensions_are_the_papers():
    found = count_parameters(seven_billion())
    counts = {name: round(value / 1e6, 2) for name, value in found.items()}
    assert counts == {"ahd": 24.96, "rae": 7.54, "base": 8292.17, "total": 8324.67}
    assert (found["ahd"], found["rae"]) == (24_962_053, 7_539_600)


def test_parameter_counts_of_the_other_forms_on_the_7b_dimensions():
    assert count_parameters(seven_billion(), rae_input="abnormal")["rae"] == 7_539_456
    assert count_parameters(seven_billion(), ahd_layout="thesis")["ahd"] == 24_926_725


@pytest.mark.parametrize(
    "changes, total",
    [
        ({"use_ahd": False}, 8299.71),
        ({"use_rae": False}, 8317.13),
        ({"use_ahd": False, "use_rae": False}, 8292.17),
    ],
)
def test_parameter_counts_of_the_ablations_are_the_papers(changes, total):
    assert round(count_parameters(seven_billion(), **changes)["total"] / 1e6, 2) == total


@pytest.mark.parametrize(
    "hidden, layers, heads, ahd, tie",
    [(2048, 36, 16, 17.1, True), (5120, 64, 40, 32.8, False), (8192, 80, 64, 48.6, False)],
)
def test_other_qwen25_sizes_are_counted_on_the_meta_device(hidden, layers, heads, ahd, tie):
    config = seven_billion(hidden=hidden, layers=layers, heads=heads, tie=tie)
    counts = count_parameters(config)
    assert counts["total"] == counts["base"] + counts["ahd"] + counts["rae"]
    assert counts["ahd"] == 4 * (2 * 1280 + 1280 * 1280 + 1280 + 1280 * hidden + hidden + 2 * hidden) + 4 + 1
    assert abs(counts["ahd"] / 1e6 - ahd) < 0.05


def test_qwen3_dimensions_are_counted_and_its_layers_lie_at_the_same_relative_depths():
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=151936,
            hidden_size=4096,
            intermediate_size=12288,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        ),
        vision_config=dict(out_hidden_size=4096),
    )
    counts = count_parameters(config)
    assert 8.7e9 < counts["base"] < 8.8e9 and counts["ahd"] > 2e7
    assert config_from(config).ahd_layers == [0, 6, 13, 26]


def slow_positions(ids, runs, config):
    """One token after the other, as one would by hand. runs: (t, h, w, step in time) of every run of video
    tokens, merged patches."""
    out, at, i = [], 0, 0
    runs = list(runs)
    while i < len(ids):
        if ids[i] == config.video_token_id and runs:
            t, h, w, step = runs.pop(0)
            here = [
                (at + int(a * step), at + b, at + c) for a in range(t) for b in range(h) for c in range(w)
            ]
            out += here
            at = max(max(p) for p in here) + 1
            i += len(here)
        else:
            out.append((at, at, at))
            at, i = at + 1, i + 1
    return torch.tensor(out).T


@example(6, 1, 1, 2.6, 0, 0, 0)  # in float32 the last step's position is 26, not 25
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.floats(0.1, 3),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_positions_against_the_slow_reference(model, t, h, w, seconds, before, after, padding):
    config, grid = model.config, (t, 2 * h, 2 * w)
    pixels = [config.video_token_id] * (h * w)
    if config.model_type == "tvad":
        step = float(torch.tensor(seconds)) * config.vision_config.tokens_per_second
        runs, clip = [(t, h, w, step)], pixels * t
    else:
        runs, clip = [(1, h, w, 1)] * t, [token for n in range(t) for token in [42] * (1 + n % 3) + pixels]
    ids = [40] * before + clip + [41] * after + [config.video_token_id] * 2  # two stray tokens
    row = torch.tensor([[0] * padding + ids])
    mask = torch.tensor([[0] * padding + [1] * len(ids)])
    found, delta = model.model.get_rope_index(
        row,
        video_grid_thw=torch.tensor([grid]),
        second_per_grid_ts=torch.tensor([seconds]),
        attention_mask=mask,
    )
    assert torch.equal(found[:, 0, padding:], slow_positions(ids, runs, config))
    assert int(delta) == int(found[:, 0, padding:].max()) + 1 - len(ids)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0, 2, 3, 4]))
@settings(max_examples=40, deadline=None)
def test_raster_order_undoes_windows_and_merging(t, h, w, window):
    """window 0: a tower without windows (Qwen3-VL)."""
    raster = torch.arange(t * 4 * h * w).reshape(t, h, 2, w, 2)
    groups, index = raster.permute(0, 1, 3, 2, 4).reshape(-1, 4), None
    if window:
        order = []  # by hand: windows row by row, groups row by row within each
        for step in range(t):
            for top in range(0, h, window):
                for left in range(0, w, window):
                    for y in range(top, min(h, top + window)):
                        order += [step * h * w + y * w + x for x in range(left, min(w, left + window))]
        index = torch.tensor(order)
        theirs, _ = get_vision_window_index(
            torch.tensor([[t, 2 * h, 2 * w]]),
            spatial_merge_size=2,
            window_size=window * 16,
            patch_size=8,
            kwargs={},
        )
        assert torch.equal(index, theirs)
        groups = groups[index]
    assert torch.equal(
        to_raster(groups.reshape(-1, 1).float(), index, t, 2 * h, 2 * w, 2)[:, 0].long(),
        torch.arange(t * 4 * h * w),
    )


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.data())
@settings(max_examples=25, deadline=None)
def test_a_bright_patch_lights_its_place_in_the_heatmap(model, t, h, w, data):
    """Features of the model's own tower order, one patch unlike the others: its place in the picture lights
    up, nothing else."""
    grid = (t, 2 * h, 2 * w)
    place = data.draw(st.tuples(*(st.integers(0, n - 1) for n in grid)))
    core, d = model.model, model.config.vision_config.hidden_size
    plain, bright = torch.randn(2, d, generator=torch.Generator().manual_seed(0))
    raster_index = torch.arange(t * 4 * h * w, dtype=torch.float)[:, None]
    position_in_raster = core.raster(raster_index, grid)[
        :, 0
    ].long()  # the tower's index of every raster place
    features = plain.repeat(len(raster_index), 1)
    flat = (place[0] * grid[1] + place[1]) * grid[2] + place[2]
    features[position_in_raster[flat]] = bright
    decoder = copy.deepcopy(core.ahd)
    with torch.no_grad():
        decoder.layer_weights.copy_(torch.tensor([1.0, 0, 0, 0]))
        decoder.text_features.copy_(torch.stack([decoder.mlps[0](plain), decoder.mlps[0](bright)]))
        heat = heatmap(decoder([core.raster(features, grid)] * 4, [grid]).logits, *grid)
    lit = (heat > 0.5).nonzero().tolist()
    assert lit == [list(place)]


def test_positions_of_whole_prompts_are_the_backbones_own_where_those_agree_with_vllm(model, processor):
    """Qwen3-VL numbers single frames, so transformers' rule and the original one are the same there."""
    if model.config.model_type == "tvad":
        pytest.skip(
            "transformers numbers text after a Qwen2.5-VL clip otherwise: see DESIGN, checked against vLLM"
            " instead"
        )
    inputs = processor.encode(
        [prompt(processor), prompt(processor, "When?")], [clip_of(), clip_of(5, 96, 64)], padding=True
    )
    theirs, _ = Qwen3VLModel.get_rope_index(
        model.model,
        **{k: inputs[k] for k in ("input_ids", "mm_token_type_ids", "video_grid_thw", "attention_mask")},
    )
    ours, _ = model.model.get_rope_index(
        inputs["input_ids"], video_grid_thw=inputs["video_grid_thw"], attention_mask=inputs["attention_mask"]
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "changes", [{"use_ahd": False}, {"use_rae": False}, {"use_ahd": False, "use_rae": False}]
)
def test_ablated_models_run_and_show_what_they_lack(model, folder, changes):
    config = type(model.config).from_pretrained(folder, **changes)
    torch.manual_seed(0)
    ablated = type(model)(config).eval()
    processor = AutoProcessor.from_pretrained(folder, anomaly_prompts_per_step=config.prompts_per_step)
    inputs = processor.encode([prompt(processor)], [clip_of()])
    with torch.no_grad():
        out = ablated(**inputs)
    assert (out.clips[0].heat is None) == (not config.use_ahd)
    assert (len(out.clips[0].prompts) == 0) == (not config.use_rae)
    assert bool((inputs["input_ids"] == config.anomaly_pad_token_id).any()) == config.use_rae
    if not config.use_ahd and config.use_rae:  # a constant map: every step's prompts are the same
        steps = out.clips[0].prompts.reshape(3, 20, -1)
        assert torch.allclose(steps[0], steps[1])


def test_gradient_checkpointing_changes_no_gradient(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()])
    found = []
    for checkpointing in (False, True):
        trained = copy.deepcopy(model).train()
        if checkpointing:
            trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        out = trained(**inputs, labels=inputs["input_ids"], use_cache=False)
        (out.loss + out.clips[0].heat.mean()).backward()
        found.append({n: p.grad.clone() for n, p in trained.named_parameters() if p.grad is not None})
    assert (
        found[0].keys() == found[1].keys()
        and any("visual.blocks.0" in n for n in found[0])
        and any("ahd" in n for n in found[0])
    )
    assert all(torch.allclose(found[0][n], found[1][n], atol=1e-5) for n in found[0])


def test_attention_implementations_and_bf16_agree(model, processor, folder):
    inputs = processor.encode(
        [prompt(processor), prompt(processor, "When?")], [clip_of(), clip_of(5, 96, 64)], padding=True
    )
    eager = type(model).from_pretrained(folder, attn_implementation="eager").eval()
    half = copy.deepcopy(model).bfloat16()
    kept = inputs["attention_mask"].bool()
    with torch.no_grad():
        a, b, c = model(**inputs), eager(**inputs), half(**inputs)
    assert torch.allclose(a.logits[kept], b.logits[kept], atol=1e-3)
    for mine, theirs in zip(a.clips, c.clips, strict=True):
        assert c.logits.dtype == torch.bfloat16 and float((mine.heat - theirs.heat).abs().max()) < 0.1


def test_text_alone_and_images_are_the_backbones(model, processor):
    ids = torch.tensor([[40, 41, 42]])
    config = model.config
    image = processor.image_processor(images=[np.zeros((56, 56, 3), np.uint8)], return_tensors="pt")
    count = int(image["image_grid_thw"].prod()) // 4
    seen = torch.tensor([[40, *[config.image_token_id] * count, 41]])
    with torch.no_grad():
        assert model(input_ids=ids).logits.shape == (1, 3, config.text_config.vocab_size)
        plain = model(input_ids=seen, **image).logits
        image["pixel_values"] = image["pixel_values"] + 1
        assert not torch.allclose(plain, model(input_ids=seen, **image).logits)


def test_a_stray_video_token_in_a_completion_neither_crashes_nor_shifts(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()])
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
    inputs = processor.encode([prompt(processor)], [clip_of()])
    with torch.no_grad():
        probabilities = model(**inputs).logits.softmax(-1)
    assert len(model.config.forbidden_token_ids) == 7
    assert float(probabilities[..., model.config.forbidden_token_ids].max()) == 0.0


def test_one_encoded_clip_serves_many_rows(model, processor):
    inputs = processor.encode([prompt(processor)] * 3, [clip_of(seed=s) for s in (0, 1, 0)])
    inputs.pop("mm_token_type_ids")
    patches = inputs["video_grid_thw"][0].prod()
    shared = dict(inputs) | {
        "pixel_values_videos": inputs["pixel_values_videos"][: 2 * patches],
        "video_grid_thw": inputs["video_grid_thw"][:2],
        "clip_index": torch.tensor([0, 1, 0]),
    }
    if "second_per_grid_ts" in inputs:
        shared["second_per_grid_ts"] = inputs["second_per_grid_ts"][:2]
    with torch.no_grad():
        assert torch.allclose(model(**inputs).logits, model(**shared).logits, atol=1e-5)


def test_too_few_placeholders_are_an_error(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()])
    inputs["input_ids"][inputs["input_ids"] == model.config.video_token_id] = 41
    with pytest.raises(ValueError, match="tokens"):
        model(**inputs)


def test_branches_that_share_a_prefix_equal_separate_rows(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()])
    inputs.pop("mm_token_type_ids")
    ids = inputs.pop("input_ids")[0]
    inputs.pop("attention_mask")
    branches = [torch.randint(20, 300, (n,), generator=torch.Generator().manual_seed(n)) for n in (3, 9, 1)]
    packed = pack([ids], [branches], 0)
    positions, _ = model.model.get_rope_index(
        ids[None],
        video_grid_thw=inputs["video_grid_thw"],
        second_per_grid_ts=inputs.get("second_per_grid_ts"),
    )
    with torch.no_grad():
        together = model(
            input_ids=packed.input_ids,
            attention_mask=packed.attention_mask(model.model.language_model),
            position_ids=packed.position_ids(positions),
            clip_index=torch.tensor([0]),
            **inputs,
        ).logits[0]
        at = len(ids)
        for branch in branches:
            alone = model(input_ids=torch.cat([ids, branch])[None], **inputs).logits[0]
            assert torch.allclose(together[at : at + len(branch)], alone[len(ids) :], atol=2e-4)
            at += len(branch)


def test_generate_agrees_with_forward_step_by_step(model, processor):
    inputs = processor.encode([prompt(processor)], [clip_of()])
    with torch.no_grad():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=8, min_new_tokens=8)
        ids = inputs.pop("input_ids")
        inputs.pop("attention_mask")
        inputs.pop("mm_token_type_ids")
        for i in range(8):
            logits = model(input_ids=out[:, : ids.shape[1] + i], **inputs).logits[0, -1]
            logits[model.generation_config.eos_token_id] = -1e9
            assert int(logits.argmax()) == int(out[0, ids.shape[1] + i])


def test_the_first_token_of_several_rows_takes_no_copies_of_the_weights(model, processor):
    """A linear layer in bfloat16 on a CPU copies its weights for every row of an input that is a slice: 17 GB
    for sixteen rows and the vocabulary of Qwen2.5-VL."""
    inputs = processor.encode([prompt(processor)] * 3, [clip_of(seed=s) for s in (0, 1, 0)])
    seen = []
    hook = model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        model.generate(**inputs, do_sample=False, max_new_tokens=2)
    finally:
        hook.remove()
    assert seen[0].shape[:2] == (3, 1) and all(hidden.is_contiguous() for hidden in seen)


def test_sampling_is_seeded_and_reports_its_own_logprobs(model, processor):
    engine = HfModel(model, processor)
    requests = [Request(messages("What happens in this video?"), clip_of())]
    draw = [engine.sample(requests, Sampling(3, 1.0, max_tokens=6, seed=s))[0] for s in (1, 1, 2)]
    assert [c.ids for c in draw[0]] == [c.ids for c in draw[1]] != [c.ids for c in draw[2]]
    assert all(len(c.ids) == len(c.logprobs) and max(c.logprobs) <= 0 for c in draw[0])


def test_a_heatmaps_change_keeps_its_size_on_the_way_through_an_untrained_rae(folder):
    config = AutoConfig.from_pretrained(folder)
    config.initializer_range = config.text_config.initializer_range = (
        config.vision_config.initializer_range
    ) = 0.02  # a real backbone's
    torch.manual_seed(0)
    rae = AutoModelForImageTextToText.from_config(config).model.rae
    maps = torch.zeros(2, rae.inputs, 16, 16)
    maps[1, -1, 4:10, 4:10] = 1.0
    with torch.no_grad():
        features = rae.convs(maps[1:] - maps[:-1])
    assert 0.1 < float(features[..., 4:10, 4:10].abs().mean()) < 2.0


def test_rae_tokens_follow_the_change_and_vanish_without_one():
    rae = RegionAwareAnomalyEncoder(16, hidden=8)
    assert rae(torch.rand(5, 2, 9, 7)).shape == (4 * 20, 16)
    assert rae(torch.rand(1, 2, 9, 7)).shape == (0, 16)


def test_targets_mark_a_step_where_either_frame_is_anomalous():
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[1, :8, 8:] = True
    masks[2, 8:, :8] = True
    targets = patch_targets(masks, 2, 2)
    assert targets.tolist() == [[[0, 1], [0, 0]], [[0, 0], [1, 0]]]
    assert upsample(targets.float(), 3, 16, 16).shape == (3, 16, 16)


def test_clips_are_decoded_once(scenes, monkeypatch):
    store, sample = ClipStore(2.0, 8), load(scenes)[0]
    first = store.frames(sample)
    monkeypatch.setattr(video, "decode", lambda *a: pytest.fail("decoded again"))
    assert store.frames(sample) is first


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_embedding_and_attention_equal_the_backbones_piece_by_piece(model, implementation):
    """Clips of several sizes, whose windows are cut at the edges: the same as transformers' loop, and the
    same weights."""
    tower = copy.deepcopy(model.model.visual)
    tower.config._attn_implementation = implementation
    grids = torch.tensor([[2, 8, 8], [1, 6, 10], [3, 4, 14]])
    patches = torch.randn(
        int(grids.prod(1).sum()),
        tower.patch_embed.proj.weight[0].numel(),
        generator=torch.Generator().manual_seed(1),
    )
    names = list(tower.state_dict())
    with torch.no_grad():
        ours = tower(patches, grid_thw=grids)
        backbones = {own: backbone for backbone, own in vision_attention.CLASSES.items()}
        for part in (tower.patch_embed.proj, *(block.attn for block in tower.blocks)):
            part.__class__ = backbones[type(part)]
        expected = tower(patches, grid_thw=grids)
    assert names == list(tower.state_dict())
    assert torch.allclose(ours.pooler_output, expected.pooler_output, atol=1e-5)
    assert torch.allclose(ours.last_hidden_state, expected.last_hidden_state, atol=1e-5)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 200))
@settings(deadline=None)
def test_every_token_stands_in_one_group_of_bounded_size(lengths, pairs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision_attention, "PAIRS", pairs)
        groups = vision_attention.rows_by_length(lengths)
    starts = [sum(lengths[:n]) for n in range(len(lengths))]
    pieces = sorted((row[0], len(row)) for rows in groups for row in rows.tolist())
    assert pieces == list(zip(starts, lengths, strict=True)) and all(
        row == list(range(row[0], row[0] + len(row))) for rows in groups for row in rows.tolist()
    )
    assert all(rows.shape[0] * rows.shape[1] ** 2 <= max(pairs, rows.shape[1] ** 2) for rows in groups)


def test_clips_encoded_together_equal_clips_encoded_alone(model, processor):
    clips = [clip_of(), clip_of(5, 96, 64), clip_of(2, 64, 112)]
    together = processor.vision_inputs(clips)
    with torch.no_grad():
        found = model.model.encode_clips(together["pixel_values_videos"], together["video_grid_thw"])
        for clip, one in zip(clips, found, strict=True):
            alone = processor.vision_inputs([clip])
            (expected,) = model.model.encode_clips(alone["pixel_values_videos"], alone["video_grid_thw"])
            assert one.grid == expected.grid
            for ours, theirs in (
                (one.video, expected.video),
                (one.heat_logits, expected.heat_logits),
                (one.prompts, expected.prompts),
            ):
                assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_frozen_tower_is_in_no_graph_under_gradient_checkpointing_either(folder, processor):
    model = TvadForConditionalGeneration.from_pretrained(folder)
    model.train().gradient_checkpointing_enable({"use_reentrant": False})
    vision = processor.vision_inputs([clip_of()])

    def seen():
        return model.model.see_clips(vision["pixel_values_videos"], vision["video_grid_thw"])[0]

    tower = model.model.visual.requires_grad_(False)
    assert not seen().video.requires_grad and not any(layer.requires_grad for layer in seen().layers)
    next(tower.blocks[0].parameters()).requires_grad_(True)
    assert seen().video.requires_grad
