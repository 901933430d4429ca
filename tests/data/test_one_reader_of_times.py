"""A time is the same time in a table's cell and in an answer, however it is written; a cell may be refused
where an answer is read, or the other way round, but never read as another."""

import pytest

from tvad.answer import parse
from tvad.answer.timing import Timing
from tvad.data.table import times
from tvad.data.table.columns import Column

FOUR_THOUSAND = Timing(4000.0, 10.0)  # seconds, frames a second

BOTH = {  # read by both
    "3-7": (3, 7),
    "3.5 - 7.25": (3.5, 7.25),
    "3 s-7 s": (3, 7),
    "3 to 7": (3, 7),
    "3 until 7": (3, 7),
    "3 bis 7": (3, 7),
    "3..7": (3, 7),
    "[3, 7]": (3, 7),
    "3 7": (3, 7),
    "1e1-2e1": (10, 20),
    "3000 ms-7000 ms": (3, 7),
    "500-900 ms": (0.5, 0.9),
    "0.05-0.1 min": (3, 6),
    "90 min-0.5 h": (5400, 1800),
    "0:03-0:07": (3, 7),
    "0:03,5-0:07": (3.5, 7),
    "0:03,500-0:07,250": (3.5, 7.25),
    "1:05,25-1:09,75": (65.25, 69.75),
    "00:00:03,500 --> 00:00:07": (3.5, 7),
    "1:02:03.5-1:02:09": (3723.5, 3729),
    "3s-0:07": (3, 7),
    "1m05s-1m10s": (65, 70),
    "1 min 5 s-1 min 9.5 s": (65, 69.5),
    "1h 2m 3s-1h 2m 9s": (3723, 3729),
    "1h2m3s-1h2m9s": (3723, 3729),
    "1 hour 2 minutes 3 seconds-1 hour 2 minutes 9 seconds": (3723, 3729),
    "frames 30-70": (3, 7),
    "frame 30-frame 70": (3, 7),
    "30-70 frames": (3, 7),
    "f30-f70": (3, 7),
    "5-80%": (200, 3200),
}
ONE = {  # read by one of them at least
    "3 s 500 ms-7 s 250 ms": (3.5, 7.25),
    "1 h 2 min-1 h 5 min": (3720, 3900),
    "3'20\"-3'40\"": (200, 220),
    "5 fr-9 fr": (0.5, 0.9),
    "5 f-9 f": (0.5, 0.9),
    "3,5-7,25": (3.5, 7.25),
    "3,5 s-7,25 s": (3.5, 7.25),
    "1,500-2,500": (1.5, 2.5),  # in a file whose decimals have commas
    "1,000 s-2,000 s": (1, 2),
    "1,000 ms-2,000 ms": (1, 2),
    "1 000 ms-2 000 ms": (1, 2),
    "10,000-20,000 frames": (1000, 2000),
    "10 000-20 000 frames": (1000, 2000),
    "1.234,5 s-1.300,5 s": (1234.5, 1300.5),
}
NEITHER = """camera_3,_clip_7|row_3_col_7|3m-7m|3_xyz-7_xyz|0:75-0:90|2_min-3|10%-50|1.000-2.000_frames
1.5-7_frames|3-7-9|00:03:12:05-00:03:14:00|nan-3|1:75,5-2:00|3m_7s""".replace("\n", "|").replace("_", " ")


def of_table(text: str, comma: bool) -> list[tuple[float, float]] | None:
    try:
        found = times.spans_of(text, Column("spans"), comma)
    except ValueError:
        return None
    assert isinstance(found, list)
    return [(times.seconds(a, FOUR_THOUSAND), times.seconds(b, FOUR_THOUSAND)) for a, b in found]


def of_answer(text: str) -> list[tuple[float, float]] | None:
    spans = parse(f"<glue>{text}</glue>", timing=FOUR_THOUSAND).spans
    return list(spans) if isinstance(spans, tuple) else None


@pytest.mark.parametrize("text", [*BOTH, *ONE, *NEITHER.split("|")])
def test_a_cell_and_an_answer_say_the_same_time(text):
    expected = BOTH.get(text, ONE.get(text))
    given = [of_answer(text), of_table(text, comma=False), of_table(text, comma=True)]
    read = [spans for spans in given if spans is not None]
    assert all(spans == [pytest.approx(expected)] for spans in read), given
    assert read if text in ONE else given[:2] == read[:2] if text in BOTH else not read, given


def test_frames_of_a_varying_rate_are_where_the_clock_has_them():
    uneven = Timing(duration=12.0, times=[*(n / 10 for n in range(20)), *(2.0 + n for n in range(10))])
    ((a, b),) = times.spans_of("frames 10-30", Column("spans"))
    assert (times.seconds(a, uneven), times.seconds(b, uneven)) == (1.0, 12.0)
    assert parse("frames 10-30", timing=uneven).spans == ((1.0, 12.0),)


def test_a_last_frame_belongs_to_its_span():
    ends = [
        times.pair_of("30", "70", Column("first frame", unit="frame"), Column(name, unit="frame"))
        for name in ("end frame", "last_frame")
    ]
    assert [times.seconds(end[1], FOUR_THOUSAND) for end in ends if end] == [7.0, 7.1]
