"""Times in a reply or a question, moved between a window's clock and the video's: every time that the reader
of answers finds, once; lengths stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvad.answer import MAX_TEXT, Timing
from tvad.use.replies import moments, moved, read

SPANS = {  # words about the window -> words, spans in a video 100 s later
    "from 3 s until 7 s": ("from 103 s until 107 s", [(103, 107)]),
    "3 s to 7 s": ("103 s to 107 s", [(103, 107)]),
    "3-7 s": ("103-107 s", [(103, 107)]),
    "[3, 7]": ("[103, 107]", [(103, 107)]),
    "[1.00, 2.50], [5.00, 7.00]": ("[101.00, 102.50], [105.00, 107.00]", [(101, 102.5), (105, 107)]),
    "The anomaly happens from 3 to 7.": ("The anomaly happens from 103 to 107.", [(103, 107)]),
    "from 00:03.5 to 00:07.5": ("from 1:43.5 to 1:47.5", [(103.5, 107.5)]),
    "from 3 minutes to 4 minutes": ("from 4:40 to 5:40", [(280, 340)]),
    "from 3 to 4 minutes": ("from 4:40 to 5:40", [(280, 340)]),
    "1 min 5 s to 1 min 9 s": ("2:45 to 2:49", [(165, 169)]),
    "3000 ms to 7000 ms": ("103000 ms to 107000 ms", [(103, 107)]),
    "du 3 s au 7 s": ("du 103 s au 107 s", [(103, 107)]),
    "von 3,5 s bis 7,25 s": ("von 103.5 s bis 107.25 s", [(103.5, 107.25)]),
    "3秒到7秒": ("103秒到107秒", [(103, 107)]),
    "three to seven seconds": ("103 to 107 s", [(103, 107)]),
    "from 3 to 7 and from 9 to 12 seconds": (
        "from 103 to 107 and from 109 to 112 seconds",
        [(103, 107), (109, 112)],
    ),
    "starts at 3 s and lasts 4 s": ("starts at 103 s and lasts 4 s", [(103, 107)]),
    "startTime: 3, endTime: 7": ("startTime: 103, endTime: 107", [(103, 107)]),
    "frames 30 to 70": ("frames 30 to 70", [(103, 107)]),
    "the first 10 seconds": ("the first 10 seconds", [(100, 110)]),
}


@pytest.mark.parametrize("text", SPANS)
def test_words_and_spans_are_on_one_clock(text):
    words, spans = SPANS[text]
    found = read(text, 100.0, Timing(300.0, 10.0))
    assert found.words == words
    assert isinstance(found.spans, tuple) and found.spans == tuple(pytest.approx(span) for span in spans)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("He falls at 2.5 s and at 0:04.", "He falls at 102.5 s and at 1:44."),
        ("It lasts for 3 s, at 0:05.", "It lasts for 3 s, at 1:45."),
        ("3 s later, about 3 s long", "3 s later, about 3 s long"),
        ("a 3 s clip", "a 3 s clip"),
        ("lasts 3 to 7 s", "lasts 3 to 7 s"),
        ("at x 100 to 200, y 50 to 80", "at x 100 to 200, y 50 to 80"),
        ("Are there 3 to 5 teenagers?", "Are there 3 to 5 teenagers?"),
        ("2 min to 3", "2 min to 3"),
        ("Is it so <glue>3, 7</glue>?", "Is it so <glue>103, 107</glue>?"),
    ],
)
def test_moments_are_moved_and_lengths_and_counts_stay(text, words):
    assert moved(text, 100.0) == words


def test_a_question_is_put_on_the_windows_clock_once():
    asked = "What happens from 103 s until 107 s?"
    assert moments(asked) == [103.0, 107.0]
    assert moved(asked, -100.0) == "What happens from 3 s until 7 s?"
    assert moved("at 99.5 s", -100.0) == "at 0.0 s", "a clip begins at 0"
    assert moved("at 2 s", 1.25) == "at 3.25 s" and moved("at 0:02", 3600.0) == "at 1:00:02"


HUNDREDTHS = st.integers(0, 10**5).map(lambda n: f"{n / 100:.2f}")


@given(HUNDREDTHS, HUNDREDTHS, st.integers(1, 10**4))
def test_what_is_moved_there_comes_back(one, other, seconds):
    for text in (f"From {one} to {other} s", f"at {one} s", f"[{one}, {other}]", f"{one} s until {other} s"):
        assert moved(moved(text, seconds), -seconds) == text


@pytest.mark.slow
@pytest.mark.parametrize("part", ["<glue>3, 7</glue>", "at 3 s ", "[1,2]", "1 min ", "0:03-", "first 3 s "])
def test_a_long_text_is_moved_in_one_pass(part):
    text = part * (MAX_TEXT // 8 // len(part))
    assert len(moved(text, 100.0)) >= len(text)
