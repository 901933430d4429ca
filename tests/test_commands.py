"""The commands as a user types them: exit status and one line that names the culprit."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib import import_module

import pytest
import torch
import yaml
from conftest import ROOT, SHIPPED

from rft.studies.demo import main as demo
from tvad.common import cli, config


def call(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        **kwargs,
    )


def refused(done, *words):
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in errors[0], errors[0]


def commands():
    """(what a person types, function) of every command of the project."""

    def below(prog, found):
        if callable(found):
            yield prog, found
        else:
            for name, inner in found.items():
                yield from below(f"{prog} {name}", inner)

    for package in ("tvad", "bench", "leaderboard"):
        yield from below(package, import_module(f"{package}.__main__").COMMANDS)
    for module, function in (
        ("rft.train_grpo", "run"),
        ("rft.train_stage", "run"),
        ("rft.studies.demo", "command"),
        ("rft.studies.experiment", "experiment"),
        ("rft.studies.ablation", "ablate"),
        ("rft.studies.gain", "gain"),
        ("rft.studies.vanguard", "study"),
        ("rft.grpo.run_page", "show"),
        ("rft.common.model_card", "ship"),
        ("leaderboard.scoring.__main__", "score"),
    ):
        yield f"python -m {module}", getattr(import_module(module), function)


@pytest.mark.parametrize(("typed", "function"), commands())
def test_help_lists_every_key_with_a_line_about_it(typed, function):
    parser = cli.parser_of(typed, function)
    text = parser.format_help()
    for name, (parameter, hint, source) in cli.parameters(function).items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            assert "further options" in text
            continue
        assert (name.upper() if parameter.kind is parameter.POSITIONAL_ONLY else f"--{name}") in text
        if dataclasses.is_dataclass(hint):
            for key in config.keys(hint):
                assert source.without(key.place) or key.place in text, key.place
                assert key.text, f"{key.place} has no docstring"
    for action in parser._actions:
        # a library's fields have no help of their own here and there
        assert action.help or action.dest.startswith("training."), action.dest


@pytest.mark.parametrize("name", ["demo", "experiment", "ablation", "vanguard"])
def test_a_study_finds_the_file_that_it_reads_by_default(name, capsys):
    assert import_module(f"rft.studies.{name}").main(["--print_config"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 4


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("tvad", "tvad infer --model"),
        ("bench", "bench run --model"),
        ("leaderboard", "leaderboard serve --config"),
        ("rft.train_grpo", "accelerate launch"),
        ("rft.train_stage", "accelerate launch"),
        pytest.param("rft.studies.demo", "python -m rft.studies.demo", marks=pytest.mark.slow),
    ],
)
def test_help_of_a_program_has_an_example(module, words):
    done = call("-m", module, "--help")
    assert done.returncode == 0 and words in done.stdout


def test_scripts_and_modules_are_the_same_command():
    for way in (("rft/train_stage.py",), ("-m", "rft.train_stage")):
        done = call(*way, "--config", "tiny", "--seed", "4", "--stages.0.optimiser.lr", "1", "--print_config")
        printed = yaml.safe_load(done.stdout)
        assert printed["seed"] == 4 and printed["stages"][0]["optimiser"]["lr"] == 1.0


def test_what_is_printed_is_a_configuration_again(tmp_path):
    asked = ("-m", "bench", "run", "--suite", "scenes", "--decode.n", "3", "--decode.temperature", "0.5")
    done = call(*asked, "--print_config")
    (tmp_path / "mine.yaml").write_text(done.stdout)
    again = call("-m", "bench", "run", "--suite", tmp_path / "mine.yaml", "--print_config")
    assert again.stdout == done.stdout and yaml.safe_load(again.stdout)["decode"]["n"] == 3


def test_shells_get_their_completion():
    done = call("-m", "bench", "--print_completion", "shtab-bash")
    assert done.returncode == 0 and "compare" in done.stdout and "--decode.n" in done.stdout


def test_bad_input_names_the_culprit(tmp_path, checkpoint, scenes, capfd):
    def call(_, package, *arguments):
        """As another process, without the seconds that it takes to start."""
        status = cli.guard(import_module(f"{package}.__main__").main, [*map(str, arguments)])
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    (tmp_path / "rows.csv").write_text("Video Name,Question\na,b\n")
    refused(
        call("-m", "tvad", "data", "vau-bench", tmp_path / "rows.csv", "--out", tmp_path / "o"),
        "rows.csv",
        "'Option 1'",
    )
    (tmp_path / "clip.mp4").write_text("text")
    refused(call("-m", "tvad", "infer", "--model", checkpoint, "--video", tmp_path / "clip.mp4"), "clip.mp4")
    bench = ("-m", "bench", "run", "--suite", "configs/bench/scenes.yaml", "--out", tmp_path / "r")
    refused(call(*bench, "--model", "magic:x", "--data", scenes), "magic:x")
    refused(call(*bench, "--model", "hf:x", "--taks", "[mcq]"), "--taks", "'--tasks'")
    refused(call("-m", "tvad", "data", "scenes", "--out", tmp_path / "s", "--split", "odd"), "'odd'")


GRPO = ("rft/train_grpo.py", "--config", "configs/grpo/demo.yaml")


@pytest.mark.slow
def test_bad_training_runs_name_the_culprit(tmp_path, checkpoint, scenes):
    base = (*GRPO, "--model", checkpoint, "--data", scenes, "--out", tmp_path / "g")
    refused(call(*base, "--rewards.luck", "1"), "'luck'")
    refused(call(*base, "--enigne", "vllm"), "--enigne", "'--engine'")
    refused(call(*base, "--training.learning_rat", "1"), "learning_rat", "'learning_rate'")
    refused(call(*base, "--training.num_generations", "7"), "num_generations")
    refused(call(*base, "--model", tmp_path), str(tmp_path))
    broken = tmp_path / "broken"
    broken.mkdir()
    rows = [json.loads(line) for line in (scenes / "samples.jsonl").read_text().splitlines()]
    guilty = next(r for r in rows if r["label"] == "anomalous")
    guilty["spans"] = [[1.0, 77.0]]
    (broken / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    refused(
        call(*GRPO, "--model", checkpoint, "--data", broken, "--out", tmp_path / "g"), guilty["id"], "77.0"
    )
    assert not (tmp_path / "g" / "model").exists()


def test_without_vllm_the_fallback_says_so_once(monkeypatch, capsys):
    import importlib.util

    from rft.grpo.engines import open_engine

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "vllm" else real(name, *a)
    )
    assert open_engine("auto", "", torch.nn.Identity(), None, 8, 1024, 0).name == "hf"
    assert capsys.readouterr().err.count("WARNING: vLLM is not installed") == 1


def test_the_demo_runs_from_end_to_end(tmp_path, capsys):
    """What `make demo` runs, on fewer clips and for two steps; the engine is its default."""
    if not SHIPPED.exists():
        pytest.skip("no shipped checkpoint")
    knobs = [
        "--train-clips",
        "16",
        "--test-clips",
        "10",
        "--training.max_steps",
        "2",
        "--training.save_steps",
        "1",
        "--engine",
        "transformers",
        "--training.per_device_train_batch_size",
        "8",
        "--training.num_generations",
        "4",
    ]
    assert demo(["--out", str(tmp_path), *knobs]) == 0
    out = capsys.readouterr().out
    assert "mean reward" in out and "greedy answers" in out and "sampled answers" in out
    page = (tmp_path / "report.html").read_text()
    assert "Mean reward of the training batches" in page and "data:image/jpeg" in page
    assert (tmp_path / "grpo" / "rollouts.jsonl").read_text().count("\n") >= 2


def test_make_knows_its_targets():
    for target in ("setup", "demo", "tiny", "test", "test-all", "lint"):
        assert (
            subprocess.run(
                ["make", "-n", target], cwd=ROOT, capture_output=True, env={**os.environ}
            ).returncode
            == 0
        ), target


def test_ci_runs_the_tests():
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_a_full_disk_is_one_line_and_other_errors_of_files_are_not_hidden(capsys):
    from errno import EISDIR, ENOSPC

    def fails(number):
        raise OSError(number, os.strerror(number), "replies/0.jsonl")

    assert cli.guard(fails, ENOSPC) == 2
    assert capsys.readouterr().err == "error: replies/0.jsonl: No space left on device\n"
    with pytest.raises(IsADirectoryError):
        cli.guard(fails, EISDIR)
