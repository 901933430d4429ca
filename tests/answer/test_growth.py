"""Whatever a stranger writes is read in linear time: twice the text takes at most 2.5 times as long, of every
reader of answers, of judges' replies, in metrics and rewards."""

import signal
from contextlib import contextmanager
from time import process_time

import pytest

from bench import judge
from bench.metrics import objects as key_objects
from bench.metrics import text as overlap
from bench.metrics import vau_r1 as scripts
from bench.replies import enclosed
from bench.replies import objects as json_objects
from bench.score import _row
from rft.rewards import REWARDS, vau_r1
from tvad.answer import Reading, Timing, parse, read_boxes, read_classes, read_spans, read_verdict, split
from tvad.answer.boxes import boxes_in_text
from tvad.answer.classes import same_name, small_words
from tvad.answer.letters import options_named, read_letter
from tvad.answer.moments import moments_in
from tvad.answer.numbers import read_number
from tvad.answer.span_labels import read_labels
from tvad.answer.spans import read_text, spans_in_text
from tvad.control import plain_shape
from tvad.data.dialogue import parts_of
from tvad.data.vau_bench import reasoning_sections

OPTIONS = ("A man steals a bicycle", "A man falls down", "A car hits a pedestrian", "Two people fight")
CLASSES = {
    "Arson": ["arson attack"],
    "Fighting": ["fight", "brawl"],
    "RoadAccidents": ["road accident", "车祸"],
    "Normal": ["no anomaly", "正常"],
    "B1": [],
}
TIMING = Timing(20.0, 10.0)
SOLUTIONS = {
    "mcq": "<answer>A</answer>",
    "temporal": "<answer>Yes</answer><glue>[1, 2]</glue>",
    "dialogue": "a man walks",
}


def rewarded(text: str) -> None:
    for name, task in (
        ("format", "temporal"),
        ("temporal_iou", "temporal"),
        ("consistency", "mcq"),
        ("consistency", "temporal"),
        ("words", "dialogue"),
    ):
        REWARDS[name]([text], solution=[SOLUTIONS[task]], task=[task], options=[list(OPTIONS)])


def published(text: str) -> None:
    for task, solution in (
        ("temporal", {"answer": "Yes", "glue": [1, 2]}),
        ("qa", "A"),
        ("classification", "A"),
    ):
        for reward in vau_r1(task).values():
            reward([text], solution=[solution])


def as_script(text: str) -> None:
    (
        parse(text, "vau_r1"),
        scripts.letter_qwen(text),
        scripts.letter_internvl(text),
        scripts.classes_found(text),
    )


def rated(text: str) -> None:
    """As a judge's reply, and as the description that it judges."""
    for reply, judged in ((text, ""), ('{"classification": 1}', text)):
        judge._usable({"reply": reply}, judged)
    for end in ("", "}", '"}'):
        sum(1 for _ in json_objects(text + end))
    enclosed(text)


def row(text: str) -> None:
    for line in (text, '{"id": "' + text + '"}', '{"id": ' + text):
        try:
            _row(line.encode(errors="replace"))
        except ValueError:
            continue


def overlapping(text: str) -> None:
    overlap.best_bleu4(text, ["a man walks on the road"]), overlap.ngram_counts(text, "a man walks")
    (
        overlap.rouge_l(text, "a man walks on the road " * 10),
        key_objects.share_named(text, "man in a red shirt, car"),
    )


READERS = {
    "parse": lambda text: parse(text, timing=TIMING),
    "parse, strict": lambda text: parse(text, "strict"),
    "parse, pixels": lambda text: parse(text, reading=Reading(boxes="pixels", picture=[640, 480])),
    "parse, other marks": lambda text: parse(text, reading=Reading(reasoning=[["<a", "a>"]]), opened=True),
    "parse, inside an answer": lambda text: parse(f"<answer>{text}</answer><box>{text}</box>", timing=TIMING),
    "split": split,
    "letters": lambda text: (read_letter(text, OPTIONS), options_named(text, OPTIONS)),
    "yes or no": read_verdict,
    "classes": lambda text: (read_classes(text, CLASSES), same_name(text, "Fighting Men"), small_words(text)),
    "numbers": read_number,
    "spans": lambda text: (read_spans(text, TIMING), read_text(text, TIMING), spans_in_text(text)),
    "moments": moments_in,
    "boxes": lambda text: (read_boxes(text), boxes_in_text(text, "loc")),
    "labels": lambda text: read_labels(text, 2),
    "as VAU-R1's scripts": as_script,
    "rewards": rewarded,
    "published rewards": published,
    "judges' replies": rated,
    "overlap": overlapping,
    "lines of predictions": row,
    "VAU-Bench's cells, dialogues, chats": lambda text: (
        reasoning_sections(f"#{text}"),
        parts_of(text),
        plain_shape(text),
    ),
}
PARTS = (
    *(
        "(",
        "[",
        "{",
        "<",
        "\\",
        "`",
        "*",
        "-",
        "'",
        '"',
        ":",
        ",",
        ".",
        "~",
        "#",
        " ",
        "\n",
        "\t",
        "\u00a0",
        "\0",
    ),
    *(
        "[[",
        "[{",
        '{"a":',
        '{"a": 1} ',
        "{'a': ",
        '"a":',
        '{"answer": ',
        "\\boxed{",
        "\\frac{1}{",
        "```",
        "```json\n",
    ),
    *(
        "<think>",
        "</think>",
        "<answer>",
        "<glue>",
        "<box>",
        "<think a=",
        "< think ",
        "[THINK]",
        "<|",
        "<!--",
        "</",
    ),
    *("<|channel|>analysis<|message|>", "<final>", "<loc0001>", "<points x", "&#", "\ud800"),
    *(
        "a",
        "a ",
        "aB",
        "A. ",
        "A or ",
        "A and ",
        "B, ",
        "B\n",
        "not B ",
        "wait, B ",
        "the answer is ",
        "if A ",
        "Ab ",
    ),
    *(
        "- [ ] A\n",
        "A: No ",
        "A man falls down ",
        "no anomaly ",
        "anomaly: ",
        "is not ",
        "yes ",
        "No, yes. ",
        "n't ",
    ),
    *(
        "没有异常",
        "是",
        "未",
        "ない",
        "नहीं",
        "नहीं ",
        "한",
        "ก",
        "e\u0301",
        "é",
        "１",
        "٣",
        "²",
        "十",
        "✗",
        "¬",
    ),
    *(
        "1",
        "1 ",
        "1.",
        "1:",
        "1,",
        "1-",
        "1, ",
        "1:02 ",
        "1,5 ",
        "1 000 ",
        "1 to ",
        "from 1 to 2 ",
        "frame 1 ",
        "50% ",
    ),
    *(
        "1 min 5 s ",
        "starts at ",
        "starts at 3 ",
        "the first ",
        "lasts 3 s, ",
        "[1, 2], ",
        "[1,2,3,4], ",
        "(1,2),",
    ),
    *(
        "1 1 1 1\n",
        "1;1,1,1,1;",
        "x1: 1 ",
        "twenty-",
        "not from 1 to 2 ",
        "or 1 to 2 ",
        "instead of ",
        "per  cent ",
    ),
    *(
        "road ",
        "Fighting, ",
        "fighting or ",
        "man in ",
        "target: ",
        "Time:",
        "# * ",
        "Road_",
        "nan ",
        "e.g. ",
    ),
)
# Asked of every reader in each run of the tests; the others take minutes.
QUICK = ("(", "[", "{", "<think>", "A. ", "A and ", "1:", "1,", " ", "नहीं", "fighting or ")
FLOOR = 0.01  # seconds; a text of MOST characters that takes less is no matter
FEW, MOST = 1 << 10, 1 << 16  # characters
PATIENCE = 4  # seconds of this process: what takes longer than linear by far does not end at all


@contextmanager
def patience():
    def out_of_it(*_):
        raise TimeoutError(f"not read in {PATIENCE} s")

    before = signal.signal(signal.SIGVTALRM, out_of_it)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def seconds(read, text: str, rounds: int = 1) -> float:
    """Of this process's own clock, the least of some rounds: whatever else the machine does only adds."""
    found = []
    for _ in range(rounds):
        gone = process_time()
        with patience():
            read(text)
        found.append(process_time() - gone)
    return min(found)


def growth(read, of) -> float:
    """How many times as long twice the text takes, the least of some attempts; `of`: a text of a length. 0
    where it takes no time to speak of."""
    length = FEW
    while seconds(read, of(length)) < FLOOR:
        length *= 2
        if length > MOST:
            return 0.0
    found = []
    # What is linear and was disturbed is so at another length, what is quadratic is not: two lengths before
    # it is called so. A text that is the first to need fresh pages may take four times as long by that alone.
    for rounds, times in ((1, 1), (3, 2), (3, 1), (3, 1), (5, 2), (5, 4)):
        short, long = (seconds(read, of(n * times * length), rounds) for n in (1, 2))
        found.append(long / short if short else 0.0)
        if found[-1] <= 2.5 or (rounds > 1 and min(found) > 3.5):
            break
    return min(found)


@pytest.mark.parametrize("parts", [QUICK, pytest.param(PARTS, marks=pytest.mark.slow)], ids=["quick", "all"])
@pytest.mark.parametrize("name", READERS)
def test_twice_the_text_takes_at_most_two_and_a_half_times_as_long(name, parts):
    read = READERS[name]
    read("The answer is 3. " * 20)  # patterns are compiled, modules imported
    for place, part in enumerate(parts):
        ahead = ("", "", "the answer is 1 ")[place % 3]
        found = growth(read, lambda n, a=ahead, p=part: a + p * (n // len(p)) + "\0 x")
        assert found <= 2.5, f"{name}, {part!r}: {found:.1f} times as long"


def test_what_is_quadratic_or_worse_is_found():
    """The measure itself: of these patterns, which readers once had, it must tell."""
    import re

    blanks = re.compile(r"#{1,6}\s*\**\s*Location")
    # A machine that is disturbed while it reads the short text hides it, though not three times in a row.
    assert any(growth(blanks.search, lambda n: "#" + " " * n) > 2.5 for _ in range(3))
    letters = re.compile(r"(?:[^\W\d_]|[\u0900-\u0965])*?[a-z](?=[A-Z])")
    with pytest.raises(TimeoutError):
        growth(letters.match, lambda n: "नहीं" * n)
