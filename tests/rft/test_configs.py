"""Configurations of training: what the shipped files resolve to, what is refused by name, and that they read
without torch."""

import copy
import dataclasses
import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from transformers import TrainingArguments
from trl import GRPOConfig

from bench.gate import Gate
from bench.suite import Suite
from leaderboard.board.config import Board
from rft.common import moved
from rft.common.stage_record import RECORD, read_record, write_record
from rft.common.trainable import LoraSpec
from rft.curriculum import train as training
from rft.curriculum.arguments import arguments_of
from rft.curriculum.config import Curriculum, Data, Losses, Optimiser, Stage, Texts
from rft.grpo.config import OWNED, GrpoRun, Watch, settings_of
from rft.studies.ablation import Ablation
from rft.studies.experiment import Experiment
from rft.train_grpo import main as grpo
from rft.train_stage import main as stages
from tvad.common import config
from tvad.common.errors import InputError

GOLDEN = json.loads((ROOT / "tests/golden/resolved_configs.json").read_text(encoding="utf-8"))
# Keys that have come since the golden values were taken, at any depth (attention: to GRPO).
SINCE = {"prompt_tokens", "reading", "classes", "form", "reward_limits", "held_out", "skip_bad_clips"}
SINCE |= {"min_pixels", "max_pixels", "total_pixels", "adam_beta2", "attention"}
SINCE |= {"rae_input", "prompt_order", "ahd_layout", "prompt_features", "load_in_4bit", "targets"}
SINCE |= {"families", "limit", "slices", "unscored", "pictures", "phases", "hub", "retired"}
SINCE |= {"address", "at_once", "checking", "connections", "mail", "moderated", "openid", "proxies"}
SINCE |= {"webhook", "also", "region", "still", "dense"}
SINCE |= {"storage", "storage_here", "blur_outlined", "rerun"}
SINCE |= {"subclips", "use_classifier", "pooled", "reasoning", "classifier", "geometry", "staleness", "blend"}
# What files say otherwise since then, and why.
CHANGED = {
    # AHD is no longer trained against text features of which nobody recorded the prompts.
    "configs/stage/closed.yaml": {
        ("prompts",): "configs/prompts/surveillance.yaml",
        ("stages", 0, "text_features"): True,
    },
}
MACHINE = ("output_dir", "use_cpu", "logging_dir", "hub_token")
FOLDERS = {cls.FOLDER: cls for cls in (Curriculum, GrpoRun, Suite, Gate, Board)}
CLASSES = {
    "configs/stage/ablation.yaml": Ablation,
    "configs/stage/tvad-7b-ablation.yaml": Ablation,
    "configs/grpo/ablation.yaml": Experiment,
    "configs/grpo/experiment.yaml": Experiment,
}


def resolved(path: str):
    return config.read(CLASSES.get(path) or FOLDERS[path.split("/")[1]], ROOT / path)


def without_younger(found):
    """Resolved values without the keys of `SINCE`, and without a suite's block `model` (in other files a
    path)."""
    if isinstance(found, dict):
        kept = {k: v for k, v in found.items() if k not in SINCE and not (k == "model" and "family" in v)}
        return {key: without_younger(value) for key, value in kept.items()}
    return [without_younger(value) for value in found] if isinstance(found, list) else found


def today(old: dict, path: str = "") -> dict:
    """Old values at their places of today."""
    old = copy.deepcopy(old)
    for keys, value in CHANGED.get(path, {}).items():
        place = old
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    for plan in (old, old.get("backbone")):
        if plan and "stages" in plan:
            plan["stages"] = [moved.brought_over(stage, moved.STAGE) for stage in plan["stages"]]
    if "watch" in old:
        for key, new in Watch.MOVED.items():
            old["watch"][new] = old["watch"].pop(key)
    return old


def test_every_file_of_the_golden_values_is_shipped():
    """Files that have come since have none."""
    shipped = {
        str(path.relative_to(ROOT))
        for folder in ("grpo", "stage", "bench", "gate", "leaderboard")
        for path in (ROOT / "configs" / folder).glob("*.yaml")
    }
    younger = {path for path in shipped - set(GOLDEN["resolved"]) if resolved(path)}  # they can be read
    assert shipped - younger == set(GOLDEN["resolved"])


@pytest.mark.parametrize("path", GOLDEN["resolved"])
def test_shipped_files_resolve_to_the_values_they_had(path):
    assert without_younger(dataclasses.asdict(resolved(path))) == without_younger(
        today(GOLDEN["resolved"][path], path)
    )


def test_stages_behind_shipped_checkpoints_keep_the_dialogue_that_their_data_holds():
    """New ones take the published form; a record from before there were forms says what was so then."""
    assert Texts().form == "talk"
    for name in ("tiny", "closed", "ablation"):
        told = [
            stage.texts.form
            for stage in resolved(f"configs/stage/{name}.yaml").stages
            if stage.texts.dialogue
        ]
        assert told and set(told) == {"stored"}
    for name in ("tvad-7b-ubnormal", "tvad-7b-shanghaitech"):
        assert resolved(f"configs/stage/{name}.yaml").stages[-1].texts == Texts(dialogue=True, form="talk")


def test_a_stage_begun_before_there_were_forms_does_not_go_on_with_another(tmp_path):
    stage = Stage("x", ["*"], Data("d"), Texts(dialogue=True), optimiser=Optimiser(steps=2))
    before = dataclasses.asdict(stage)
    del before["texts"]["form"]
    write_record(tmp_path, {"stage": before})
    assert read_record(tmp_path / "stage.json")["stage"]["texts"]["form"] == "stored"


@pytest.mark.parametrize("name", GOLDEN["training"])
def test_the_librarys_arguments_are_what_they_were(name, tmp_path):
    path, _, stage_name = name.partition(":")
    plan = resolved(path)
    if stage_name:
        stage = next(stage for stage in plan.stages if stage.name == stage_name)
        found, library = arguments_of(stage, 100, tmp_path, plan.seed, True), TrainingArguments
    else:
        found, library = settings_of(plan, [1.0]), GRPOConfig
    # transformers takes the default of disable_tqdm from how loud its logger is, which other tests change
    given = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "disable_tqdm": False}
    default = library(**given).to_dict()
    changed = {
        key: value
        for key, value in found.to_dict().items()
        if key not in MACHINE and (key not in default or default[key] != value)
    }
    assert json.loads(json.dumps(changed)) == GOLDEN["training"][name]


@pytest.mark.parametrize(("old", "new"), moved.STAGE.items())
def test_an_old_key_of_a_stage_is_refused_with_its_new_place(old, new, tmp_path):
    stage = {"name": "x", "trains": ["*"], old: 1}
    (tmp_path / "mine.yaml").write_text(json.dumps({"out": "o", "start": "s", "stages": [stage]}))
    with pytest.raises(InputError, match=rf"mine\.yaml: stages\[0\]: '{old}' is now '{new}'"):
        stages(["--config", str(tmp_path / "mine.yaml")])


def test_a_group_that_has_an_old_keys_name_is_no_old_key():
    stage = {"name": "x", "trains": ["*"], "data": {"train": "d"}, "optimiser": {"steps": 1}}
    assert config.build(Stage, stage, "x").data.train == "d"
    with pytest.raises(InputError, match=r"'data' is now 'data\.train'"):
        config.build(Stage, stage | {"data": "d"}, "x")


def test_a_renamed_threshold_is_refused_by_its_name(tmp_path):
    (tmp_path / "mine.yaml").write_text(json.dumps({"watch": {"truncated": 0.5}}))
    with pytest.raises(InputError, match=r"mine\.yaml: watch: 'truncated' is now 'clipped'"):
        grpo(["--config", str(tmp_path / "mine.yaml")])


@pytest.mark.parametrize("key", [key for key in [*OWNED, "vllm_mode"] if "*" not in key])
def test_what_the_run_fills_in_itself_is_refused_under_training(key):
    with pytest.raises(InputError, match=rf"training: '{key}' belongs to the run: (set|leave) "):
        config.build(GrpoRun, {"training": {key: 1}}, "x.yaml")


@pytest.mark.parametrize("key", ["learning_rate", "max_steps", "per_device_train_batch_size", "eval_steps"])
def test_what_a_stage_fills_in_itself_is_refused_under_its_options(key):
    with pytest.raises(InputError, match=rf"options: '{key}' belongs to the run: set "):
        config.build(Stage, {"options": {key: 1}}, "x.yaml")


@pytest.mark.parametrize(
    "key",
    ["label_smoothing_factor", "prediction_loss_only", "use_cache", "train_sampling_strategy", "do_train"],
)
def test_what_would_do_nothing_to_a_stage_is_refused_under_its_options(key):
    """A stage has losses of its own: labels are not smoothed by transformers', which never sees them."""
    with pytest.raises(InputError, match=rf"options: '{key}' belongs to the run: leave it out"):
        config.build(Stage, {"options": {key: 1}}, "x.yaml")


@pytest.mark.parametrize("key", ["steps", "batch", "accumulate"])
def test_a_stage_of_nothing_is_refused(key):
    """Of 0 steps transformers made three epochs."""
    stage = Stage("x", ["*"], Data("d"), optimiser=Optimiser(**{"steps": 2, key: 0}))
    with pytest.raises(InputError, match=rf"stage x: optimiser\.{key} is 0, expected at least 1"):
        stage.check()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"lora": LoraSpec(alpha=0)}, "lora: alpha is 0, expected more than 0"),
        ({"lora": LoraSpec(r=0)}, "lora: r is 0, expected at least 1"),
        ({"lora": LoraSpec(dropout=2.0)}, "lora: dropout is 2.0, expected at least 0 and less than 1"),
        ({"lora": LoraSpec(layers=-1)}, "lora: layers is -1, expected at least 0"),
        ({"losses": Losses(answer_weight=-1.0)}, "losses.answer_weight is -1.0, expected at least 0"),
        ({"optimiser": Optimiser(lr=-1.0, steps=2)}, "optimiser.lr is -1.0, expected at least 0"),
    ],
)
def test_numbers_that_no_stage_can_have_are_refused(changes, words):
    stage = Stage("x", ["*"], Data("d"), optimiser=Optimiser(steps=2))
    with pytest.raises(InputError, match=re.escape(words)):
        dataclasses.replace(stage, **changes).check()


@pytest.mark.parametrize(
    "options, words", [({"optim": "nonsense"}, "nonsense"), ({"max_grad_norm": 1.0, "seed_": 1}, "seed_")]
)
def test_an_option_that_transformers_refuses_is_one_line(options, words, tmp_path):
    stage = Stage("x", ["*"], Data("d"), optimiser=Optimiser(steps=2), options=options)
    with pytest.raises(InputError, match=f"^stage x: options: .*{words}") as refused:
        arguments_of(stage, 2, tmp_path, 0, evaluates=False)
    assert "\n" not in str(refused.value)


def test_an_optimiser_beside_muon_is_refused():
    plan = Optimiser(lr=1e-3, steps=2, muon=0.02)
    stage = Stage("x", ["*"], Data("d"), optimiser=plan, options={"optim": "sgd"})
    with pytest.raises(InputError, match=r"stage x: options\.optim: does nothing beside optimiser\.muon"):
        stage.check()
    dataclasses.replace(stage, options={"adam_beta1": 0.8}).check()


def test_records_of_stages_carry_a_format_and_old_ones_are_brought_over(tmp_path):
    record = {
        "stage": dataclasses.asdict(Stage("x", ["*"], Data("d"), optimiser=Optimiser(lr=1e-3, steps=2)))
    }
    write_record(tmp_path, record)
    assert read_record(tmp_path / "stage.json") == RECORD.stamp() | record
    flat = GOLDEN["resolved"]["configs/stage/tiny.yaml"]["stages"][0]
    (tmp_path / "stage.json").write_text(json.dumps({"stage": flat, "seed": 0}))
    old = read_record(tmp_path / "stage.json")
    assert old["stage"]["optimiser"]["lr"] == flat["lr"] and old["stage"]["data"]["train"] == "symbols"
    for text, words in (
        ('{"version": 3, "stage": {}}', "version 3"),
        ("{", "no record"),
        ("[]", "expected a mapping"),
        ('{"seed": 0}', "no record"),
    ):
        (tmp_path / "stage.json").write_text(text)
        with pytest.raises(InputError, match=rf"stage\.json: {words}"):
            read_record(tmp_path / "stage.json")


def test_configurations_import_without_the_training_libraries():
    """So that whoever only reads them waits for none."""
    heavy = ("torch", "transformers", "trl", "peft", "datasets")
    code = (
        "import sys, rft.train_grpo, rft.train_stage, rft.studies.ablation, rft.studies.experiment,"
        " rft.studies.vanguard, rft.studies.gain, rft.studies.demo, bench.suite,"
        " leaderboard.intake.submission;"
        f" print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["train_grpo", "train_stage"])
def test_entries_stay_thin(name):
    assert len((ROOT / "rft" / f"{name}.py").read_text().splitlines()) <= 80


@pytest.mark.parametrize("path", sorted((ROOT / "configs/stage").glob("tvad-7b*.yaml")), ids=lambda p: p.stem)
def test_what_the_paper_leaves_open_is_written_out_and_marked_in_a_7b_file(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    for stage in config.read_yaml(path)["stages"]:
        assert {"lr", "epochs", "warmup", "lr_floor", "weight_decay", "adam_beta2"} <= set(stage["optimiser"])
    for key in ("lr", "lr_floor", "weight_decay", "adam_beta2"):
        stated = [line for line in lines if line.strip().startswith(f"{key}:")]
        assert len(stated) == 3 and all("(ours" in line for line in stated)
    published = {"epochs: 1", "warmup: 0.1"}  # one epoch of stage 2, warm-up of stage 1
    for line in (line.strip() for line in lines):
        if line.startswith(("epochs:", "warmup:")) and "(ours" not in line:
            assert line in published


def test_adamws_second_decay_is_a_key(tmp_path):
    stage = Stage("x", ["*"], Data("symbols"), optimiser=Optimiser(steps=1, adam_beta2=0.9))
    assert arguments_of(stage, 1, tmp_path, 0, False).adam_beta2 == 0.9


def test_a_curriculum_hands_the_models_form_on(monkeypatch, tmp_path):
    form = {
        "rae_input": "abnormal",
        "prompt_order": "anomaly_first",
        "ahd_layout": "thesis",
        "prompt_features": "embeddings",
    }
    stage = {"name": "x", "trains": ["*"], "data": {"train": "symbols"}, "optimiser": {"steps": 1}}
    plain = {"out": str(tmp_path), "start": str(ROOT / "configs/model/tiny.yaml"), "stages": [stage]}
    given = []

    def stopped(*args, **switches):
        given.append(switches)
        raise InputError("far enough")

    monkeypatch.setattr(training, "start_from", stopped)
    for keys in ({}, form):
        with pytest.raises(InputError, match="far enough"):
            training.train(config.build(Curriculum, plain | keys, "x"))
    ablations = {"use_ahd": True, "use_rae": True}
    assert given == [ablations, ablations | form]
