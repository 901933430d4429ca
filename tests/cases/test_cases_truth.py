"""Truth that is missing is missing: public reports of figures that came of nothing (`tests/cases/truth`),
each by the commands that its reporter would type."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main as bench
from tvad.__main__ import main as tvad
from tvad.common.cli import guard
from tvad.data import load, masks, video

CASES = Path(__file__).parent / "truth"
LIT = range(16, 32)  # frames of snippet-scores/v0 that are anomalous


def write_clip(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.full((frames, 32, 32, 3), 90, np.uint8)
    images[:, 4:10, 4:10] = np.linspace(0, 255, frames).astype(np.uint8)[:, None, None, None]
    video.write(path, images, 10.0)


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A function: a copy of a case's folder, in which the commands then run, with clips of so many frames."""

    def opened(name: str, **clips: int) -> Path:
        folder = tmp_path / name
        shutil.copytree(CASES / name, folder)
        monkeypatch.chdir(folder)
        for clip, frames in clips.items():
            write_clip(folder / f"data/videos/{clip}.mp4", frames)
        return folder

    return opened


def score(answers: str, out: str = "out") -> tuple[int, dict]:
    """Exit status and metrics of `bench score` with the case's suite."""
    shutil.rmtree(out, ignore_errors=True)
    status = guard(bench, ["score", answers, "--suite", "suite.yaml", "--out", out])
    file = Path(out, "metrics.json")
    return status, json.loads(file.read_text()) if file.exists() else {}


def test_spans_alone_give_frame_auc(case, capsys):
    """spans-only-frame-auc: spans say which frames are anomalous; pixels and regions they do not give."""
    case("spans-only-frame-auc", v0=40, v1=40, v2=60, v3=30)
    for answers, micro, macro in (("perfect.jsonl", 1.0, 1.0), ("inverted.jsonl", 0.0, 0.548)):
        status, found = score(answers)
        assert status == 0 and found["heatmap.micro_auc"]["value"] == micro
        assert found["heatmap.macro_auc"]["value"] == pytest.approx(macro, abs=5e-4)
        assert found["heatmap.ano_auc"]["value"] == micro and found["heatmap.ano_auc"]["n"] == 2
        assert found["heatmap.micro_ap"]["value"] == (1.0 if micro else pytest.approx(0.176, abs=5e-4))
    # The same without what v2's spans say: it is left out by name, and never normal.
    rows = [json.loads(line) for line in Path("data/samples.jsonl").read_text().splitlines()]
    del rows[2]["spans"]
    Path("data/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, found = score("perfect.jsonl")
    assert status == 0 and found["heatmap.micro_auc"]["value"] == 1.0 and found["heatmap.micro_auc"]["n"] == 3
    assert "1 of 4 videos left out, no mask, no spans, not labelled normal: v2" in capsys.readouterr().out


def test_snippets_are_placed_by_their_stride_and_other_lengths_are_refused(case, capsys):
    """snippet-scores. The clips' end fills no snippet: frames 32 to 39 have no score, take no part, and are
    counted as missing, which gives the 1.0 that the report asks for (held to the end, the second score would
    make 0.9375)."""
    folder = case("snippet-scores", v0=40, v1=40)
    (folder / "data/masks").mkdir()
    lit = np.zeros((40, 32, 32), bool)
    lit[LIT, 4:10, 4:10] = True
    masks.write(folder / "data/masks/v0.npz", lit)
    for answers, numbers in (("snippets.jsonl", "2 frame_scores"), ("one_short.jsonl", "39 frame_scores")):
        status, found = score(answers)
        assert status == 2 and not found and f"{numbers}, the video has 40 frames" in capsys.readouterr().err
    rows = [json.loads(line) | {"stride": 16} for line in Path("snippets.jsonl").read_text().splitlines()]
    Path("placed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, found = score("placed.jsonl")
    assert status == 0 and found["heatmap.micro_auc"]["value"] == 1.0
    assert found["heatmap.missing"]["value"] == pytest.approx(8 / 40)


def test_the_reference_names_its_own_key_object(case):
    status, found = (case("key-object"), score("answers.jsonl"))[1]
    assert status == 0 and found["rationale.names_object"]["value"] == 1.0
    assert found["rationale.bleu4"]["value"] == 1.0 and found["rationale.rouge_l"]["value"] == 1.0


def test_nan_is_an_unknown_time_and_infinity_none(case, capsys):
    case("nan-times")
    status = guard(tvad, ["data", "vau-bench", "labels.csv", "--out", "data"])
    said = capsys.readouterr()
    assert status == 1 and "row 3: End Time is 'inf'" in said.err and "2 of 3 rows" in said.out

    def strict(name):
        raise AssertionError(f"{name} is no JSON")

    for line in Path("data/samples.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=strict)
    unknown, known = load("data")
    assert unknown.spans is None and unknown.label == "anomalous" and known.spans == ((3.0, 7.0),)
    assert not any(question.kind == "temporal" for question in unknown.questions)
    status, found = score("answers.jsonl")
    assert status == 0 and found["mcq.missing"]["value"] == 0.5


def test_a_span_beyond_the_video_is_refused_and_a_rounded_one_cut(case, capsys):
    """span-beyond-video. Without the files nobody has looked, and the audit says so in place of 0."""
    folder = case("span-beyond-video")
    write_clip(folder / "videos/clip_1.mp4", 70)
    read = ["data", "vau-bench", "labels.csv", "--out"]
    assert guard(tvad, [*read, "data", "--videos", "videos"]) == 2
    assert "refused clip_1: span [3.0, 70.0] ends after the video's 7.00 s" in capsys.readouterr().err
    assert guard(tvad, [*read, "unopened"]) == 0
    guard(bench, ["audit", "--data", "unopened"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "spans outside the video" in line)
    assert "not looked at in 1, their length is not stated" in line
    Path("labels.csv").write_text(Path("labels.csv").read_text().replace(",3,70", ",3,7.5"))
    assert guard(tvad, [*read, "data", "--videos", "videos"]) == 0
    assert "cut clip_1: end 7.5 s to 7 s" in capsys.readouterr().err
    (sample,) = load("data")
    assert sample.spans == ((3.0, 7.0),) and sample.video.frames == 70
    assert {q.spans for q in sample.questions if q.kind == "temporal"} == {((3.0, 7.0),)}
    status, found = score("answers.jsonl")
    assert status == 0 and found["temporal.miou"]["value"] == 1.0


def test_equal_options_are_named_by_check_and_audit(case, capsys):
    case("same-option-twice")
    assert guard(tvad, ["data", "check", "data", "--no-files"]) == 1
    said = capsys.readouterr().out
    assert "v0: question 0: options A and B are the same" in said and "no bad rows" not in said
    assert "no video and no mask was opened" in said
    assert guard(bench, ["audit", "--data", "data"]) == 1
    said = capsys.readouterr().out
    assert "! options that are the same, or letters of others      2" in said and "v1: question 0" in said


def test_ten_options_are_ten_letters(case, capsys):
    folder = case("ten-options", v0=8, v1=8, v2=8)
    assert guard(tvad, ["data", "check", "data"]) == 0
    shutil.copy(folder / "circular.yaml", folder / "suite.yaml")
    run = ["run", "--model", "baseline:oracle", "--suite", "suite.yaml", "--out"]
    assert guard(bench, [*run, "out"]) == 0
    found = json.loads(Path("out/metrics.json").read_text())
    assert found["mcq_circular.circular_accuracy"]["value"] == 1.0
    assert found["mcq_circular.accuracy"]["n"] == 30
    # An option that speaks of others cannot be rotated, and is said to be so; an eleventh is refused by name.
    rows = [json.loads(line) for line in Path("data/samples.jsonl").read_text().splitlines()]
    rows[0]["questions"][0]["options"][9] = "None of the above"
    Path("data/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert guard(bench, [*run, "bound"]) == 0
    assert "1 questions left out, their options speak of others: v0#0" in capsys.readouterr().out
    rows[1]["questions"][0]["options"] += ["an eleventh"]
    Path("data/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert guard(tvad, ["data", "check", "data"]) == 1
    assert "v1: question 0: 11 options, at most 10" in capsys.readouterr().out
