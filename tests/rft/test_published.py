"""VAU-R1's rewards against a direct transcription of what is known of the published code's handling of text
(../shared/golden/vau_r1: the patterns, whole, lazy and Unicode's; a Python literal), over texts drawn to
differ."""

import ast
import random
import re

import pytest

from rft.rewards import vau_r1

BLANKS = [
    "",
    " ",
    "\n",
    "\t",
    "\r",
    "\f",
    "\v",
    "\x1c",
    "\x85",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u200b",
    "\ufeff",
]
DIGITS = [
    "0",
    "00",
    "05",
    "05.5",
    "3",
    "12.5",
    "٣",
    "３",
    "1２",
    "९.5",
    "²",
    "-1",
    "-0",
    "-٣",
    "1_0",
    "1e1",
    ".5",
    "5.",
]
PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<glue>",
    "</glue>",
    "<think>t</think>",
    "[1, 3]",
    "x",
]
WORDS = [
    "A",
    "b",
    "Ａ",
    "Anomaly",
    "The answer is ",
    "Best answer:Best option:",
    "Normal",
    "ſhooting",
    "SHOOTING",
]


def interval(text):
    if text is None or not re.match(r"^\[\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\]$", text):
        return None
    try:
        start, end = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None
    return (start, end) if start <= end else None


def first(tag, text):
    found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return None if found is None else found.group(1)


def pays_format(text, task):
    tags = ["think", "answer", *(["glue"] if task == "temporal" else [])]
    pattern = r"\s*".join(f"<{tag}>.*?</{tag}>" for tag in tags)
    whole = re.fullmatch(pattern, text.strip(), re.DOTALL) is not None
    return float(whole and (task != "temporal" or interval(first("glue", text)) is not None))


def drawn(draw: random.Random) -> str:
    """A completion that is nearly right, in one of many ways."""

    def gap(often: float = 0.15) -> str:
        return draw.choice(BLANKS) if draw.random() < often else ""

    def number(plain: str) -> str:
        return plain if draw.random() < 0.7 else draw.choice(DIGITS)

    glue = f"{gap(0.05)}[{gap()}{number('2')}{gap()},{gap()}{number('7.5')}{gap()}]{gap()}"
    parts = [
        "<think>",
        "t",
        "</think>",
        gap(),
        "<answer>",
        gap(),
        draw.choice(WORDS),
        gap(),
        "</answer>",
        gap(),
    ]
    parts += ["<glue>", glue, "</glue>", gap()]
    for _ in range(draw.choice([0, 0, 0, 1, 2])):
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(PIECES))
    return gap() + "".join(parts)


def test_any_text_earns_what_the_published_code_pays():
    draw = random.Random(5)
    valid = whole = 0
    for _ in range(6000):
        text = drawn(draw)
        assert vau_r1("temporal")["format"]([text], solution=[None]) == [pays_format(text, "temporal")], text
        short = text.partition("<glue>")[0]
        assert vau_r1("qa")["format"]([short], solution=["A"]) == [pays_format(short, "qa")], short
        span = interval(first("glue", text))
        solution = {"answer": "Anomaly", "glue": [-1.0, -1.0] if span is None else [float(v) for v in span]}
        paid = vau_r1("temporal")["iou"]([text], solution=[solution])
        assert paid == [float(span is not None)], text
        answer = first("answer", text)
        same = float(answer is not None and answer.strip().lower() == "shooting")
        assert vau_r1("classification")["answer"]([text], solution=["Shooting"]) == [same], text
        valid, whole = valid + (span is not None), whole + (pays_format(text, "temporal") == 1.0)
    assert valid > 300 and whole > 100, "both sides are drawn"


@pytest.mark.parametrize(
    ("glue", "valid"),
    [
        ("[1, 3]", True),
        ("[1,\f3]", True),
        ("[00, 3]", True),
        ("[05, 9]", False),
        ("[1,\u00a03]", False),
        ("[\u30001, 3]", False),
        ("[1,\v3]", False),
        ("[١, ٣]", False),
        ("[１, ３]", False),
        ("[1, 3]\n", True),
        ("[1, 3]\u00a0", False),
    ],
)
def test_numbers_and_blanks_outside_ascii_are_no_interval(glue, valid):
    """The pattern takes them, the Python literal does not."""
    text = f"<think>t</think><answer>Anomaly</answer><glue>{glue}</glue>"
    solution = [{"answer": "Anomaly", "glue": [1.0, 3.0]}]
    assert vau_r1("temporal")["format"]([text], solution=solution) == [float(valid)]
    assert (vau_r1("temporal")["iou"]([text], solution=solution) > [0.0]) == valid


@pytest.mark.parametrize("digits", ["9" * 400, "9" * 400 + ".0", "9" * 5000])
def test_a_number_that_no_float_holds_earns_nothing(digits):
    text = f"<think>t</think><answer>Anomaly</answer><glue>[{digits}, {digits}]</glue>"
    assert vau_r1("temporal")["iou"]([text], solution=[{"answer": "Anomaly", "glue": [1.0, 3.0]}]) == [0.0]
