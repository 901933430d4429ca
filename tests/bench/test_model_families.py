"""Which family a model is of decides in which unit it is asked for boxes and read, and which marks are its
reasoning; what nobody knows is read as the protocol has it, and said."""

import json
from dataclasses import replace

import pytest
from conftest import SHIPPED
from stock_checkpoint import TINY, build_stock
from test_openai import Endpoint

from bench import suite as suites
from bench.__main__ import main
from bench.models.base import Completion
from bench.models.by_family import read_as, record
from bench.models.families import FAMILIES, known
from bench.models.hf import HfModel
from bench.models.openai import OpenAiModel
from bench.run import run
from tvad.answer.boxes import SCALES
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.prompts import PLACES


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return build_stock(tmp_path_factory.mktemp("stock"), TINY)


@pytest.fixture
def plan(scenes):
    return suites.read("scenes", ["--data", str(scenes), "--max_videos", "2", "--tasks", "[spatial]"])


def lines(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def told(folder):
    return json.loads((folder / "run.json").read_text())["family"]


class Saying(HfModel):
    """A model that looks, and then says what is given."""

    def sample(self, requests, sampling):
        self.asked = [self.rendered(request) for request in requests]
        return [[Completion(self.words(request))] for request in requests]


def saying(stock, words, **options):
    model = Saying.open(str(stock), **options)
    model.words = words
    return model


def written(request, unit, size):
    """The reference's box as a family writes it."""
    boxes = [tuple(b / 1000 for b in box.xyxy) for box in request.item.question.boxes]
    wide, high = size if unit == "pixels" else (SCALES[unit], SCALES[unit])
    rows = [[x1 * wide, y1 * high, x2 * wide, y2 * high] for x1, y1, x2, y2 in boxes]
    return "".join(f"<answer>here</answer><box>{row}</box>" for row in rows[:1])


def test_a_stock_qwen25_is_asked_for_pixels_and_read_by_the_size_that_it_sees(stock, plan, tmp_path):
    def words(request):
        grid = model._inputs([request])["video_grid_thw"][0].tolist()
        return written(request, "pixels", (grid[2] * 14, grid[1] * 14))

    model = saying(stock, words)
    found = run(model, "hf:stock", plan, tmp_path / "run")
    assert found["spatial.miou"].value > 0.99 and found["spatial.parse_failure"].value == 0
    assert all(PLACES["pixels"] in text and "0 to 1000" not in text for text in model.asked)
    by = lines(tmp_path / "run")[0]["read_by"]
    assert by["family"] == "qwen2_5_vl" and by["boxes"] == "pixels" and min(by["picture"]) >= 56
    assert {"name": "qwen2_5_vl", "by": "config.json", "boxes": "pixels"}.items() <= told(
        tmp_path / "run"
    ).items()


def test_a_model_that_learned_the_protocol_is_read_by_it(stock, plan, tmp_path):
    def words(request):
        return written(request, "permille", None)

    model = saying(stock, words, family="tvad")
    assert run(model, "hf:stock", plan, tmp_path / "run")["spatial.miou"].value > 0.99
    assert PLACES["permille"] in model.asked[0]
    assert told(tmp_path / "run")["by"] == "--model.family"
    assert lines(tmp_path / "run")[0]["read_by"] == {"family": "tvad", "boxes": "permille"}
    with pytest.raises(InputError, match=r"unknown family 'gpt'; known: tvad"):
        saying(stock, words, family="gpt")


@pytest.mark.parametrize("unit", ["unit", "permille"])
def test_what_the_suite_states_wins_also_where_it_is_the_protocols(stock, plan, tmp_path, unit):
    stated = replace(plan, reading=replace(plan.reading, boxes=unit))
    model = saying(stock, lambda request: written(request, unit, None))
    assert run(model, "hf:stock", stated, tmp_path / "run")["spatial.miou"].value > 0.99
    assert told(tmp_path / "run")["source"] == "the suite's reading.boxes"
    assert PLACES[unit] in model.asked[0]


def test_a_suite_that_states_the_protocols_unit_is_the_same_data_but_another_question(stock, plan, tmp_path):
    """As runs were named before it could be left open; answers in pixels are not mixed with others."""
    stated = replace(plan, reading=replace(plan.reading, boxes="permille"))
    assert stated.digest([]) == plan.digest([])
    run(saying(stock, lambda request: "<answer>x</answer>"), "hf:stock", plan, tmp_path / "run")
    with pytest.raises(
        InputError, match=r"run\.json: its answers were asked for boxes in pixels, not permille"
    ):
        run(saying(stock, lambda request: ""), "hf:stock", stated, tmp_path / "run")


def test_a_run_from_before_the_unit_could_be_left_open_is_asked_again_as_it_was(stock, plan, tmp_path):
    """`bench retry` takes the suite from the record, where permille then stood for nothing."""
    run(saying(stock, lambda request: "<answer>x</answer>"), "hf:stock", plan, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert suites.suite_of("run", record).reading.boxes is None
    record["suite"]["reading"]["boxes"] = "permille"
    assert suites.suite_of("run", record).reading.boxes is None
    record["family"] |= {"boxes": "permille", "source": suites.STATED}
    assert suites.suite_of("run", record).reading.boxes == "permille"
    del record["family"]  # from before families: every family was asked in it
    assert suites.suite_of("run", record).reading.boxes == "permille"


def test_ours_is_of_its_own_family():
    assert HfModel.open(str(SHIPPED)).known.name == "tvad"


def test_a_family_that_nobody_knows_is_read_as_the_protocol_has_it_and_said(plan, endpoint, tmp_path):
    run(OpenAiModel(f"m@{endpoint.url}"), "openai:m", plan, tmp_path / "run")
    found = told(tmp_path / "run")
    assert found["name"] is None and "--model.family would" in found["by"] and found["boxes"] == "permille"
    assert lines(tmp_path / "run")[0]["read_by"] == {"family": None, "boxes": "permille"}

    class Foreign:
        model_type = "never_heard_of"

    assert known(None, Foreign()).by == "model_type 'never_heard_of' is not known"
    assert record(plan, known(None, Foreign()))["boxes"] == "permille"


def test_pixels_of_a_picture_that_an_endpoint_resizes_are_refused(scenes, endpoint, tmp_path, capsys):
    typed = ["run", "--model", f"openai:m@{endpoint.url}", "--suite", "scenes", "--data", str(scenes)]
    typed += ["--max_videos", "2", "--resamples", "5", "--model.family", "qwen2_5_vl"]
    assert cli.guard(main, [*typed, "--tasks", "[spatial]", "--out", str(tmp_path / "one")]) == 2
    assert "in pixels of the resized picture" in capsys.readouterr().err
    more = ["--reading.boxes", "pixels", "--reading.picture", "[448, 448]", "--tasks", "[spatial]"]
    assert cli.guard(main, [*typed, *more, "--out", str(tmp_path / "two")]) == 0
    assert cli.guard(main, [*typed, "--tasks", "[judgement]", "--out", str(tmp_path / "three")]) == 0


def test_a_familys_marks_of_reasoning_count_as_the_protocols(plan):
    plan = replace(plan, tasks=["judgement"])
    _, items = suites.load(plan)
    kimi = read_as(items, plan, known("kimi_vl"), lambda *size: None)
    assert kimi[0].reading.marks == (("◁think▷", "◁/think▷"),) and items[0].reading.marks == ()
    assert read_as(items, plan, known("tvad"), lambda *size: None) is items


def test_a_family_of_pictures_is_sent_pictures(endpoint):
    assert OpenAiModel(f"m@{endpoint.url}").video == "file"
    assert OpenAiModel(f"m@{endpoint.url}", family="llava").video == "frames"
    assert OpenAiModel(f"m@{endpoint.url}", family="llava", video="images").video == "images"


def test_every_unit_is_asked_for_in_words_and_every_family_says_its_source():
    assert {family.boxes for family in FAMILIES.values()} <= set(PLACES) == {*SCALES, "pixels"}
    assert all(family.source for family in FAMILIES.values())
