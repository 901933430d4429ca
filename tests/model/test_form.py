"""What a checkpoint is made as, by keys of its configuration: the published form where nothing is said, what
it was trained as where it is older; each key changes what it names."""

import functools
import json
import shutil

import pytest
import torch
from conftest import ROOT, SHIPPED
from test_model import clip_of, prompt
from transformers import AutoConfig

from bench.models.hf import HfModel
from tvad.common.errors import InputError
from tvad.model import TvadConfig
from tvad.model import tiny as builder
from tvad.model.configuration import ANOMALY_TOKENS, EARLIER_TOKENS, FORM, anomaly_tokens
from tvad.model.start import load, start_from
from tvad.model.tiny import build

PUBLISHED = {key: values[0] for key, values in FORM.items()}
FIRST = PUBLISHED | {"rae_input": "abnormal", "prompt_order": "anomaly_first"}


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer():
    """It takes seconds to train, and no form changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "build_tokenizer", functools.cache(builder.build_tokenizer))
        yield


def tiny(**switches):
    model, processor = build(ROOT / "configs/model/tiny-qwen3.yaml", **switches)
    return model.eval(), processor


def test_a_new_model_has_the_published_form_and_says_so_in_its_files(tmp_path):
    model, processor = tiny()
    assert model.config.form == PUBLISHED and TvadConfig().form == PUBLISHED
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert {key: written[key] for key in FORM} == PUBLISHED and written["tvad_format"] == 2
    assert json.loads((tmp_path / "processor_config.json").read_text())["prompt_order"] == "video_first"
    again, its_processor = load(str(tmp_path))
    assert again.config.form == PUBLISHED and its_processor.prompt_order == "video_first"


@pytest.mark.parametrize("name", ["tvad-tiny", "tvad-tiny-closed"])
def test_shipped_checkpoints_keep_what_they_were_trained_as(name, tmp_path):
    model, processor = start_from(str(ROOT / "assets" / name))
    assert model.config.form == FIRST and processor.prompt_order == "anomaly_first"
    assert model.model.rae.convs[0].in_channels == 1
    assert anomaly_tokens(processor.tokenizer) == EARLIER_TOKENS
    model.save_pretrained(tmp_path)  # and what is trained from them
    assert AutoConfig.from_pretrained(tmp_path).form == FIRST


def test_the_tokens_of_a_new_model_have_the_authors_names():
    assert anomaly_tokens(tiny()[1].tokenizer) == ANOMALY_TOKENS
    assert ANOMALY_TOKENS[1] == "<|anomaly_prompt_pad|>"


@pytest.mark.parametrize("order", FORM["prompt_order"])
@pytest.mark.parametrize("config", ["tiny.yaml", "tiny-qwen3.yaml"])
def test_where_the_anomaly_prompts_stand(config, order):
    _, processor = build(ROOT / "configs/model" / config, prompt_order=order)
    clip, text = clip_of(), prompt(processor)
    vision = processor.vision_inputs([clip])
    ids = processor.encode([text], [clip])["input_ids"][0].tolist()
    assert ids == processor.tokenizer(processor.expand(text, vision["video_grid_thw"][0], clip))["input_ids"]
    start, pad, end = processor.tokenizer.convert_tokens_to_ids(list(ANOMALY_TOKENS))
    opened, video, closed = processor.tokenizer.convert_tokens_to_ids(
        ["<|vision_start|>", "<|video_pad|>", "<|vision_end|>"]
    )
    assert ids[ids.index(start) : ids.index(end) + 1] == [start, *[pad] * 60, end]
    last_video = max(n for n, token in enumerate(ids) if token == video)
    if order == "video_first":
        assert last_video < (last := max(n for n, token in enumerate(ids) if token == closed))
        assert ids.index(start) == last + 1
    else:
        assert ids.index(opened) + 1 == ids.index(start) and ids.index(end) < ids.index(video)
    assert ids.count(opened) == ids.count(closed)  # no end of a video is lost or doubled


def test_a_template_that_does_not_close_its_videos_is_refused():
    _, processor = tiny()
    with pytest.raises(ValueError, match=r"must write <\|vision_end\|> behind <\|video_pad\|>"):
        processor.encode(["<|vision_start|><|video_pad|>what"], [clip_of()])


def answers_to(model, processor):
    """Logits after the prompt, and the soft prompts."""
    with torch.no_grad():
        out = model(**processor.encode([prompt(processor)], [clip_of()]))
    return out.logits[0, -1], out.clips[0].prompts


@pytest.mark.parametrize("key", FORM)
def test_every_key_changes_what_it_names(key):
    made = {}
    for value in FORM[key]:
        model, processor = tiny(**{key: value})
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.08)
        if key == "prompt_features":
            sets = {"normal": ["people walking"], "abnormal": ["a fire"]}
            assert model.set_text_features(processor, sets)
        made[value] = answers_to(model, processor)
    (one, _), (other, _) = made.values()
    assert float((one - other).abs().max()) > 1e-3


def test_rae_sees_both_class_heatmaps_before_the_softmax():
    """The softmax knows only the difference of two logits: what both share reaches RAE in the published form,
    and is lost in the first."""
    for form, moves in (("classes", True), ("abnormal", False)):
        model, processor = tiny(rae_input=form)
        vision = processor.vision_inputs([clip_of()])
        with torch.no_grad():
            (seen,) = model.model.see_clips(vision["pixel_values_videos"], vision["video_grid_thw"])
            before = model.model.understand_clips([seen])[0]
            # Prompts of both classes become the same: no heatmap, but still two maps that change.
            model.model.ahd.text_features[1] = model.model.ahd.text_features[0]
            after = model.model.understand_clips([seen])[0]
        assert torch.allclose(after.heat, torch.full_like(after.heat, 0.5), atol=1e-6)
        assert not torch.equal(before.prompts, after.prompts)
        steps = after.prompts.reshape(3, 20, -1)
        assert (not torch.allclose(steps[0], steps[1], atol=1e-6)) == moves


def test_without_ahd_rae_sees_a_map_that_does_not_change():
    for form in FORM["rae_input"]:
        model, processor = tiny(use_ahd=False, rae_input=form)
        prompts = answers_to(model, processor)[1].reshape(3, 20, -1)
        assert torch.equal(prompts[0], prompts[1])


def test_a_checkpoint_cannot_become_another_form():
    with pytest.raises(
        InputError, match="tvad-tiny: was made with rae_input abnormal, which cannot become cl"
    ):
        start_from(str(SHIPPED), rae_input="classes")
    with pytest.raises(InputError, match="tvad-tiny: was made with prompt_order anomaly_first"):
        start_from(str(SHIPPED), prompt_order="video_first")
    assert start_from(str(SHIPPED), prompt_order=None, rae_input="abnormal")[0].config.form == FIRST


def test_a_processor_of_another_order_than_its_models_is_refused(tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "mixed")
    file = folder / "processor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prompt_order": "video_first"}))
    for opened in (load, HfModel.open):
        with pytest.raises(
            InputError, match=r"prompt_order is video_first in processor_config\.json and anom"
        ):
            opened(str(folder))


def test_an_unknown_form_is_refused_by_its_key():
    with pytest.raises(InputError, match="rae_input is 'both', expected classes or abnormal"):
        TvadConfig(rae_input="both")


def test_an_untrained_start_in_bfloat16_has_the_buffers_of_its_checkpoint(tmp_path):
    model, _ = start_from("tiny", dtype="bfloat16")
    model.save_pretrained(tmp_path)
    opened = dict(type(model).from_pretrained(tmp_path, dtype="auto").named_buffers())
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, own in model.named_buffers():
        assert own.dtype == opened[name].dtype and torch.equal(own, opened[name]), name
