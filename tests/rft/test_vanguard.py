"""VANGUARD's three stages: a classifier on frozen features, boxes by LoRA, chain of thought; on both
families, from checkpoints in the published layout, by the shipped configurations."""

import json
import math
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, SHIPPED
from grpo_runs import run_of
from safetensors.torch import load_file, save_file
from stock_checkpoint import SMALL as QWEN2_5
from stock_checkpoint import build_stock, stock_tokenizer
from stock_qwen3 import WIDE, build_qwen3
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from bench import suite as suites
from bench import threshold
from bench.__main__ import main as bench
from rft.curriculum import pooled
from rft.curriculum.config import Curriculum, Losses
from rft.curriculum.data import Branches, ClipCollator, target_text
from rft.curriculum.geometry import BoxDigits, as_tensors, geometry_loss
from rft.curriculum.losses import stage_losses
from rft.curriculum.train import train
from rft.grpo.train import train as grpo
from tvad.__main__ import main as tvad
from tvad.common import config
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.data.questions import ASKED
from tvad.data.sample import Sample
from tvad.data.scenes.dataset import ScenesConfig, generate
from tvad.model.classifier import AnomalyClassifier, pooled_of, probabilities
from tvad.model.plain import plain
from tvad.scores import RULES


def on_scenes(name: str, start, data, out, **changes) -> Curriculum:
    """A shipped curriculum with other paths and two steps a stage."""
    spec = yaml.safe_load((ROOT / f"configs/stage/vanguard/{name}.yaml").read_text())
    spec |= {"start": str(start), "out": str(out), "rate": 2.0, "max_frames": 8, **changes}
    spec.pop("max_pixels", None)
    for stage in spec["stages"]:
        stage["data"] |= {"train": str(data), "validation": str(data), "validation_clips": 4}
        stage["optimiser"] |= {"steps": 2, "batch": 4, "accumulate": 1}
        stage["optimiser"].pop("epochs", None)
        stage["selection"]["save_steps"] = 1
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(spec))
    return config.read(Curriculum, str(path), [])


@pytest.fixture(scope="module", params=["qwen3", pytest.param("qwen2.5", marks=pytest.mark.slow)])
def trained(request, scenes, tmp_path_factory):
    """A stock checkpoint, and the folder of the shipped 4B curriculum from it."""
    folder = tmp_path_factory.mktemp("vanguard")
    start = (
        build_qwen3(folder / "stock") if request.param == "qwen3" else build_stock(folder / "stock", QWEN2_5)
    )
    train(on_scenes("qwen3-4b", start, scenes, folder / "run"), log=lambda line: None)
    return start, folder / "run"


def loaded(folder):
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto").eval()
    return model, AutoProcessor.from_pretrained(folder)


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_three_stages_each_learn_their_own(trained):
    """Head alone, then LoRA and head; all else is the stock checkpoint's, bit by bit."""
    start, run = trained
    stock = AutoModelForImageTextToText.from_pretrained(start, dtype="auto").state_dict()
    states = [
        loaded(run / f"{n}-{name}/model")[0].state_dict()
        for n, name in enumerate(("warm-up", "grounding", "reasoning"))
    ]
    own = loaded(run / "model")[0].config.anomaly_start_token_id  # T-VAD's tokens have rows of their own
    tables = ("lm_head.weight", "model.language_model.embed_tokens.weight")
    changed = [
        {
            k
            for k, v in stock.items()
            if not torch.equal(*(t[:own] if k in tables else t for t in (v, state[k])))
        }
        for state in states
    ]
    assert not changed[0] and {k for k in states[0] if k not in stock} == {
        f"model.classifier.{part}"
        for part in ("norm.weight", "norm.bias", "hidden.weight", "hidden.bias", "out.weight", "out.bias")
    }
    for found in changed[1:]:
        assert found and all(k.startswith("model.language_model.layers.") for k in found)
    heads = [torch.cat([v.flatten() for k, v in s.items() if "classifier" in k]) for s in states]
    assert not torch.equal(heads[0], heads[1]) and not torch.equal(heads[1], heads[2])
    for name, losses in (
        ("0-warm-up", {"classifier_loss"}),
        ("1-grounding", {"classifier_loss", "text_loss", "geometry_loss", "impossible_boxes"}),
        ("2-reasoning", {"classifier_loss", "text_loss", "geometry_loss", "impossible_boxes"}),
    ):
        first = rows_of(run / name)[0]
        assert losses == {k for k in first if k.endswith("_loss") or k == "impossible_boxes"}
        assert math.isfinite(first["loss"])


@pytest.mark.slow
def test_the_shipped_stages_run_at_the_true_widths_of_qwen3_vl_4b(scenes, tmp_path):
    start = build_qwen3(tmp_path / "stock", WIDE, layers=2)
    train(on_scenes("qwen3-4b", start, scenes, tmp_path / "run"), log=print)
    model, processor = loaded(tmp_path / "run/model")
    clip = ClipStore(2.0, 8).frames(load(scenes)[0])
    assert 0 < probabilities(model, processor, [clip])[0] < 1


def test_features_are_those_of_a_row_with_questions(trained, scenes):
    """What the warm-up kept, what a row of the later stages gives, and what inference reads are one."""
    _, run = trained
    model, processor = loaded(run / "0-warm-up/model")
    store, samples = ClipStore(2.0, 8), load(scenes)[:3]
    clips = [store.frames(sample) for sample in samples]
    found = pooled_of(model, processor, clips)
    collator = ClipCollator(Branches(processor), store, classifier=True)
    batch = collator(samples)
    core = {}
    handle = model.register_forward_hook(lambda module, args, out: core.update(pooled=out.pooled))
    with torch.no_grad():
        stage_losses(model, model, batch, Losses(classifier=1.0))
    handle.remove()
    torch.testing.assert_close(core["pooled"], found, atol=2e-2, rtol=2e-2)  # bfloat16, other lengths
    alone = torch.cat([pooled_of(model, processor, [clip]) for clip in clips])
    torch.testing.assert_close(alone, found, atol=2e-2, rtol=2e-2)
    assert not torch.allclose(found[0], found[1], atol=2e-2)


def test_what_was_pooled_is_not_computed_again(scenes, tmp_path, monkeypatch):
    calls = []

    def counted(model, processor, clips):
        calls.append(len(clips))
        return pooled_of(model, processor, clips)

    monkeypatch.setattr(pooled, "pooled_of", counted)
    monkeypatch.setattr(pooled, "PART", 6)
    model, processor = loaded(SHIPPED)
    model.model.classifier = AnomalyClassifier(model.config.text_config.hidden_size, 8)
    samples = load(scenes)

    def made(of=None):
        calls.clear()
        facts = {"seed": 0, "made_of": of}
        return pooled.pooled(samples, model, processor, ClipStore(2.0, 8), tmp_path, facts, "train")

    first = made()
    assert sum(calls) == len(samples) == len(first)
    assert torch.equal(made().features, first.features) and not calls
    (tmp_path / "train-00001.safetensors").write_bytes(b"cut off")
    assert torch.equal(made().features, first.features) and sum(calls) == 6
    drawn = pooled.pooled(samples[3:8], model, processor, ClipStore(2.0, 8), tmp_path, {"seed": 0}, "train")
    assert torch.allclose(drawn.features, first.features[3:8], atol=1e-4)  # other clips under the same name
    made("another start")
    assert sum(calls) == len(samples)
    assert set(first.labels.tolist()) == {0, 1}


def test_a_video_that_was_replaced_is_pooled_again_and_one_that_was_touched_is_not(
    scenes, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        pooled, "pooled_of", lambda *given: (calls.append(len(given[2])), pooled_of(*given))[1]
    )
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    model, processor = loaded(SHIPPED)
    model.model.classifier = AnomalyClassifier(model.config.text_config.hidden_size, 8)
    samples = load(data)[:4]

    def made():
        calls.clear()
        store = ClipStore(2.0, 8)
        return pooled.pooled(samples, model, processor, store, tmp_path / "kept", {}, "train").features

    first = made()
    (file,) = samples[1].files()
    file.touch()
    assert torch.equal(made(), first) and not calls
    (other,) = samples[2].files()
    shutil.copyfile(other, file)
    found = made()
    assert sum(calls) == 4 and torch.allclose(found[1], found[2], atol=1e-4)
    assert not torch.allclose(found[1], first[1], atol=1e-3) and torch.equal(found[3], first[3])
    file.unlink()
    with pytest.raises(InputError, match="no such video file"):
        made()


def test_features_that_are_no_numbers_are_refused_by_the_clips_name(scenes, tmp_path, monkeypatch):
    def broken(model, processor, clips):
        found = torch.zeros(len(clips), 8)
        found[-1, 3] = torch.nan
        return found

    monkeypatch.setattr(pooled, "pooled_of", broken)
    model, processor = loaded(SHIPPED)
    samples = load(scenes)[:3]
    with pytest.raises(InputError, match=rf"makes of {samples[2].id} is NaN or infinite \(1 of 3"):
        pooled.pooled(samples, model, processor, ClipStore(2.0, 8), tmp_path, {}, "train")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("normal", "stage"), [(1.0, 0), (0.0, 0), (0.0, 2)])
def test_a_classifier_does_not_learn_of_one_class(normal, stage, tmp_path):
    generate(ScenesConfig(split="train", clips=4, seed=3, normal=normal), tmp_path / "data")
    spec = on_scenes("qwen3-4b", build_qwen3(tmp_path / "stock"), tmp_path / "data", tmp_path / "run")
    spec.stages = spec.stages[stage : stage + 1]
    with pytest.raises(InputError, match="every labelled clip is " + ("normal" if normal else "anomalous")):
        train(spec, log=lambda line: None)


def test_a_loss_that_is_no_number_ends_a_stage(scenes, tmp_path):
    start = build_qwen3(tmp_path / "stock")
    (file,) = start.glob("*.safetensors")
    weights = load_file(file)
    name = next(k for k in weights if "language_model" in k and "mlp" in k)
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, file, {"format": "pt"})
    spec = on_scenes("qwen3-4b", start, scenes, tmp_path / "run")
    spec.stages = spec.stages[1:2]
    with pytest.raises(InputError, match=r"step 1: .*text_loss.* is NaN or infinite"):
        train(spec, log=lambda line: None)
    assert not (tmp_path / "run/0-grounding/model").exists()


SETS = {"tiny": lambda: AutoTokenizer.from_pretrained(SHIPPED), "stock": lambda: stock_tokenizer(None)}


@pytest.mark.parametrize("kind", SETS)
def test_wrong_digits_are_those_that_make_a_box_impossible(kind):
    """Against the definition, for random boxes: each listed token in place of the right one, the rest as the
    reference has it, gives no box of the picture; each other digit gives one."""
    tokenizer = SETS[kind]()
    digits = BoxDigits(tokenizer)
    rng = random.Random(0)
    for _ in range(60):
        x1, y1 = rng.randrange(0, 990), rng.randrange(0, 990)
        x2, y2 = rng.randrange(x1 + 1, 1001), rng.randrange(y1 + 1, 1001)
        text = f"<think>at [3, 2, 1, 0]</think><answer>Falling</answer><box>[{x1}, {y1}, {x2}, {y2}]</box>"
        ids = tokenizer(text)["input_ids"]
        listed = dict(digits.wrong(text))
        begin = text.index("<box>")
        for place, token in enumerate(ids):
            offset = len(tokenizer.decode(ids[:place]))
            for other in digits.digits:
                if other == token or offset < begin + len("<box>[") or token not in digits.digits:
                    continue
                changed = tokenizer.decode([*ids[:place], other, *ids[place + 1 :]])
                numbers = [int(n) for n in changed[changed.index("<box>") + 6 : -7].split(", ")]
                held = [x1, y1, x2, y2]
                moved = next((n for n in range(4) if numbers[n] != held[n]), None)
                if moved is None:
                    continue  # a zero before a zero
                fits = numbers[moved] <= (999 if moved < 2 else 1000) and (
                    moved < 2 or numbers[moved] > numbers[moved - 2]
                )
                assert (other in listed.get(place, [])) == (not fits), (text, changed)


def test_geometry_is_penalised_where_it_is_wrong(scenes):
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    text = "<answer>a</answer><box>[120, 40, 310, 620]</box>"
    ids = torch.tensor(tokenizer(text)["input_ids"])
    wrong = as_tensors([BoxDigits(tokenizer).wrong(text)])
    learn = torch.ones(1, len(ids) - 1, dtype=torch.bool)
    right = torch.zeros(len(ids) - 1, len(tokenizer))
    right[torch.arange(len(ids) - 1), ids[1:]] = 20.0
    loss, rate = geometry_loss(right, learn, wrong)
    assert loss < 1e-4 and rate == 0
    bad = right.clone().requires_grad_()
    place, token = int(wrong["place"][0]), int(wrong["token"][0])
    with torch.no_grad():
        bad[place - 1, token] = 60.0  # surer of it than float32 can tell from 1
    loss, rate = geometry_loss(bad, learn, wrong)
    loss.backward()
    assert loss > 0.3 and 0 < rate < 1 and bad.grad[place - 1, token] > 0
    none = as_tensors([[]])
    assert geometry_loss(right, learn, none) == (0, 0)


def test_normal_clips_stay_where_only_anomalies_have_boxes(scenes):
    """Layered losses: a stage of boxes still learns what is normal."""
    model, processor = loaded(SHIPPED)
    texts = config.read(Curriculum, "vanguard/staged", []).stages[1].texts
    collator = ClipCollator(
        Branches(processor, reasoning=False, geometry=True), ClipStore(2.0, 8), texts, classifier=True
    )
    samples = load(scenes)
    normal = [s for s in samples if s.anomalous is False]
    assert normal and all(collator.teaches(s) and not collator.conversations(s) for s in normal)
    batch = collator(samples[:6])
    assert batch["anomalous"].tolist() == [int(s.anomalous) for s in samples[:6]]
    with torch.no_grad():
        model.model.classifier = AnomalyClassifier(model.config.text_config.hidden_size, 8)
        found = [
            stage_losses(model, model, collator(part), Losses(text=0.0, classifier=1.0))[1]
            for part in (normal[:2], [s for s in samples if s.anomalous][:2])
        ]
    assert [set(parts) for parts in found] == [{"classifier_loss", "geometry_loss", "impossible_boxes"}] * 2
    asked = next(q for s in samples for q in s.questions if q.kind == "spatial")
    assert "<think>" in target_text(asked, 10) and "<think>" not in target_text(asked, 10, reasoning=False)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"losses": {"text": 1.0, "classifier": 1.0}}, "data.pooled is for losses.classifier alone"),
        ({"losses": {"text": 0.0}}, "data.pooled is for losses.classifier alone"),
        ({"trains": ["*"]}, "only model.classifier"),
        ({"lora": {"layers": 1}}, "only model.classifier"),
        ({"losses": {"text": 0.0, "classifier": 1.0, "geometry": 1.0}}, "losses.geometry needs losses.text"),
    ],
)
def test_what_does_not_go_together_is_refused(change, why, tmp_path):
    spec = yaml.safe_load((ROOT / "configs/stage/vanguard/staged.yaml").read_text())
    spec["stages"] = [spec["stages"][0] | change]
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(InputError, match=why):
        config.read(Curriculum, str(path), []).stages[0].check()


def test_a_classifier_is_asked_for_and_stays(trained, scenes, tmp_path):
    start, run = trained
    without = on_scenes("qwen3-4b", start, scenes, tmp_path / "a", use_classifier=None)
    without.stages = without.stages[1:2]
    with pytest.raises(InputError, match="the model has none; set use_classifier"):
        train(without, log=lambda line: None)
    model, processor = loaded(run / "model")
    with pytest.raises(InputError, match="has a classifier, which a plain Qwen-VL checkpoint has not"):
        plain(model, processor, "here")
    assert not any("classifier" in name for name, _ in model.engine_weights())
    again = on_scenes("qwen3-4b", run / "model", scenes, tmp_path / "b", use_classifier=None)
    again.stages = again.stages[2:]
    train(again, log=lambda line: None)
    assert loaded(tmp_path / "b/model")[0].model.classifier is not None
    record = tmp_path / "b/0-reasoning/model/stage.json"
    told = json.loads(record.read_text())
    assert told["made_of"].pop("use_classifier") is True
    record.write_text(json.dumps(told))  # as before there was one: a stage of a model without
    with pytest.raises(InputError, match=r"is finished, with other settings .*use_classifier"):
        train(again, log=lambda line: None)


def test_reinforcement_asks_nothing_of_a_classifier(trained, scenes, tmp_path):
    _, run = trained
    plan = run_of(scenes, run / "model", tmp_path / "a")
    for trains in (["model.classifier.*"], ["model.language_model.*", "model.classifier.out.*"]):
        with pytest.raises(InputError, match=r"trains: 'model.classifier.*a stage with losses.classifier"):
            grpo(replace(plan, trains=trains))
    without = run_of(scenes, SHIPPED, tmp_path / "b")
    with pytest.raises(InputError, match=r"no parameter matches 'model.classifier"):
        grpo(replace(without, trains=["model.classifier.*"]))
    with pytest.raises(InputError, match="unknown reward 'classifier'"):
        grpo(replace(without, rewards={"classifier": 1.0}))


def test_frame_scores_by_sub_clips(trained, scenes, tmp_path, capsys):
    """By the classifier as it gives them; a threshold from one run serves another; what a model has not is
    refused."""
    _, run = trained
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "name": "t",
                "data": str(scenes),
                "tasks": ["heatmap"],
                "rate": 2.0,
                "max_frames": 8,
            }
            | {"subclips": {"seconds": 2.0, "stride": 1.0}}
        )
    )
    told = ["run", "--model", f"hf:{run / 'model'}", "--suite", str(suite), "--out"]
    assert bench([*told, str(tmp_path / "one")]) == 0
    found = threshold.read(str(tmp_path / "one"))
    model, processor = loaded(run / "model")
    sample = load(scenes)[0]
    windows = whole_windows(sample)
    chances = [probabilities(model, processor, [clip])[0] for clip in windows]
    labels, scores = found[sample.id]
    first = windows[0].images.shape[0]
    assert scores[0] == pytest.approx(chances[0], abs=1e-2) and first == 4
    assert scores[-1] == pytest.approx(chances[-1], abs=1e-2) and len(labels) == len(scores)
    with_smooth = [*told, str(tmp_path / "two"), "--subclips.smooth", "1.0"]
    assert bench(with_smooth) == 0
    assert not np.array_equal(threshold.read(str(tmp_path / "two"))[sample.id][1], scores)
    other = tmp_path / "other"
    generate(ScenesConfig(split="val", clips=8, seed=4), other)
    assert bench([*told, str(tmp_path / "valid"), "--data", str(other)]) == 0
    out = tmp_path / "t.json"
    carried = ["threshold", str(tmp_path / "one"), "--json", str(out), "--validation"]
    assert bench([*carried, str(tmp_path / "valid")]) == 0
    rows = json.loads(out.read_text())
    assert set(rows["thresholds"]) == {"frame", "video"} and rows["figures"]["video.auc"]["value"] is not None
    for folder, why in (("one", "is the run itself"), ("two", "with another subclips")):
        with pytest.raises(InputError, match=why):
            bench([*carried, str(tmp_path / folder)])
    for by, why in (
        ("heat", "gives no heatmaps"),
        ("flow", "expected one of heat, judgement, mean, classifier"),
    ):
        with pytest.raises(InputError, match=why):
            bench([*told, str(tmp_path / by), "--subclips.by", by])
    with pytest.raises(InputError, match="has none of VANGUARD's"):
        bench([*told[:2], "baseline:constant", *told[3:], str(tmp_path / "base"), "--tasks", BOTH])
    assert not (tmp_path / "base/samples.jsonl").exists()  # before hours of questions
    with pytest.raises(InputError, match="subclips score frames, which tasks do not ask for"):
        bench([*told, str(tmp_path / "none"), "--tasks", '["judgement"]'])


BOTH = '["heatmap", "judgement"]'


def whole_windows(sample: Sample):
    from tvad.data import video

    return list(video.windows(sample.clip(), 2.0, 4, 2))


def test_figures_at_a_threshold_by_hand():
    """Six videos, four frames each."""
    labels = [[0, 0, 0, 0]] * 3 + [[0, 1, 1, 0]] * 3
    scores = [
        [0.1] * 4,
        [0.6, 0.1, 0.1, 0.1],
        [0.2] * 4,
        [0.1, 0.9, 0.8, 0.1],
        [0.1, 0.7, 0.2, 0.1],
        [0.3] * 4,
    ]
    videos = {str(n): (np.array(y), np.array(s)) for n, (y, s) in enumerate(zip(labels, scores, strict=True))}
    found = threshold.figures(videos, {"frame": 0.5, "video": 0.5})
    value = {name: figure.value for name, figure in found.items()}
    assert value["frame.precision"] == 3 / 4 and value["frame.recall"] == 3 / 6
    assert value["frame.f1"] == pytest.approx(0.6) and value["frame.recall_normal"] == 17 / 18
    assert value["video.precision"] == 2 / 3 and value["video.recall"] == 2 / 3
    assert value["video.precision_normal"] == 2 / 3 and value["video.balanced"] == pytest.approx(2 / 3)
    assert value["video.auc"] == pytest.approx(8 / 9)
    oracle = {name: (y, y.astype(float)) for name, (y, _) in videos.items()}
    best = threshold.figures(oracle, threshold.thresholds(oracle))
    lit = {name: row for name, row in oracle.items() if row[0].any()}
    assert set(threshold.thresholds(lit)) == {"frame"}  # of videos, no normal one to choose against
    with pytest.raises(InputError, match="no threshold can be chosen"):
        threshold.thresholds({name: row for name, row in oracle.items() if not row[0].any()})
    assert all(
        best[f"{level}.{f}"].value == 1 for level in threshold.LEVELS for f in ("auc", "ap", "f1", "balanced")
    )
    blind = {name: (y, np.full(4, 0.4)) for name, (y, _) in videos.items()}
    found = threshold.figures(blind, {"frame": 0.5, "video": 0.5})
    assert found["video.auc"].value == found["frame.auc"].value == 0.5


def test_the_shipped_suites_state_their_conventions():
    for name in ("ucf_crime", "xd_violence", "shanghaitech_frames", "vanguard"):
        assert suites.read(name).subclips.by == "classifier"
    with pytest.raises(InputError, match="two ways to score frames"):
        suites.read("ucf_crime", ["--dense.starts", "2"])
    with pytest.raises(InputError, match=r"subclips.stride 20 is longer"):
        suites.read("ucf_crime", ["--subclips.stride", "20"])
    with pytest.raises(InputError, match=r"subclips.seconds is 0.1"):
        suites.read("ucf_crime", ["--subclips.seconds", "0.1"])


def test_a_timeline_by_the_classifier(trained, scenes, tmp_path, capsys):
    """The default of a model without heatmaps: each step has the mean probability of the sub-clips that saw
    it; what is flagged is asked about, where it is among it."""
    _, run = trained
    film = next((scenes / "videos").glob("*.mp4"))
    told = [str(film), "--model", str(run / "model"), "--rate", "4", "--window", "2", "--stride", "1"]
    told += ["--smooth", "0", "--threshold", "0.01"]
    assert tvad(["timeline", *told, "--out", str(tmp_path / "one")]) == 0
    found = json.loads((tmp_path / "one/timeline.json").read_text())
    assert found["settings"]["by"] == "classifier" and found["conventions"]["raw"] == RULES["classifier"]
    parts = [one["probability"] for one in found["subclips"]]
    assert len(parts) == 3 and all(0 < p < 1 for p in parts)
    assert found["steps"]["raw"][0] == pytest.approx(parts[0], abs=1e-3)
    assert found["steps"]["raw"][2] == pytest.approx((parts[0] + parts[1]) / 2, abs=1e-3)
    turns = found["spans"][0]["explanation"]["turns"]
    asked = [turn["question"] for turn in turns]
    assert asked[:3] == [ASKED[kind] for kind in ("judgement", "classification", "temporal")]
    assert asked[-1].startswith("Where is the anomaly at") and all("reasoning" in turn for turn in turns)
    with pytest.raises(InputError, match="gives no heatmaps, expected classifier or judgement"):
        tvad(["timeline", *told, "--by", "heat", "--out", str(tmp_path / "two")])
    with pytest.raises(InputError, match="--by classifier: this model has none"):
        tvad(["timeline", *told[:2], str(SHIPPED), "--by", "classifier", "--out", str(tmp_path / "three")])
