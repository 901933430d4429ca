"""What a stage shows and how it is evaluated: draws that no worker changes, validation of every label,
memory of one clip, checkpoints before evaluations; text features that are the language model's own."""

import json
import pickle
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerState

from bench import run as bench_run
from bench.inputs import Inputs
from bench.models.hf import HfModel
from bench.run_folder import Shard
from bench.suite import Suite
from rft.common.checkpoints import last_checkpoint
from rft.curriculum import text_features
from rft.curriculum.config import Curriculum, Data, Losses, Optimiser, Selection, Stage, Texts
from rft.curriculum.data import Branches, ClipCollator, DrawnSamples
from rft.curriculum.stage import run, shown_of
from rft.curriculum.train import train
from rft.curriculum.trainer import StageTrainer
from tvad.common import config
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model.start import start_from

PROMPTS = {"normal": ["people walking"], "abnormal": ["an anomaly"]}
HEAT = dict(texts=Texts(kinds=[]), losses=Losses(text=0.0, heatmap=1.0), text_features=True)


@pytest.fixture
def parts(checkpoint):
    return AutoModelForImageTextToText.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)


def heat_stage(scenes, steps=4, **data):
    return Stage(
        "ahd",
        ["model.ahd.*"],
        Data(str(scenes), str(scenes), **data),
        optimiser=Optimiser(1e-2, steps=steps, batch=2),
        selection=Selection("micro_auc", 2),
        **HEAT,
    )


def test_what_is_drawn_of_a_clip_follows_its_epoch_and_number_in_every_worker(parts, scenes):
    """A loader's workers have copies of the collator: none may count draws by itself."""
    clip = load(scenes)[0]
    data = DrawnSamples([clip] * 16)
    collator = ClipCollator(
        Branches(parts[1]), ClipStore(4.0, 16), Texts(kinds=[]), data=Data("d", crop=2), seed=5
    )

    def shown(numbers, workers):
        copies = [pickle.loads(pickle.dumps(collator)) for _ in range(workers)]
        return [tuple(copies[n % workers].view(data[n]).frames.indices) for n in numbers]

    alone = shown(range(16), 1)
    assert shown(range(16), 4) == alone and len(set(alone[:4])) > 1
    assert shown([7, 3], 2) == [alone[7], alone[3]]
    data.set_epoch(1)
    assert shown(range(16), 1) != alone
    data.set_epoch(0)
    assert shown(range(16), 1) == alone


def test_the_trainers_loader_tells_the_epoch(parts, scenes, tmp_path, monkeypatch):
    seen = []
    of = ClipCollator.view
    monkeypatch.setattr(
        ClipCollator,
        "view",
        lambda self, given: (seen.append(getattr(given, "key", None)), of(self, given))[1],
    )
    stage = replace(heat_stage(scenes, steps=10), data=Data(str(scenes)), selection=Selection())
    run(stage, *parts, tmp_path, 0, 2.0, 8, PROMPTS, log=lambda text: None)
    assert {key[0] for key in seen[:16]} == {0} and {key[0] for key in seen[16:20]} == {1}


def test_validation_shows_every_label_where_the_data_lie_ordered(scenes):
    samples = sorted(load(scenes), key=lambda s: bool(s.anomalous))  # normal first
    anomalous = [s for s in samples if s.anomalous]
    kept = shown_of(samples, 4, seed=0)
    assert len(kept) == 4 and {s.anomalous for s in kept} == {True, False}
    assert kept == [s for s in samples if s in kept]  # in their order
    rare = [*[s for s in samples if not s.anomalous], anomalous[0]]
    assert anomalous[0] in shown_of(rare, 2, seed=0)
    assert shown_of(samples, 5, 1) == shown_of(samples, 5, 1) and len(shown_of(samples, 5, 1)) == 5
    assert {tuple(s.id for s in shown_of(samples, 4, seed)) for seed in range(6)} != {
        tuple(s.id for s in kept)
    }
    assert shown_of(samples, 99, 0) == samples


def test_validation_of_one_label_is_refused_before_anything_trains(parts, scenes, tmp_path, monkeypatch):
    normal = [s for s in load(scenes) if not s.anomalous]
    monkeypatch.setattr("rft.curriculum.standing.load_checked", lambda path, drop: normal)
    with pytest.raises(InputError, match=r"selection\.select is micro_auc, .*: no clip is anomalous"):
        run(heat_stage(scenes), *parts, tmp_path, 0, 2.0, 8, PROMPTS, log=lambda text: None)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_an_evaluation_holds_one_clip_and_a_benchmark_a_few(parts, scenes, tmp_path, monkeypatch):
    """Whatever the number of videos: their frames, not what metrics need of them, are what is large."""
    alive, most, decode = set(), [0], ClipStore.decode

    def counted(self, key):
        found = decode(self, key)
        alive.add(number := id(found))
        weakref.finalize(found, alive.discard, number)
        most[0] = max(most[0], len(alive))
        return found

    monkeypatch.setattr(ClipStore, "decode", counted)
    monkeypatch.setattr(bench_run, "CLIPS", 3)
    store = ClipStore(2.0, 8, max_bytes=0)
    trainer = StageTrainer.__new__(StageTrainer)
    engine = HfModel(parts[0].eval(), parts[1])
    trainer.model, trainer.eval_dataset = parts[0], load(scenes)

    class Plain:
        unwrap_model = staticmethod(lambda model: model)
        autocast = staticmethod(torch.no_grad)

    trainer.accelerator, trainer.args = Plain(), type("A", (), {"metric_for_best_model": None})()
    assert trainer._heatmap_metrics(parts[1], store)["eval_micro_auc"] is not None
    assert most[0] <= 2
    most[0] = 0
    assert bench_run._write_maps(
        engine, load(scenes), Suite("s", str(scenes)), store, tmp_path, Shard.here(), Inputs(tmp_path, [])
    )
    assert most[0] <= 4


def test_an_evaluation_that_fails_costs_no_step_and_is_made_up_for(checkpoint, scenes, tmp_path, monkeypatch):
    def trained(folder):
        parts = start_from(str(checkpoint))
        stage = heat_stage(scenes, validation_clips=4)
        run(stage, *parts, tmp_path / folder, 0, 2.0, 8, PROMPTS, log=lambda text: None)
        return json.loads((tmp_path / folder / "model/stage.json").read_text())

    whole = trained("whole")

    def fails(self, *args):
        raise RuntimeError("in an evaluation")

    monkeypatch.setattr(StageTrainer, "_heatmap_metrics", fails)
    with pytest.raises(RuntimeError, match="in an evaluation"):
        trained("cut")
    monkeypatch.undo()
    assert (tmp_path / "cut/checkpoint-2/optimizer.pt").exists()
    cut = trained("cut")

    def figures(record):
        return [(r["step"], r["eval_micro_auc"]) for r in record["history"] if "eval_micro_auc" in r]

    assert figures(cut) == figures(whole) and cut["best"] == whole["best"]
    kept = [AutoModelForImageTextToText.from_pretrained(tmp_path / f / "model") for f in ("whole", "cut")]
    ours, theirs = (model.state_dict() for model in kept)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("where", ["state", "model"])
def test_a_stage_killed_while_it_writes_ends_where_an_uninterrupted_one_does(
    checkpoint, scenes, tmp_path, monkeypatch, where
):
    """While what an evaluation found is added to its checkpoint, or behind the last, while the model is
    written: no step more than it has, no line of an evaluation twice."""

    def trained(folder):
        parts = start_from(str(checkpoint))
        stage = replace(heat_stage(scenes, validation_clips=4), selection=Selection(save_steps=2))
        run(stage, *parts, tmp_path / folder, 0, 2.0, 8, PROMPTS, log=lambda text: None)
        return tmp_path / folder

    def killed(*args):
        raise KeyboardInterrupt

    write, calls = TrainerState.save_to_json, []

    def cut(self, path):
        write(self, path)
        calls.append(path)
        if len(calls) == 4:  # of step 4, its evaluation: the checkpoint of step 2 is gone
            content = Path(path).read_text()
            Path(path).write_text(content[: len(content) // 2])
            raise KeyboardInterrupt

    def lines(folder):
        rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        return [{k: v for k, v in r.items() if not k.endswith(("runtime", "per_second"))} for r in rows]

    whole = trained("whole")
    if where == "state":
        monkeypatch.setattr(TrainerState, "save_to_json", cut)
    else:
        monkeypatch.setattr("rft.curriculum.stage.save_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        trained("cut")
    monkeypatch.undo()
    assert last_checkpoint(tmp_path / "cut") == str(tmp_path / "cut/checkpoint-4")
    part = trained("cut")
    assert lines(part) == lines(whole) and len(lines(whole)) == 6
    ours, theirs = (load_file(folder / "model/model.safetensors") for folder in (whole, part))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert {path.name for path in part.rglob("*")} == {path.name for path in whole.rglob("*")}


def test_a_start_from_yaml_takes_dtype_attention_and_seed():
    path = str(ROOT / "configs/model/tiny.yaml")
    plain, other = start_from(path)[0], start_from(path, seed=1)[0]
    weight = "model.language_model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(plain.get_parameter(weight), other.get_parameter(weight))
    model, _ = start_from(path, dtype="bfloat16", attention="eager")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and model.dtype == torch.bfloat16
    assert model.config._attn_implementation == model.config.text_config._attn_implementation == "eager"
    assert model.model.language_model.config._attn_implementation == "eager"
    with pytest.raises(InputError, match="dtype is 'bfloat'"):
        start_from(path, dtype="bfloat")
    with pytest.raises(InputError, match=r"tiny\.yaml: cannot be loaded"):
        start_from(path, attention="flash_attention_9")


def test_text_features_are_made_anew_where_the_language_model_has_changed(checkpoint):
    model, processor = start_from(str(checkpoint))
    assert model.set_text_features(processor, PROMPTS) and not model.set_text_features(processor, PROMPTS)
    assert text_features.agreement(model, processor) == pytest.approx(1.0, abs=1e-6)
    before = model.model.ahd.text_features.clone()
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.down_proj.weight.mul_(-1.0)
    assert text_features.agreement(model, processor) < text_features.SAME
    assert "before it trained" in text_features.told(model, processor)
    assert model.set_text_features(processor, PROMPTS)
    assert not torch.equal(before, model.model.ahd.text_features)
    assert text_features.told(model, processor) is None


def test_ahd_is_not_trained_against_features_of_unknown_or_of_another_models_prompts(
    checkpoint, scenes, tmp_path
):
    stage = {
        "name": "ahd",
        "trains": ["model.ahd.*"],
        "data": {"train": str(scenes)},
        "texts": {"kinds": []},
        "losses": {"text": 0.0, "heatmap": 1.0},
        "optimiser": {"steps": 1, "batch": 2},
    }

    def carried_out(start, stage):
        spec = {"version": 1, "out": str(tmp_path / "out"), "start": str(start), "stages": [stage]}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(spec))
        plan = config.build(Curriculum, config.read_yaml(tmp_path / "plan.yaml"), "plan")
        return train(plan, log=lambda text: None)

    with pytest.warns(UserWarning, match="does not say from which prompts"):
        AutoModelForImageTextToText.from_pretrained(ROOT / "assets/tvad-tiny")
    with pytest.raises(InputError, match=r"stage ahd: trains AHD, but the start does not say"):
        carried_out(ROOT / "assets/tvad-tiny", stage)
    model, processor = start_from(str(checkpoint))
    model.set_text_features(processor, PROMPTS)
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.down_proj.weight.mul_(-1.0)
    model.save_pretrained(tmp_path / "stale")
    processor.save_pretrained(tmp_path / "stale")
    with pytest.raises(InputError, match=r"not those of the language model \(cosine"):
        carried_out(tmp_path / "stale", stage)
    found = AutoModelForImageTextToText.from_pretrained(
        carried_out(tmp_path / "stale", stage | {"text_features": True})
    )
    assert found.config.text_prompts == PROMPTS
