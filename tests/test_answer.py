import json
import random
import time

import pytest
from conftest import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from tvad.answer import MAX_TEXT, NONE, TAGS, Answer, Box, parse, render

GOOD = "<think>A car.</think><answer>B</answer><glue>[1.00, 2.50]</glue>"


def test_strict_reads_a_well_formed_answer_without_defects():
    found = parse(GOOD, "strict")
    assert (found.think, found.answer, found.span, found.defects, found.tags) == (
        "A car.",
        "B",
        (1.0, 2.5),
        (),
        TAGS["temporal"],
    )


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("<answer>B</answer>", "missing_think"),
        ("<think>x</think>", "missing_answer"),
        ("<think>x</think><answer>A</answer><answer>B</answer>", "repeated_answer"),
        ("<think>x</think><answer>A</answer><glue>[3, 1]</glue>", "reversed_span"),
        ("<think>x</think><answer>A</answer><glue>[2, 2]</glue>", "empty_span"),
        ("<think>x</think><answer>A</answer><glue>[nan, 2]</glue>", "non_finite_span"),
        ("<think>x</think><answer>A</answer><glue>[10%, 50%]</glue>", "percent_span"),
        ("<think>x</think><answer>A</answer><box>[5, 5, 2, 9]</box>", "reversed_box"),
        ("<think>x</think><answer>A</answer><box>[5, 5, 2000, 9]</box>", "box_outside_frame"),
        ("<think>x</think><answer>A</answer><box>[1, 2, 3]</box>", "malformed_box"),
        ("<think></think><answer>A</answer>", "empty_think"),
        ("<think>x</think><answer>A</answer> so", "text_outside_tags"),
        ("<think>x<think>y</think></think><answer>A</answer>", "nested_think"),
        ("<think>x", "unclosed_think"),
    ],
)
def test_each_defect_has_a_name(text, defect):
    assert defect in parse(text, "strict").defects


@pytest.mark.parametrize(
    ("content", "span"),
    [
        ("[1:05, 1:10.5]", (65.0, 70.5)),
        ("[0:01:05, 70]", (65.0, 70.0)),
        ("３.５ to ４", (3.5, 4.0)),
        ("5.2s - 9s", (5.2, 9.0)),
        ("none", NONE),
        ("[0, 0]", NONE),
        ("[-1.0, -1.0]", NONE),
        ("No anomaly", NONE),
    ],
)
def test_spans_are_read_in_their_usual_spellings(content, span):
    assert parse(f"<glue>{content}</glue>").span == span


def test_lenient_reads_an_untagged_answer_but_nothing_out_of_the_rationale():
    assert parse("<think>Maybe A, from 1 to 2</think> The answer is B, from 3.0 to 4.5").span == (3.0, 4.5)
    assert parse("<think>[1, 2] the answer is C</think>").answer is None
    assert parse("<think>unclosed <answer>C</answer>").answer == "C"


def test_several_different_answers_read_as_none():
    assert parse("<answer>A</answer><answer>B</answer>").answer is None
    assert parse("<answer>A</answer><answer>A</answer>").answer is None  # given twice: unread, as in rewards


def test_boxes_at_several_moments():
    boxes = parse('<box>[{"t": 1.5, "box": [0, 0, 10, 10]}, {"t": 2, "box": [5, 5, 9, 9]}]</box>').boxes
    assert boxes == (Box((0, 0, 10, 10), 1.5), Box((5, 5, 9, 9), 2.0))


def test_render_refuses_what_the_task_lacks():
    with pytest.raises(ValueError, match="span is missing"):
        render(Answer("x", "Anomaly"), "temporal")
    with pytest.raises(ValueError, match="unknown task"):
        render(Answer("x", "A"), "poem")


words = st.text(
    alphabet=st.characters(blacklist_characters="<>", blacklist_categories=("Cs",)), min_size=1
).filter(lambda s: s.strip())
times = st.floats(0, 1e4).map(lambda x: round(x, 2))


@given(words, words, st.tuples(times, times).filter(lambda s: s[0] < s[1]) | st.just(NONE))
def test_what_is_rendered_is_parsed_back(think, answer, span):
    found = parse(render(Answer(think, answer, span if span == NONE else (span,)), "temporal"), "strict")
    assert (found.think, found.answer, found.defects) == (think, answer.strip(), ())
    assert found.span == span


pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<glue>",
        "</glue>",
        "<box>",
        "</box>",
        "[",
        "]",
        ",",
        "1",
        "nan",
        "inf",
        "9" * 400,
        "\ud800",
        "１",
        ":",
        "%",
        "A",
        " ",
    ]
)


@given(
    st.lists(pieces, max_size=60).map("".join) | st.text(), st.sampled_from(["strict", "lenient", "vau_r1"])
)
@settings(max_examples=400)
def test_parse_never_raises(text, mode):
    found = parse(text, mode)
    assert isinstance(found, Answer)
    assert isinstance(found.span, tuple) or found.span in (None, NONE)


@pytest.mark.parametrize("mode", ["strict", "lenient", "vau_r1"])
def test_a_mebibyte_of_anything_is_parsed_without_hanging(mode):
    rng = random.Random(0)
    parts = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<glue>",
        "<box>",
        "[",
        "]",
        "1:",
        "1.",
        "9",
        "-",
        ",",
        " ",
        "from 1 to ",
        "\n",
        "nan",
    ]
    corpus = [part * (MAX_TEXT // len(part)) for part in parts]
    corpus += ["".join(rng.choices(parts, k=MAX_TEXT // 4))[:MAX_TEXT] for _ in range(3)]
    corpus += [
        "<think>" * 70_000 + "</think>" * 70_000,
        "<glue>[" + "1" * MAX_TEXT,
        "<box>" + "[" * 500_000 + "</box>",
    ]
    for text in corpus:
        started = time.monotonic()
        parse(text, mode)
        # A guard against blow-up, not a benchmark: quadratic code would need hours.
        assert time.monotonic() - started < 20


def test_longer_texts_are_cut_and_say_so():
    assert "too_long" in parse("x" * (MAX_TEXT + 1)).defects


def test_anything_but_text_is_a_defect():
    assert parse(None).defects == ("not_text",)


def test_vau_r1_mode_reads_spans_as_the_published_evaluation_does():
    items = json.loads(golden("vau_r1/open/temporal.json").read_text())["items"]
    for item in items:
        found, expected = parse(item["response"], "vau_r1").span, item["expected"]["parsed"]
        if "error" in expected:
            assert found is None, item["id"]
        else:
            assert found == pytest.approx((expected["start"], expected["end"]), abs=1e-9), item["id"]


def test_vau_r1_mode_by_hand():
    assert parse("<glue>[5.2, 9]</glue>", "vau_r1").span == (5.2, 9.0)
    assert parse("no brackets", "vau_r1").span == (0.0, 0.0)
    assert parse("<glue>[5.2 sec., 9 sec.]</glue>", "vau_r1").span is None
    assert parse("reason [1:05, 1:10]", "vau_r1").span == (65.0, 70.0)
