import dataclasses
import json
import shutil

import pytest
import torch
from conftest import ROOT
from stage_kills import killed_in_step_4
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from bench.models.hf import HfModel
from bench.tasks import heatmap
from rft.common.trainable import LoraSpec, add_lora, select_trainable
from rft.curriculum.arguments import arguments_of, steps_of
from rft.curriculum.config import (
    Curriculum,
    Data,
    Losses,
    Optimiser,
    ReadOuts,
    Selection,
    Stage,
    Texts,
    applicable,
)
from rft.curriculum.data import Branches, ClipCollator
from rft.curriculum.losses import stage_losses
from rft.curriculum.optimizer import muon_and_adamw
from rft.curriculum.read_outs import OBJECTS, object_targets, token_targets
from rft.curriculum.stage import run
from rft.curriculum.views import View, draw_view
from rft.studies import ablation
from rft.studies.ablation import VARIANTS, Ablation
from tvad.common import config
from tvad.common.errors import InputError
from tvad.data import load, save
from tvad.data.dataset import ClipStore
from tvad.data.narrate import narratives
from tvad.data.questions import ASKED, DIALOGUE, FIGURE
from tvad.data.sample import Track
from tvad.data.scenes.dataset import ScenesConfig, generate
from tvad.model import TvadForConditionalGeneration, TvadProcessor, prompt_sets
from tvad.model.ahd import patch_targets
from tvad.model.configuration import ANOMALY_TOKENS
from tvad.model.start import start_from
from tvad.model.tiny import build
from tvad.prompts import messages
from tvad.use.infer import Dialogue
from tvad.use.replies import Reply

PROMPTS = {"normal": ["people walking"], "abnormal": ["an anomaly"]}
SILENT = Texts(kinds=[])
HEAT = dict(texts=SILENT, losses=Losses(text=0.0, heatmap=1.0))  # heatmaps alone


@pytest.fixture
def parts(checkpoint):
    return TvadForConditionalGeneration.from_pretrained(checkpoint), TvadProcessor.from_pretrained(checkpoint)


@pytest.fixture(params=["checkpoint", "checkpoint_qwen3"])
def either(request):
    """Model and processor of each backbone family."""
    folder = request.getfixturevalue(request.param)
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def changed(before, model):
    return {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}


def carry_out(parts, tmp_path, data, trains, optimiser=None, **groups):
    """Two steps of two clips, unless told otherwise; `data`: a folder or a `Data`."""
    model, processor = parts
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = data if isinstance(data, Data) else Data(str(data))
    plan = Optimiser(**{"steps": 2, "lr": 1e-2, "batch": 2, **(optimiser or {})})
    stage = Stage("x", trains, data, optimiser=plan, **groups)
    trained = run(stage, model, processor, tmp_path, 0, 2.0, 8, PROMPTS, log=lambda text: None)
    return before, trained


def different(model, other, tolerance=0.0):
    theirs = other.state_dict()
    return [
        name
        for name, value in model.state_dict().items()
        if not torch.allclose(value, theirs[name], rtol=0, atol=tolerance)
    ]


@pytest.mark.parametrize("family", ["checkpoint", "checkpoint_qwen3"])
def test_the_next_stage_gets_what_the_checkpoint_of_this_one_holds(family, request, scenes, tmp_path):
    """In bfloat16 too: rotary frequencies are buffers that no checkpoint stores, float32 wherever one is
    opened."""
    parts = start_from(str(request.getfixturevalue(family)), dtype="bfloat16")
    _, trained = carry_out(
        parts, tmp_path, scenes, ["model.rae.*"], texts=Texts(dialogue=True), options={"bf16": True}
    )
    opened = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype="auto")
    assert {p.dtype for p in trained.parameters()} == {torch.bfloat16}
    own, kept = dict(trained.named_buffers()), dict(opened.named_buffers())
    assert own.keys() == kept.keys()
    assert all(own[name].dtype == kept[name].dtype and torch.equal(own[name], kept[name]) for name in own)
    ids = torch.arange(200)[None]
    with torch.no_grad():
        assert torch.equal(trained.eval()(input_ids=ids).logits, opened.eval()(input_ids=ids).logits)


def moved_rows(before, model):
    table = model.get_input_embeddings().weight
    return set(
        (table != before["model.language_model.embed_tokens.weight"]).any(1).nonzero().flatten().tolist()
    )


def special(model):
    config = model.config
    return {config.anomaly_start_token_id, config.anomaly_pad_token_id, config.anomaly_end_token_id}


def test_stage_1_changes_only_the_heatmap_decoder(either, scenes, tmp_path):
    before, model = carry_out(either, tmp_path, scenes, ["model.ahd.*"], **HEAT)
    names = changed(before, model)
    assert (
        names
        and all(name.startswith("model.ahd.") for name in names)
        and "model.ahd.text_features" not in names
    )


def test_stage_2_a_changes_only_rae_and_the_three_tokens(either, scenes, tmp_path):
    texts = Texts(kinds=[], narratives=True)
    before, model = carry_out(either, tmp_path, scenes, ["model.rae.*"], special_tokens=True, texts=texts)
    names = changed(before, model)
    assert names and all(n.startswith("model.rae.") or n.endswith("embed_tokens.weight") for n in names)
    assert moved_rows(before, model) and moved_rows(before, model) <= special(model)


def test_stage_2_b_adds_the_lora_of_the_last_layers_merged(either, scenes, tmp_path):
    lora = LoraSpec(layers=2)
    before, model = carry_out(either, tmp_path, scenes, ["model.rae.*"], special_tokens=True, lora=lora)
    names = changed(before, model)
    layers = {n for n in names if ".layers." in n}
    assert layers == {
        f"model.language_model.layers.{i}.self_attn.{p}.weight" for i in (2, 3) for p in ("q_proj", "v_proj")
    }
    assert all(n.startswith("model.rae.") or n in layers or n.endswith("embed_tokens.weight") for n in names)
    assert moved_rows(before, model) <= special(model) and not any("lora" in n for n in model.state_dict())


@pytest.mark.parametrize(("form", "asks"), [("figure", "figure"), ("stored", "protocol")])
def test_a_checkpoint_says_in_which_form_it_has_learned_to_talk(parts, scenes, tmp_path, form, asks):
    """`tvad infer` asks in the words that a model knows."""
    texts = Texts(kinds=[], dialogue=True, form=form)
    _, trained = carry_out(parts, tmp_path, scenes, ["model.rae.*"], texts=texts)
    assert AutoConfig.from_pretrained(tmp_path / "model").dialogue == asks
    talk = Dialogue(trained, parts[1], ClipStore(2.0, 8).frames(load(scenes)[0]))
    talk.ask = lambda asked: Reply("No.", None, None, (), "No")
    asked = [asked for asked, _ in talk.standard()]
    assert asked == (list(FIGURE.values()) if form == "figure" else [DIALOGUE["judgement"]])


def test_a_checkpoint_that_has_learned_questions_alone_is_asked_those(parts, scenes, tmp_path):
    """VANGUARD's stages teach no dialogue: judgement, class, time and place are asked as they were learned,
    the place in the middle of the time that it said."""
    _, trained = carry_out(parts, tmp_path, scenes, ["model.rae.*"], texts=Texts())
    assert AutoConfig.from_pretrained(tmp_path / "model").questions == [*ASKED]
    talk = Dialogue(trained, parts[1], ClipStore(2.0, 8).frames(load(scenes)[0]))
    said = {ASKED["judgement"]: Reply("Yes", "A fire.", None, (), "Yes")}
    said[ASKED["temporal"]] = Reply("Anomaly", None, ((1.0, 2.0),), (), "Anomaly")
    talk.ask = lambda asked: said.get(asked) or Reply("person", None, None, (), "person")
    asked = [asked for asked, _ in talk.standard()]
    assert asked == [
        *(ASKED[k] for k in ("judgement", "classification", "temporal")),
        "Where is the anomaly at 1.5 s?",
    ]
    said[ASKED["temporal"]] = Reply("Anomaly", None, ((90.0, 99.0),), (), "Anomaly")  # it does not show that
    assert [asked for asked, _ in talk.standard()][-1] == ASKED["spatial"].format(
        seconds=(talk.start + talk.end) / 2
    )
    trained.config.questions = ["judgement"]  # no more than it has learned
    assert [asked for asked, _ in talk.standard()] == [ASKED["judgement"]]
    trained.config.questions = [*ASKED]
    said[ASKED["judgement"]] = Reply("No", None, None, (), "No")
    assert [asked for asked, _ in talk.standard()] == [ASKED["judgement"]]


def test_gradients_reach_only_what_a_stage_trains(either, scenes):
    """The same three stages, looked at before the optimiser: nothing else has a gradient at all."""
    model, processor = either
    collator = ClipCollator(Branches(processor), ClipStore(2.0, 8), Texts(dialogue=True), heatmap=True)
    batch = collator(load(scenes)[:2])
    for patterns, lora in (
        (["model.ahd.*"], None),
        (["model.rae.*"], None),
        (["model.rae.*"], LoraSpec(layers=2)),
    ):
        select_trainable(model, patterns)
        tuner = add_lora(model, lora) if lora else None
        model.zero_grad()
        weights = Losses(1.0, 1.0 if "model.ahd.*" in patterns else 0.0)
        stage_losses(model, model, batch, weights)[0].backward()
        touched = {name for name, p in model.named_parameters() if p.grad is not None}
        assert touched and all("lora_" in n or n.startswith(patterns[0][:-1]) for n in touched)
        adapted = {n.split(".layers.")[1].split(".")[0] for n in touched if "lora_" in n}
        assert adapted == ({"2", "3"} if lora else set())
        if tuner:
            tuner.unload()


def test_merged_equals_unmerged(either, scenes):
    model, processor = either
    tuner = add_lora(model, LoraSpec())
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    inputs = processor.encode(
        [processor.apply_chat_template(messages("What?"), tokenize=False)],
        [ClipStore(2.0, 8).frames(load(scenes)[0])],
    )
    with torch.no_grad():
        unmerged = model.eval()(**inputs).logits.clone()
        merged = tuner.merge_and_unload().eval()(**inputs).logits
    assert float((unmerged - merged).abs().max()) < 1e-5 * max(
        1.0, float(unmerged[unmerged > -1e3].abs().max())
    )


def test_a_stage_that_was_killed_ends_where_an_uninterrupted_one_does(
    checkpoint, scenes, tmp_path, monkeypatch
):
    """RAE and LoRA train side by side; both must come back from the checkpoint."""

    def fresh():
        return TvadForConditionalGeneration.from_pretrained(checkpoint), TvadProcessor.from_pretrained(
            checkpoint
        )

    knobs = dict(
        data=scenes,
        trains=["model.rae.*"],
        special_tokens=True,
        lora=LoraSpec(layers=2, dropout=0.0),
        optimiser={"steps": 4},
        selection=Selection(save_steps=2),
    )
    _, whole = carry_out(fresh(), tmp_path / "whole", **knobs)
    killed_in_step_4(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        carry_out(fresh(), tmp_path / "cut", **knobs)
    monkeypatch.undo()
    _, resumed = carry_out(fresh(), tmp_path / "cut", **knobs)
    assert different(whole, resumed, 1e-6) == []


def test_a_stage_goes_on_at_a_new_rate_only_where_that_is_asked(checkpoint, scenes, tmp_path, monkeypatch):
    def trained(folder, lr, **how):
        parts = (
            AutoModelForImageTextToText.from_pretrained(checkpoint),
            AutoProcessor.from_pretrained(checkpoint),
        )
        plan = Optimiser(lr=lr, steps=4, batch=2)
        stage = Stage(
            "x", ["model.ahd.*"], Data(str(scenes)), optimiser=plan, selection=Selection(save_steps=2), **HEAT
        )
        run(stage, *parts, tmp_path / folder, 0, 2.0, 8, PROMPTS, log=lambda text: None, **how)

    def rates(folder):
        rows = map(json.loads, (tmp_path / folder / "log.jsonl").read_text().splitlines())
        return {row["step"]: row["learning_rate"] for row in rows if "learning_rate" in row}

    killed_in_step_4(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained("cut", 1e-2)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"with other settings \(optimiser\.lr 0\.01 -> 0\.002"):
        trained("cut", 2e-3)
    trained("cut", 2e-3, resume_with="new")
    trained("old", 1e-2)
    trained("new", 2e-3)
    old, new, found = rates("old"), rates("new"), rates("cut")
    assert found == pytest.approx({1: old[1], 2: old[2], 3: new[3], 4: new[4]})
    record = json.loads((tmp_path / "cut" / "model" / "stage.json").read_text())
    assert record["changes"] == [{"step": 2, "settings": {"optimiser.lr": [0.01, 0.002]}}]
    assert "from step 3 on: optimiser.lr 0.01 -&gt; 0.002" in (tmp_path / "cut" / "report.html").read_text()


def test_the_best_checkpoint_by_the_stages_metric_is_kept_and_reported(parts, scenes, tmp_path):
    _, model = carry_out(
        parts,
        tmp_path,
        Data(str(scenes), str(scenes)),
        ["model.ahd.*"],
        optimiser={"steps": 6},
        selection=Selection("micro_auc", 2),
        **HEAT,
    )
    record = json.loads((tmp_path / "model" / "stage.json").read_text())
    seen = [row["eval_micro_auc"] for row in record["history"] if "eval_micro_auc" in row]
    assert len(seen) == 3 and record["best"] == max(seen)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["eval_micro_auc"] for row in logged if "eval_micro_auc" in row] == seen
    assert all(
        ("heatmap_loss" in row) == ("loss" in row) and ("eval_heatmap_loss" in row) == ("eval_loss" in row)
        for row in logged
    )
    samples, store = load(scenes), ClipStore(2.0, 8)
    clips = [store.frames(s) for s in samples]
    maps = HfModel(model.eval(), parts[1]).heatmaps(clips)
    found = heatmap.statistics(
        [heatmap.VideoScores(s, m, f) for s, m, f in zip(samples, maps, clips, strict=True)]
    )
    assert abs(found["micro_auc"] - max(seen)) < 1e-9
    report = (tmp_path / "report.html").read_text()
    assert "model.ahd" in report and "eval_micro_auc" in report and "data:image/jpeg" in report


@pytest.mark.parametrize(
    "select, validation, words",
    [
        ("beauty", "x", "select is 'beauty'"),
        ("loss", None, "needs data.validation"),
        ("rbdc", "x", "needs losses.heatmap"),
    ],
)
def test_a_selection_that_cannot_work_is_refused(select, validation, words):
    plan, selection = Optimiser(1e-3, steps=1), Selection(select)
    with pytest.raises(InputError, match=words):
        Stage("x", ["*"], Data("symbols", validation), optimiser=plan, selection=selection).check()


def test_without_ahd_a_stage_keeps_its_read_outs_and_drops_the_heatmaps_losses(checkpoint, scenes, tmp_path):
    stage = Stage(
        "x",
        ["model.visual.*", "model.ahd.*"],
        Data(str(scenes)),
        SILENT,
        Losses(text=0.0, heatmap=1.0, frame=0.3),
        ReadOuts(objects=True),
        Optimiser(1e-2, steps=2, batch=2),
    )
    fitting = applicable(stage, Curriculum("o", "s", [stage], use_ahd=False))
    assert fitting.losses == Losses(text=0.0, heatmap=0.0, frame=0.0)
    assert fitting.read_outs.objects and fitting.trains == ["model.visual.*"]
    model, processor = start_from(str(checkpoint), use_ahd=False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trained = run(fitting, model, processor, tmp_path, 0, 2.0, 8, PROMPTS, log=lambda text: None)
    assert any(name.startswith("model.visual.blocks") for name in changed(before, trained))


def test_muon_without_a_layers_matrix_is_refused(parts, scenes, tmp_path):
    with pytest.raises(InputError, match="no matrix of a layer"):
        carry_out(parts, tmp_path, scenes, ["model.ahd.*"], optimiser={"muon": 0.02}, **HEAT)


def test_an_ablation_leaves_out_what_it_lacks():
    stages = config.build(Ablation, config.read_yaml(ROOT / "configs/stage/ablation.yaml"), "x").stages
    left = {
        name: [getattr(applicable(s, plan_of(**switches)), "trains", None) for s in stages]
        for name, switches in VARIANTS.items()
    }
    assert left["T-VAD"] == [["model.ahd.*"], ["model.rae.*"], ["model.rae.*"]]
    assert left["without AHD"] == [None, ["model.rae.*"], ["model.rae.*"]]
    assert left["without RAE"] == [["model.ahd.*"], None, []]
    assert left["without AHD and RAE"] == [None, None, []]


def plan_of(**switches):
    return Curriculum("x", "x", [], **switches)


@pytest.mark.slow
def test_the_ablation_command_writes_its_table(scenes, tmp_path):
    plan = config.read_yaml(ROOT / "configs/stage/ablation.yaml")
    for stage in [*plan["backbone"]["stages"], *plan["stages"]]:
        stage["optimiser"] |= {"steps": 1, "batch": 1, "accumulate": 1}
        stage |= {
            "data": {"train": "symbols" if stage["name"] == "symbols" else str(scenes)},
            "selection": {"save_steps": 1},
        }
    suite = config.read_yaml(ROOT / "configs/bench/ablation.yaml") | {
        "data": str(scenes),
        "max_videos": 4,
        "resamples": 50,
    }
    (tmp_path / "suite.yaml").write_text(json.dumps(suite))
    plan |= {"out": str(tmp_path / "out"), "suite": str(tmp_path / "suite.yaml"), "engine": "hf"}
    plan["backbone"] |= {"out": str(tmp_path / "backbone"), "start": str(ROOT / plan["backbone"]["start"])}
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    assert ablation.main(["--config", str(tmp_path / "plan.yaml")]) == 0
    table = (tmp_path / "out" / "ablation.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in table[2:6]}
    assert list(rows) == list(VARIANTS) and rows["without AHD"][0] == "--" != rows["T-VAD"][0]
    assert all(cells[7] != "--" for cells in rows.values())


def bare_backbone(folder, family):
    """A tiny checkpoint of the backbone alone, as a hub has it: no AHD, no RAE, none of T-VAD's tokens."""
    model, processor = build(
        ROOT / "configs/model" / ("tiny.yaml" if family == "qwen2_5_vl" else "tiny-qwen3.yaml")
    )
    values = {
        k: v
        for k, v in model.config.to_dict().items()
        if k
        in (
            "text_config",
            "vision_config",
            "image_token_id",
            "video_token_id",
            "vision_start_token_id",
            "vision_end_token_id",
            "tie_word_embeddings",
        )
    }
    base = Qwen2_5_VLForConditionalGeneration if family == "qwen2_5_vl" else Qwen3VLForConditionalGeneration
    kind = Qwen2_5_VLProcessor if family == "qwen2_5_vl" else Qwen3VLProcessor
    plain = base(base.config_class(**values))
    kept = {k: v for k, v in model.state_dict().items() if ".ahd." not in k and ".rae." not in k}
    plain.load_state_dict(kept)
    plain.save_pretrained(folder)
    vocabulary = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    names = set(ANOMALY_TOKENS)
    vocabulary["added_tokens"] = [t for t in vocabulary["added_tokens"] if t["content"] not in names]
    for name in names:
        vocabulary["model"]["vocab"][f"unused {name}"] = vocabulary["model"]["vocab"].pop(name)
    tokenizer = processor.tokenizer.__class__(
        tokenizer_object=Tokenizer.from_str(json.dumps(vocabulary)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    kind(
        processor.image_processor, tokenizer, processor.video_processor, chat_template=processor.chat_template
    ).save_pretrained(folder)
    return plain


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_backbone_as_published_becomes_a_tvad(family, scenes, tmp_path):
    plain = bare_backbone(tmp_path / "base", family)
    model, processor = start_from(str(tmp_path / "base"), seed=0)
    again, _ = start_from(str(tmp_path / "base"), seed=0)
    assert different(model, again) == []
    ids = processor.tokenizer("A person is running.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, plain(input_ids=ids).logits
    shown = ours > -1e3
    assert torch.allclose(ours[shown], theirs[shown], atol=1e-5)
    assert len(special(model)) == 3 and not special(model) & set(ids[0].tolist())
    plan = Optimiser(1e-3, steps=1, batch=2)
    stage = Stage("ahd", ["model.ahd.*"], Data(str(scenes)), optimiser=plan, text_features=True, **HEAT)
    trained = run(stage, model, processor, tmp_path / "stage", 0, 2.0, 8, PROMPTS, log=lambda text: None)
    assert trained.config.text_prompts == PROMPTS and bool(trained.model.ahd.text_features.any())
    assert not trained.set_text_features(processor, PROMPTS)  # stored with the checkpoint
    reloaded, again_processor = start_from(str(tmp_path / "stage" / "model"))
    assert not reloaded.set_text_features(again_processor, PROMPTS)
    assert different(trained, reloaded) == []


def test_frozen_weights_may_be_bf16_while_float32_trains(either, scenes, tmp_path):
    model, processor = either
    model.bfloat16()
    before, trained = carry_out(
        (model, processor), tmp_path, scenes, ["model.ahd.*"], options={"bf16": True}, **HEAT
    )
    assert {p.dtype for p in trained.parameters()} == {torch.bfloat16}
    assert changed(before, trained) and all(n.startswith("model.ahd.") for n in changed(before, trained))


def test_a_finished_stage_is_not_trained_again_and_loads_from_its_folder(parts, scenes, tmp_path):
    _, model = carry_out(parts, tmp_path, scenes, ["*"], optimiser={"steps": 1})
    stage = Stage("x", ["*"], Data(str(scenes)), optimiser=Optimiser(1e-2, steps=1))
    again = run(stage, *parts, tmp_path, 0, 2.0, 8, log=lambda text: None)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert json.loads((tmp_path / "model" / "stage.json").read_text())["stage"]["name"] == "x"


def test_text_only_stage_and_attributes_leave_no_extra_weights(parts, scenes, tmp_path):
    carry_out(parts, tmp_path / "a", "symbols", ["*"])
    wanted = ReadOuts(attributes=True)
    _, model = carry_out(parts, tmp_path / "b", scenes, ["model.visual.*"], read_outs=wanted, **HEAT)
    assert not any("attribute" in name for name in model.state_dict())


def test_a_pattern_without_a_match_is_refused(parts, scenes, tmp_path):
    with pytest.raises(InputError, match=r"model\.nose"):
        carry_out(parts, tmp_path, scenes, ["model.nose.*"])


def test_targets_tell_the_truth_about_the_clip(parts, scenes):
    _model, processor = parts
    store, sample = ClipStore(2.0, 8), next(s for s in load(scenes) if s.anomalous)
    grid = processor.vision_inputs([store.frames(sample)])["video_grid_thw"][0].tolist()
    targets = token_targets(View(sample, store.frames(sample), store.mask(sample), sample.tracks), grid)
    assert len(targets["kind"]) == grid[0] * grid[1] * grid[2] // 4
    lit = targets["kind"] > 0
    assert lit.any() and not targets["box"][~lit].isfinite().any()
    boxes = targets["box"][lit]
    assert boxes.isfinite().any() and float(boxes[boxes.isfinite()].max()) <= 1.0


def test_every_object_is_told_where_it_is_and_how_it_moves(scenes):
    """A car of 20 x 10 pixels goes 8 pixels to the right between the two frames of a step; a person shows in
    the second step only."""
    store, sample = ClipStore(2.0, 4), next(s for s in load(scenes) if s.anomalous)
    frames, mask = store.frames(sample), store.mask(sample)
    at = frames.indices.tolist()
    car = Track(0, "car", {at[0]: (14, 28, 33, 37), at[1]: (22, 28, 41, 37)})
    person = Track(1, "person", {at[2]: (70, 70, 77, 90)})
    found = object_targets(View(sample, frames, mask, (car, person)), [2, 8, 8])
    objects, motion = found["objects"].reshape(2, 8, 8, -1), found["motion"].reshape(2, 8, 8, 4)
    rows, columns = objects[0, ..., OBJECTS.index("car")].nonzero().T.tolist()
    assert set(rows) == {2} and set(columns) == {1, 2}  # pixels 28 to 37, and 14 to 41
    assert (
        torch.allclose(motion[0, 2, 1], torch.tensor([8, 0, 19, 9]) / 112) and motion[0].isfinite().sum() == 8
    )
    rows, columns = objects[1, ..., OBJECTS.index("person")].nonzero().T.tolist()
    assert set(rows) == {5, 6} and set(columns) == {5} and motion[1].isnan().all() and objects.sum() == 4
    lit = patch_targets(mask, 8, 8).flatten()
    assert torch.equal(found["kind"] > 0, lit.bool()) and len(found["kind"][lit.bool()].unique()) <= 1


def test_a_view_is_a_run_of_frames_mirrored_with_all_that_belongs_to_it(parts, scenes):
    store, sample = ClipStore(4.0, 16), next(s for s in load(scenes) if s.anomalous)
    whole = View(sample, store.frames(sample), store.mask(sample), sample.tracks)
    generator = torch.Generator().manual_seed(0)
    assert draw_view(whole, Data("d"), generator) == whole
    views = [draw_view(whole, Data("d", crop=2, mirror=True), generator) for _ in range(120)]
    steps = object_targets(whole, [8, 8, 8])["objects"].reshape(8, 8, 8, -1)
    starts, turned = set(), set()
    for view in views:
        at = whole.frames.indices.tolist().index(view.frames.indices[0])
        straight = (view.frames.images == whole.frames.images[at : at + 2]).all()
        starts.add(at)
        turned.add(not straight)
        assert (
            view.frames.times.tolist() == whole.frames.times[at : at + 2].tolist()
            and len(view.frames.images) == 2
        )
        assert torch.equal(
            view.mask, whole.mask[at : at + 2] if straight else whole.mask[at : at + 2].flip(2)
        )
        if at % 2 == 0:  # one of the steps of the whole clip
            step = steps[at // 2] if straight else steps[at // 2].flip(1)
            assert torch.equal(object_targets(view, [1, 8, 8])["objects"].reshape(8, 8, -1), step)
    assert starts == set(range(15)) and turned == {True, False}


def test_the_frame_loss_looks_at_the_strongest_patch_of_every_step(parts, scenes):
    model, processor = parts
    batch = ClipCollator(Branches(processor), ClipStore(2.0, 8), SILENT, heatmap=True)(load(scenes)[:3])
    total, losses = stage_losses(model, model, batch, Losses(text=0.0, heatmap=1.0, frame=0.5))
    clips = model(
        **{k: batch["clips"][k] for k in ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts")}
    ).clips
    margins, truth, at = [], [], 0
    for clip in clips:
        for step in clip.heat:
            patches = step.numel()
            margins.append(torch.logit(step.double()).max())
            truth.append(float(batch["heat_targets"][at : at + patches].max()))
            at += patches
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.stack(margins), torch.tensor(truth).double()
    )
    assert torch.isclose(losses["frame_loss"].double(), expected, atol=1e-5) and 0 < sum(truth) < len(truth)
    assert torch.isclose(total, losses["heatmap_loss"] + 0.5 * losses["frame_loss"])


def test_muon_takes_the_matrices_of_layers_and_adamw_the_rest(parts, scenes, tmp_path):
    model, _ = parts
    select_trainable(model, ["model.visual.*", "model.ahd.*"])
    stage = Stage("x", ["*"], Data("d"), optimiser=Optimiser(steps=10))
    both = muon_and_adamw(model, 0.02, arguments_of(stage, 10, tmp_path, 0, False))
    names = {id(p): name for name, p in model.named_parameters()}
    muon, adamw = (
        [names[id(p)] for group in part.param_groups for p in group["params"]] for part in both.parts
    )
    assert muon and all(".blocks." in name and name.endswith("weight") for name in muon)
    assert sorted(muon + adamw) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    for group in both.param_groups:  # a schedule drives both
        group["lr"] = 0.0
    for p in model.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    both.step()
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_muon_resumes_where_it_was(scenes, checkpoint, tmp_path):
    """Killed after a checkpoint, a stage with crops, mirroring and Muon ends where the uninterrupted one
    does."""
    knobs = dict(
        data=Data(str(scenes), crop=2, mirror=True),
        trains=["model.visual.*", "model.ahd.*"],
        texts=SILENT,
        losses=Losses(text=0.0, heatmap=1.0, frame=0.3),
        read_outs=ReadOuts(objects=True),
        optimiser={"muon": 0.02, "steps": 6, "batch": 4},
        selection=Selection(save_steps=3),
    )
    _, whole = carry_out(start_from(str(checkpoint)), tmp_path / "whole", **knobs)
    _, _ = carry_out(start_from(str(checkpoint)), tmp_path / "cut", **knobs, options={"save_total_limit": 2})
    shutil.rmtree(tmp_path / "cut/model")
    shutil.rmtree(tmp_path / "cut/checkpoint-6", ignore_errors=True)
    assert (tmp_path / "cut/checkpoint-3").exists()
    _, resumed = carry_out(start_from(str(checkpoint)), tmp_path / "cut", **knobs)
    assert different(resumed, whole, 1e-6) == [] and not any(
        "object_heads" in name for name in resumed.state_dict()
    )


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(categories=("shoplifting",)), "class 'shoplifting' has no read-out"),
        (dict(tracks=(Track(7, "dog", {0: (1, 1, 9, 9)}),)), "track 7 is a 'dog'"),
    ],
)
def test_read_outs_refuse_data_that_they_do_not_know(parts, scenes, tmp_path, change, words):
    shutil.copytree(scenes, tmp_path / "data")
    samples = [dataclasses.replace(s, root="", **(change if s.anomalous else {})) for s in load(scenes)]
    save(samples, tmp_path / "data")
    with pytest.raises(InputError, match=words):
        carry_out(
            parts,
            tmp_path / "out",
            tmp_path / "data",
            ["model.visual.*"],
            texts=SILENT,
            losses=Losses(text=0.0),
            read_outs=ReadOuts(objects=True),
        )


@pytest.mark.parametrize(
    "data, groups, words",
    [
        (Data("d"), dict(losses=Losses(frame=0.3)), "losses.frame needs losses.heatmap"),
        (Data("d", crop=2), {}, "data.mirror need losses.text 0"),
        (Data("d", mirror=True), HEAT | dict(read_outs=ReadOuts(attributes=True)), "no read_outs.attributes"),
        (Data("d", crop=0), dict(losses=Losses(text=0.0)), "crop is 0"),
    ],
)
def test_views_and_losses_that_do_not_go_together_are_refused(data, groups, words):
    with pytest.raises(InputError, match=words):
        Stage("x", ["*"], data, optimiser=Optimiser(steps=10), **groups).check()


def test_the_loss_of_a_batch_falls_when_it_is_trained_on(parts, scenes):
    model, processor = parts
    texts = Texts(dialogue=True)
    batch = ClipCollator(Branches(processor), ClipStore(2.0, 8), texts, heatmap=True)(load(scenes)[:2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        total, _ = stage_losses(model, model, batch, Losses(1.0, 1.0))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_clips_without_words_for_a_stage_are_left_out_and_counted(parts, scenes, tmp_path):
    samples = load(scenes)
    shutil.copytree(scenes, tmp_path / "data")
    silent = [dataclasses.replace(s, tracks=()) if n % 2 else s for n, s in enumerate(samples)]
    save([dataclasses.replace(s, root="") for s in silent], tmp_path / "data")
    said = []
    model, processor = parts
    stage = Stage(
        "x",
        ["model.rae.*"],
        Data(str(tmp_path / "data")),
        Texts(kinds=[], narratives=True),
        optimiser=Optimiser(1e-2, steps=4, batch=1),
    )
    trained = run(stage, model, processor, tmp_path / "out", 0, 2.0, 8, log=said.append)
    silent_ones = sum(not narratives(s) for s in load(tmp_path / "data"))
    assert silent_ones >= 8 and any(f"{silent_ones} of 16 clips have no text" in text for text in said)
    assert all(torch.isfinite(p).all() for p in trained.parameters())


def test_clips_of_several_sizes_train_in_one_batch_and_epochs_become_steps(either, tmp_path):
    samples = []
    for n, size in enumerate((112, 64)):
        generate(ScenesConfig(split="train", clips=2, seed=n, size=size, max_crowd=2), tmp_path / str(size))
        samples += load(tmp_path / str(size))
    batch = ClipCollator(Branches(either[1]), ClipStore(2.0, 8), heatmap=True)(samples)
    grids = {tuple(g) for g in batch["clips"]["video_grid_thw"].tolist()}
    total, losses = stage_losses(either[0], either[0], batch, Losses(1.0, 1.0))
    assert len(grids) == 2 and torch.isfinite(total) and set(losses) == {"heatmap_loss", "text_loss"}
    plan = Optimiser(epochs=2, batch=1, accumulate=8)
    assert steps_of(Stage("x", ["*"], Data("d"), optimiser=plan), 100) == 25
    with pytest.raises(InputError, match=r"either optimiser\.steps or optimiser\.epochs"):
        Stage("x", ["*"], Data("d")).check()


def test_gradient_checkpointing_and_attention_are_options(checkpoint, scenes, tmp_path):
    model, _processor = start_from(str(checkpoint), attention="eager")
    assert model.config._attn_implementation == "eager"
    options = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    lora = LoraSpec(layers=2, dropout=0.0)
    knobs = dict(data=scenes, trains=["model.rae.*"], special_tokens=True, lora=lora)
    _, with_it = carry_out(start_from(str(checkpoint)), tmp_path / "a", options=options, **knobs)
    _, without = carry_out(start_from(str(checkpoint)), tmp_path / "b", **knobs)
    assert different(with_it, without, 1e-5) == []
    with pytest.raises(InputError, match="cannot be loaded"):
        start_from(str(checkpoint), attention="flash_attention_9")


@pytest.mark.parametrize("name", ["surveillance", "ubnormal", "shanghaitech"])
def test_shipped_prompt_sets_have_all_levels_for_both_classes(name):
    found = prompt_sets.read(ROOT / f"configs/prompts/{name}.yaml")
    assert set(found) == {"normal", "abnormal"} and all(len(p) == len(set(p)) >= 10 for p in found.values())
    assert not set(found["normal"]) & set(found["abnormal"])


@pytest.mark.parametrize(
    "spec, words",
    [
        ({"templates": {"clause": ["{}"]}}, "unknown level 'clause'"),
        ({"templates": {"word": ["no place"]}, "categories": ["fire"]}, "must hold {} exactly once"),
        ({"templates": {"word": ["{}"]}, "states": {"odd": ["x"]}}, "unknown class 'odd'"),
        ({"templates": {"word": ["{}"]}, "states": {"normal": ["x"]}}, "no prompt for the class abnormal"),
    ],
)
def test_bad_prompt_sets_are_refused(spec, words):
    with pytest.raises(InputError, match=words.replace("{}", r"\{\}")):
        prompt_sets.PromptSet(**spec).expand()


@pytest.mark.parametrize("name", ["tiny", "closed", "tvad-7b-ubnormal", "tvad-7b-shanghaitech"])
def test_the_shipped_curricula_read(name, tmp_path):
    plan = config.build(Curriculum, config.read_yaml(ROOT / f"configs/stage/{name}.yaml"), name)
    for stage in plan.stages:
        stage.check()
        assert (
            arguments_of(
                stage, steps_of(stage, 1000), tmp_path, 0, stage.data.validation is not None
            ).max_steps
            > 0
        )
