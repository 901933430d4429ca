"""What strangers' runs did without saying so: trainings that went on with other settings, seeds that came too
late, control tokens in prompts, answers that depended on their neighbours, judges' replies. Each folder
of tests/cases/runs names the reports that it was rebuilt from."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import SHIPPED
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from bench.__main__ import main as bench
from rft.train_grpo import main as train_grpo
from tvad.common import cli
from tvad.data.scenes.dataset import ScenesConfig, generate

CASES = Path(__file__).parent / "runs"
SHORT = ("--training.max_completion_length", "8")


def grpo(case: str, out: Path, data: Path, *options: str) -> int:
    """The exit status of a case's run."""
    given = ["--config", str(CASES / case / "grpo.yaml"), "--model", str(SHIPPED), "--data", str(data)]
    return cli.guard(train_grpo, [*given, "--out", str(out), *SHORT, *options])


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


def log_of(run: Path) -> list[dict]:
    """The lines of a run's log, without what time it took."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "step_time"} for row in rows if "reward" in row]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Eight clips, as every training case has them."""
    folder = tmp_path_factory.mktemp("clips")
    generate(ScenesConfig(split="train", clips=8, setting="core"), folder)
    return folder


@pytest.fixture(scope="module")
def adapted(clips, tmp_path_factory) -> dict[str, Path]:
    """Three runs of one configuration with LoRA: two with the same seed, one with another."""
    folder = tmp_path_factory.mktemp("adapted")
    for name, seed in (("one", "0"), ("again", "0"), ("other", "1")):
        assert grpo("lora-seed", folder / name, clips, "--seed", seed) == 0
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def done(clips, tmp_path_factory) -> Path:
    """Three steps with a checkpoint each, the last two of which are kept."""
    out = tmp_path_factory.mktemp("done") / "run"
    assert grpo("resume-changed-settings", out, clips) == 0
    return out


def test_the_same_seed_trains_the_same_adapter_and_another_another(adapted):
    one, again, other = (
        load_file(adapted[name] / "adapter" / "adapter_model.safetensors")
        for name in ("one", "again", "other")
    )
    assert one.keys() == again.keys() and all(torch.equal(one[name], again[name]) for name in one)
    assert log_of(adapted["one"]) == log_of(adapted["again"]) != log_of(adapted["other"])
    drawn = [name for name in one if "lora_A" in name]
    assert drawn and not any(torch.equal(one[name], other[name]) for name in drawn)


def test_an_adapter_on_its_start_is_the_trained_policy(clips, tmp_path):
    # Longer completions than elsewhere: eight tokens all earn the same, and nothing moves.
    assert grpo("adapter-without-rae", tmp_path, clips, "--training.max_completion_length", "40") == 0
    start = AutoModelForImageTextToText.from_pretrained(SHIPPED, dtype="float32")
    before = {name: value.clone() for name, value in start.state_dict().items()}
    ours = PeftModel.from_pretrained(start, tmp_path / "adapter").merge_and_unload().state_dict()
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype="float32").state_dict()
    assert not [name for name in model if not torch.allclose(ours[name], model[name], atol=1e-6)]
    assert any(name.startswith("model.rae.") and not torch.equal(before[name], model[name]) for name in model)
    assert "model.rae" in (tmp_path / "adapter" / "README.md").read_text()


def test_fewer_prompts_than_a_step_takes_are_one_line_before_a_model_is_loaded(
    clips, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("tvad.model.start.AutoModelForImageTextToText.from_pretrained", None)
    assert grpo("fewer-prompts-than-a-step", tmp_path / "run", clips) == 2
    (line,) = errors(capsys.readouterr().err)
    assert "data: 8 prompts, a step takes 16 (per_device_train_batch_size 64" in line
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_settings_is_refused_by_their_names(done, clips, tmp_path, capsys):
    run = shutil.copytree(done, tmp_path / "run")
    shutil.rmtree(run / "checkpoint-3")
    before = {name: (run / name).read_bytes() for name in ("grpo.json", "log.jsonl", "model/README.md")}
    new = (
        "--training.learning_rate",
        "1e-6",
        "--rewards",
        "{format: 1.0}",
        "--training.num_generations",
        "8",
    )
    assert grpo("resume-changed-settings", run, clips, *new) == 2
    (line,) = errors(capsys.readouterr().err)
    for words in ("learning_rate 0.00012 -> 1e-06", "rewards.answer", "num_generations 4 -> 8", "--out"):
        assert words in line
    assert "--resume-with new" in line
    assert before == {name: (run / name).read_bytes() for name in before}

    assert grpo("resume-changed-settings", run, clips, *new, "--resume-with", "new") == 0
    rows = log_of(run)
    assert [row["step"] for row in rows] == [1, 2, 3] and rows[:2] == log_of(done)[:2]
    assert rows[2]["learning_rate"] == pytest.approx(1e-6 / 3)  # a line from 1e-6 to 0 over three steps
    assert "rewards/answer/mean" not in rows[2] and "rewards/answer/mean" in rows[1]
    record = json.loads((run / "grpo.json").read_text())
    (changed,) = record["changes"]
    assert changed["step"] == 2 and changed["settings"]["training.learning_rate"] == [1.2e-4, 1e-6]
    card = (run / "model" / "README.md").read_text()
    assert "from step 3 on: " in card and "training.learning_rate 0.00012 -> 1e-06" in card
    assert "from step 3 on: " in (run / "run.html").read_text()


def test_a_checkpoint_without_its_optimiser_is_no_place_to_go_on_from(done, clips, tmp_path, capsys):
    run = shutil.copytree(done, tmp_path / "run")
    (run / "checkpoint-3" / "optimizer.pt").unlink()
    assert grpo("resume-changed-settings", run, clips) == 0
    said = capsys.readouterr().err
    assert "checkpoint-3 has no optimizer.pt: going on from checkpoint-2" in said
    assert log_of(run) == log_of(done)

    for n in (2, 3):
        (run / f"checkpoint-{n}" / "optimizer.pt").unlink()
    assert grpo("resume-changed-settings", run, clips) == 2
    (line,) = errors(capsys.readouterr().err)
    assert "no optimizer.pt, so that training cannot go on" in line
    assert (run / "checkpoint-3").is_dir()


def test_a_run_that_keeps_weights_alone_says_that_it_cannot_be_resumed(clips, tmp_path, capsys, monkeypatch):
    def refuse(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tvad.model.start.AutoModelForImageTextToText.from_pretrained", refuse)
    assert grpo("resume-without-optimizer", tmp_path / "run", clips) == 130
    assert "checkpoints hold weights alone: this run cannot be resumed" in capsys.readouterr().err


def test_control_tokens_in_a_question_are_plain_characters(tmp_path, capsys):
    data = CASES / "placeholder-in-question"
    assert grpo("placeholder-in-question", tmp_path, data) == 0
    from tvad.control import chat
    from tvad.data import load
    from tvad.prompts import asked

    shown = [json.loads(line)["question"] for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert {"video_pad" in text for text in shown} == {True, False}  # both questions were asked
    processor = AutoProcessor.from_pretrained(SHIPPED)
    controls = set(processor.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "<|video_pad|>"]))
    clean, *texts = (
        chat(processor, asked(question))
        for sample in load(data)
        for question in (sample.questions[0].__class__("judgement", "Is it?", "Yes"), sample.questions[0])
    )
    counts = [
        [t for t in processor.tokenizer(text)["input_ids"] if t in controls] for text in (clean, *texts)
    ]
    assert all(found == counts[0] for found in counts)


@pytest.fixture
def judge():
    """A judge that answers everything with its `reply`."""

    class Judge(BaseHTTPRequestHandler):
        reply, seen = "", []

        def do_POST(self):
            self.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            data = json.dumps({"choices": [{"message": {"content": Judge.reply}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Judge.spec = f"openai:j@http://127.0.0.1:{server.server_port}/v1"
    yield Judge
    server.shutdown()


def scored(case: str, out: Path, monkeypatch) -> None:
    monkeypatch.chdir(CASES / case)
    assert cli.guard(bench, ["score", "answers.jsonl", "--suite", "suite.yaml", "--out", str(out)]) == 0


def test_half_an_emoji_is_judged_like_any_other_text(tmp_path, monkeypatch, judge):
    judge.reply = json.loads((CASES / "judge-replies" / "replies.jsonl").read_text().splitlines()[-1])[
        "reply"
    ]
    scored("half-an-emoji", tmp_path / "out", monkeypatch)
    for command in (["report"], ["compare", str(tmp_path / "out")], ["judge", "--judge", judge.spec]):
        assert cli.guard(bench, [command[0], str(tmp_path / "out"), *command[1:]]) == 0
    assert "A man falls \ufffd" in judge.seen[0]["messages"][0]["content"]


REPLIES = [json.loads(line) for line in (CASES / "judge-replies" / "replies.jsonl").read_text().splitlines()]


def test_every_reply_that_holds_a_rating_is_read(tmp_path, monkeypatch, judge, capsys):
    scored("judge-replies", tmp_path / "out", monkeypatch)
    for row in REPLIES:
        shutil.rmtree(tmp_path / "out" / "judge", ignore_errors=True)
        judge.reply = row["reply"]
        assert cli.guard(bench, ["judge", str(tmp_path / "out"), "--judge", judge.spec]) == 0
        (found,) = json.loads((tmp_path / "out" / "judge.json").read_text())["judges"]
        means = [value["value"] for value in found["metrics"].values()]
        assert (found["rated"], means) == (1, [7, 6, 8, 5, 9]), row["name"]


def test_an_unusable_reply_is_counted_and_asked_again(tmp_path, monkeypatch, judge, capsys):
    scored("judge-replies", tmp_path / "out", monkeypatch)
    command = ["judge", str(tmp_path / "out"), "--judge", judge.spec]
    asked = len(judge.seen)
    judge.reply = "I would rather not."
    assert cli.guard(bench, command) == 0 and len(judge.seen) == asked + 1
    assert "0 rated, 1 replies unusable" in (text := capsys.readouterr().out) and "refused" in text
    judge.reply = REPLIES[-1]["reply"]
    assert cli.guard(bench, command) == 0 and len(judge.seen) == asked + 2
    assert "1 rated, 0 replies unusable" in capsys.readouterr().out
    assert cli.guard(bench, command) == 0 and len(judge.seen) == asked + 2  # what is rated is kept


def drawn(case: Path, data: Path, out: Path, *options: str) -> dict[str, str]:
    """Responses by item of a run of the shipped checkpoint."""
    given = ["run", "--model", f"hf:{SHIPPED}", "--suite", str(case), "--data", str(data), "--out", str(out)]
    assert cli.guard(bench, [*given, *options]) == 0
    return {row["id"]: row["response"] for row in map(json.loads, (out / "samples.jsonl").open())}


def test_what_a_question_draws_does_not_depend_on_the_questions_beside_it(tmp_path, capsys):
    data, suites = tmp_path / "data", CASES / "sampled-in-company"
    generate(ScenesConfig(split="test", clips=6), data)
    every = drawn(suites / "all.yaml", data, tmp_path / "all")
    alone = drawn(suites / "mcq.yaml", data, tmp_path / "mcq")
    assert len(alone) > 6 and alone == {name: every[name] for name in alone}
    few = drawn(suites / "mcq.yaml", data, tmp_path / "few", "--max_videos", "2")
    assert few == {name: every[name] for name in few}
    assert drawn(suites / "mcq.yaml", data, tmp_path / "seed", "--decode.seed", "1") != alone
    capsys.readouterr()
    assert cli.guard(bench, ["compare", str(tmp_path / "all"), str(tmp_path / "mcq")]) == 0
    told = (
        f"over the {len(alone)} questions of both; {len(every) - len(alone)} are in {tmp_path / 'all'} alone"
    )
    assert told in capsys.readouterr().out
