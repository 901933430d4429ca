"""Spans of time in answers: every form that is read, what is not, and what a reading costs."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvad.answer import MAX_TEXT, NONE, Answer, Timing, parse, read_span, read_spans, render, spans_in_text

TWENTY = Timing(20.0, 10.0)  # seconds, frames a second
HOURS = Timing(4000.0, 10.0)  # for times that TWENTY has not
MISSING = {"missing_think", "missing_answer", "text_outside_tags"}


def read(text, timing=TWENTY):
    found = parse(text, timing=timing)
    return found.spans, [d for d in found.defects if d not in MISSING]


# (text, spans) by form; the video has 20 s at 10 frames a second, 4,000 s where the span is later.
FORMS = {
    "seconds": [
        ("3 s to 7.5 s", (3, 7.5)),
        ("3 to 7", (3, 7)),
        ("between 3 and 7", (3, 7)),
        ("at 3-5s", (3, 5)),
        ("3 sec. to 7 sec.", (3, 7)),
        ("3-7-second", (3, 7)),
        ("the 3-second mark to the 7-second mark", (3, 7)),
        ("from the 3rd to the 7th second", (3, 7)),
        ("~3s to ~7s", (3, 7)),
        ("from approximately 3 seconds to about 7 seconds", (3, 7)),
        ("<3.0 seconds> - <7.0 seconds>", (3, 7)),
        ("t=3 to t=7", (3, 7)),
        ("2.5e0 to 3", (2.5, 3)),
        ("person2 falls from 3 to 7 s, car H264", (3, 7)),
    ],
    "decimal comma": [
        ("3,5 s bis 7,25 s", (3.5, 7.25)),
        ("von 3 bis 7,5 Sekunden", (3, 7.5)),
        ("de 3,5 à 7,5 secondes", (3.5, 7.5)),
        ("[3,7]", (3, 7)),
        ("starts at 3,5 s and ends at 7,25 s", (3.5, 7.25)),
        ("0,500 s to 0,750 s", (0.5, 0.75)),
    ],
    "thousands": [
        ("<glue>1,000 ms to 2,000 ms</glue>", (1, 2)),
        ("1 000 ms to 2 000 ms", (1, 2)),
        ("1,000-2,000 frames", (100, 200)),
        ("frames 1,000 to 1 900", (100, 190)),
        ("1,234.5 s to 1.300,5 s", (1234.5, 1300.5)),
        ("1,000 s to 2,000 s", None),
        ("1.000 to 2.000 frames", None),
        ("<glue>1,500 min to 2,500 min</glue>", None),
    ],
    "a tag's content": [
        ("<glue>(3, 7)</glue>", (3, 7)),
        ("<glue>3, 7</glue>", (3, 7)),
        ("<glue>3 7</glue>", (3, 7)),
        ("<glue>3; 7</glue>", (3, 7)),
        ("<glue>3/7</glue>", (3, 7)),
        ("<glue>3..7</glue>", (3, 7)),
        ("<glue>t1=3, t2=7</glue>", (3, 7)),
        ("<glue>3.0 … 7.0 s</glue>", (3, 7)),
        ("<answer>Anomaly</answer> from 3 to 7 s", (3, 7)),
        ("<answer>from 3 to 7 s</answer>", (3, 7)),
    ],
    "milliseconds": [
        ("3000 ms to 7500 ms", (3, 7.5)),
        ("500 to 900 ms", (0.5, 0.9)),
        ("3500ms - 7s", (3.5, 7)),
        ("３０００ミリ秒から７５００ミリ秒", (3, 7.5)),
    ],
    "minutes and hours": [
        ("0.05 min to 0.1 minutes", (3, 6)),
        ("0 min 5 s to 0 min 9 s", (5, 9)),
        ("0m05s to 0m09s", (5, 9)),
        ("0分5秒から0分9秒まで", (5, 9)),
        ("0분 5초부터 0분 9초까지", (5, 9)),
        ("0′05″ to 0′09″", (5, 9)),
        ("minute 0 second 5 to minute 0 second 9", (5, 9)),
        ("<glue>1h 2m 3s to 1h 2m 9s</glue>", (3723, 3729)),
        ("1h2m3s-1h2m9s", (3723, 3729)),
        ("1h 2m to 1h 5m", (3720, 3900)),
        ("1 hour, 2 minutes and 3 seconds to 1 hour, 2 minutes and 9 seconds", (3723, 3729)),
        ("<glue>3 sec 500 ms to 7 sec 250 ms</glue>", (3.5, 7.25)),
        ("1 min 5 s 500 ms to 1 min 9 s", (65.5, 69)),
        ("It is at 3'20\" - 3'40\".", (200, 220)),
        ("3’20” to 3’40”", (200, 220)),
        ("3'20'' to 3'40''", (200, 220)),
        ("from 3'20 to 3'40", (200, 220)),
    ],
    "clock": [
        ("0:03 to 0:07", (3, 7)),
        ("00:00:03,500 --> 00:00:07,000", (3.5, 7)),
        ("00:03.25-00:07", (3.25, 7)),
        ("From 00:03,5 to 00:07,5.", (3.5, 7.5)),
        ("It happens 1:05,25-1:09,75.", (65.25, 69.75)),
        ("1:02:03,5 to 1:02:04,75", (3723.5, 3724.75)),
        ("[0:03,0:07]", (3, 7)),
        ("beginning at 0:03 and ending at 0:07", (3, 7)),
        ("0:03 min to 0:07 min", (3, 7)),
        ("* 0:03 – 0:07", (3, 7)),
    ],
    "frames": [
        ("frames 40 to 90", (4, 9)),
        ("frame 40 – frame 90", (4, 9)),
        ("frames [40, 90]", (4, 9)),
        ("[40, 90] frames", (4, 9)),
        ("40-90 frames", (4, 9)),
        ("frames 40-90 of 200", (4, 9)),
        ("第40帧到第90帧", (4, 9)),
        ("<glue>40 fr to 90 fr</glue>", (4, 9)),
        ("40 f-90 f", (4, 9)),
        ("f40 to f 90", (4, 9)),
        ("40フレームから90フレーム", (4, 9)),
        ("Frames 4–9 and 40–90", [(0.4, 0.9), (4, 9)]),
    ],
    "percent": [
        ("10% to 50%", (2, 10)),
        ("10-50%", (2, 10)),
        ("between 10 and 50 percent of the video", (2, 10)),
        ("von 10 bis 50 Prozent", (2, 10)),
        ("10 pour cent à 50 pour cent", (2, 10)),
        ("the last 10% of the video", (18, 20)),
    ],
    "words": [
        ("the whole clip", (0, 20)),
        ("throughout", (0, 20)),
        ("the entire duration of the video", (0, 20)),
        ("das ganze Video", (0, 20)),
        ("durante todo el vídeo", (0, 20)),
        ("pendant toute la vidéo", (0, 20)),
        ("全程", (0, 20)),
        ("動画全体", (0, 20)),
        ("영상 전체", (0, 20)),
        ("в течение всего видео", (0, 20)),
        ("the first 10 seconds", (0, 10)),
        ("last five seconds", (15, 20)),
        ("the opening 4 seconds", (0, 4)),
        ("the last second", (19, 20)),
        ("die ersten 10 Sekunden", (0, 10)),
        ("los últimos 5 segundos", (15, 20)),
        ("les 5 dernières secondes", (15, 20)),
        ("最后5秒", (15, 20)),
        ("最初の5秒", (0, 5)),
        ("마지막 5초", (15, 20)),
        ("первые 5 секунд", (0, 5)),
        ("first half", (0, 10)),
        ("the last quarter of the video", (15, 20)),
        ("from 3 s to the end of the video", (3, 20)),
        ("[3, end]", (3, 20)),
        ("from the beginning to 7 s", (0, 7)),
        ("from halfway to the end", (10, 20)),
        ("3秒到结束", (3, 20)),
        ("3초부터 끝까지", (3, 20)),
        ("von 3 s bis zum Ende", (3, 20)),
        ("desde 3 s hasta el final", (3, 20)),
        ("de 3 s à la fin", (3, 20)),
        ("From 3 to 5 s, and from 12 s to the end.", [(3, 5), (12, 20)]),
        ("three to seven seconds", (3, 7)),
        ("from twelve to twenty seconds", (12, 20)),
        ("三秒到七秒", (3, 7)),
        ("从三到七秒", (3, 7)),
        ("von drei bis sieben Sekunden", (3, 7)),
        ("de tres a siete segundos", (3, 7)),
        ("entre trois et sept secondes", (3, 7)),
    ],
    "languages": [
        ("从3秒到7秒", (3, 7)),
        ("从第3秒持续到第7秒", (3, 7)),
        ("在3秒和7秒之间", (3, 7)),
        ("3秒と7秒の間", (3, 7)),
        ("3초부터 7초까지", (3, 7)),
        ("3초에서 7초 사이", (3, 7)),
        ("3초~7초", (3, 7)),
        ("zwischen 3 und 7 Sekunden", (3, 7)),
        ("entre 3 y 7 segundos", (3, 7)),
        ("de 3 a 7 segundos", (3, 7)),
        ("dos 3 aos 7 segundos", (3, 7)),
        ("da 3 a 7 secondi", (3, 7)),
        ("tra 3 e 7 secondi", (3, 7)),
        ("от 3 до 7 секунд", (3, 7)),
        ("с 3 с по 7 с", (3, 7)),
        ("من 3 إلى 7 ثوانٍ", (3, 7)),
        ("3 सेकंड से 7 सेकंड तक", (3, 7)),
        ("３秒～７秒", (3, 7)),
        ("［３，７］", (3, 7)),
        ("٣ - ٧", (3, 7)),
    ],
    "several": [
        ("<glue>[[1, 2], [5, 7]]</glue>", [(1, 2), (5, 7)]),
        ("<glue>[1, 2] and [5, 7]</glue>", [(1, 2), (5, 7)]),
        ("<glue>[1, 2], [5, 7]</glue>", [(1, 2), (5, 7)]),
        ("<glue>0:01-0:03, 0:10-0:12</glue>", [(1, 3), (10, 12)]),
        ("<glue>1-3; 10-12</glue>", [(1, 3), (10, 12)]),
        ("3–7, 10–12 s", [(3, 7), (10, 12)]),
        ("0.1-0.2 and 0.25-0.3 min", [(6, 12), (15, 18)]),
        ("- 3 s to 7 s\n- 9 s to 12 s", [(3, 7), (9, 12)]),
        ("1) 3-7 s\n2) 9-12 s", [(3, 7), (9, 12)]),
        ("1. 3-7 s\n2. 9-12 s", [(3, 7), (9, 12)]),
        ("Event 1: 3-7; Event 2: 9-12", [(3, 7), (9, 12)]),
        ("3 s through 7 s; the same in frames: 30 to 70", (3, 7)),
        ("frames 30–70 (3 s to 7 s)", (3, 7)),
    ],
    "keys and values": [
        ('{"start": 1, "end": 2}', (1, 2)),
        ('[{"start": 1, "end": 2}, {"start": 5, "end": 7}]', [(1, 2), (5, 7)]),
        ("{'start_time': '00:01', 'end_time': '00:02'}", (1, 2)),
        ('{"startTime": 1, "endTime": 2}', (1, 2)),
        ('{"from": 1, "to": 2}', (1, 2)),
        ('{"end": 7, "start": 3}', (3, 7)),
        ('{"start": 3, "duration": 4}', (3, 7)),
        ('{"start_frame": 30, "end_frame": 70}', (3, 7)),
        ('{"startMs": 3000, "endMs": 7000}', (3, 7)),
        ('{"start_percent": 10, "end_percent": 50}', (2, 10)),
        ('{"fighting": [[1, 2], [5, 7]]}', [(1, 2), (5, 7)]),
        ("ends at 7 s, starts at 3 s", (3, 7)),
        ("Start 3 s – End 7 s", (3, 7)),
    ],
    "none": [
        (text, NONE)
        for text in (
            "无 没有异常 无异常 正常 異常なし 異常はありません 없음 이상_없음 keine Keine_Anomalie ninguno"
            " No_hay_anomalías sin_anomalías aucune_anomalie Il_n'y_a_aucune_anomalie. nessuna_anomalia"
            " nenhuma_anomalia нет Аномалий_нет N/A null [] None. No_anomalies_were_detected."
            " Nothing_unusual_happens. The_video_is_normal. The_video_is_normal_throughout."
            " No_anomaly_is_visible_between_0_and_20_s. no_anomalous_event There_are_no_anomalies."
            " The_anomaly_does_not_happen. Es_gibt_keine_Anomalie_im_Video. [-1.0,_-1.0]"
            " <glue>无</glue> <glue>keine</glue> <glue>[0,_0]</glue>"
        )
        .replace("_", "\0")
        .split()
    ],
    "denied": [
        ("0-3 s: normal; 3-7 s: a fall; 7-20 s: normal", (3, 7)),
        ("From 0 to 3 s everything is normal. From 3 to 7 s a man falls.", (3, 7)),
        ("Not 1-2 s but 3-7 s", (3, 7)),
        ("It does not happen from 1 to 2 s (frames 10 to 20), but from 3 to 7 s.", (3, 7)),
        ("from 3 s to 7 s, not from 8 to 9 s", (3, 7)),
        ("A man does not move from 3 to 7 s.", (3, 7)),
        ("The first candidate is 1-2 s. Final answer: 3-7 s", (3, 7)),
    ],
    "unread": [
        (text, None)
        for text in (
            "[3 7]",
            "<glue>[3, 7, 9]</glue>",
            "<glue>[1, 2, 5, 7]</glue>",
            "<glue>[one, three]</glue>",
            "<glue>3 min</glue>",
            "A crowd grows from 3 to 7 people.",
            "lasts 3 to 7 seconds",
            "2019-03-04 10:00",
            "3 to 7 s or 8 to 12 s",
            "I'm not sure whether there is an anomaly.",
            "The anomaly starts at 3 seconds.",
            "It goes on until 7 s.",
            "3s and 7s",
            "frames 400 to 900",
            "<glue>camera 3, clip 7</glue>",
            "<glue>row 3 col 7</glue>",
            "<glue>person 3 at 7</glue>",
            "<glue>5 xyz to 9 xyz</glue>",
            "<glue>3m 7s</glue>",
        )
    ],
}
ROWS = [(kind, text.replace("\0", " "), spans) for kind, rows in FORMS.items() for text, spans in rows]


@pytest.mark.parametrize(("kind", "text", "spans"), ROWS, ids=[f"{k}: {t}" for k, t, _ in ROWS])
def test_every_form_of_a_span_is_read(kind, text, spans):
    late = isinstance(spans, tuple) and spans[1] > 20
    found = read(text, HOURS if late else TWENTY)[0]
    if isinstance(spans, tuple):
        spans = [spans]
    if spans is None or spans == NONE:
        assert found == spans
    else:
        assert [t for span in found for t in span] == pytest.approx([t for span in spans for t in span])


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("<glue>frames 40 to 90</glue>", "frame_span"),
        ("<glue>00:00:03:12 to 00:00:05:00</glue>", "frame_span"),
        ("<glue>10% to 50%</glue>", "percent_span"),
        ("from 10% to 50%", "percent_span"),
        ("<glue>the last 5 seconds</glue>", "relative_span"),
        ("<glue>the whole video</glue>", "relative_span"),
        ("from 3 s to the end", "relative_span"),
        ("<glue>3 ticks to 9 ticks</glue>", "unknown_unit_span"),
        ("<glue>3m to 7m</glue>", "unknown_unit_span"),
        ("<glue>2 min to 3</glue>", "mixed_unit_span"),
        ("<glue>10% to 50</glue>", "mixed_unit_span"),
        ("<glue>1:30 h to 2:00 h</glue>", "mixed_unit_span"),
        ("<glue>[nan, 2]</glue>", "non_finite_span"),
        ("<glue>[3, inf]</glue>", "non_finite_span"),
        ("<glue>[-1, 5]</glue>", "negative_span"),
        ("<glue>0:75 to 0:90</glue>", "malformed_span"),
        ("<glue>3-7 or 8-12</glue>", "undecided_span"),
    ],
)
def test_a_unit_that_cannot_be_turned_into_seconds_is_a_named_defect_and_no_guess(text, defect):
    spans, defects = read(text, timing=None)
    assert spans is None and defects == [defect]


def test_frames_are_read_by_the_times_at_which_they_are_shown():
    uneven = Timing(duration=12.0, times=[*(n / 10 for n in range(20)), *(2.0 + n for n in range(10))])
    assert read("frames 10 to 25", uneven) == (((1.0, 7.0),), [])
    assert read("frames 20 to 30", uneven) == (((2.0, 12.0),), []), "the frame behind the last is the end"
    assert read("<glue>frames 20 to 31</glue>", uneven) == (None, ["frame_span"])
    assert read("<glue>frames 1.5 to 3</glue>") == (None, ["frame_span"])


def test_an_end_beyond_the_video_is_cut_and_said():
    assert read("<glue>[3, 25]</glue>") == (((3.0, 20.0),), ["span_beyond_video"])
    assert read("<glue>[3.00, 20.01]</glue>") == (((3.0, 20.0),), []), "a rounded end"
    assert read("<glue>[25, 30]</glue>") == (((25.0, 30.0),), ["span_beyond_video"]), "nothing to cut"
    assert read("<glue>[3, 25]</glue>", timing=None) == (((3.0, 25.0),), [])


def test_an_end_that_is_not_said_is_a_defect_and_the_videos_end():
    assert read("from 3 s onwards") == (((3.0, 20.0),), ["open_span"])
    assert read("ab 3 s") == (None, [])
    assert read("until 7 s") == (((0.0, 7.0),), ["open_span"])
    assert read("from 3 s onwards", timing=None) == (None, ["relative_span"])


def test_strict_reads_seconds_and_clock_times_alone():
    def strict(glue, timing=TWENTY):
        found = parse(f"<think>t</think><answer>a</answer><glue>{glue}</glue>", "strict", timing=timing)
        return found.spans, found.defects

    assert strict("[1.00, 2.50], [4.00, 0:06]") == (((1.0, 2.5), (4.0, 6.0)), ())
    assert strict("[3, 25]") == (((3.0, 25.0),), ()), "as it is written, whatever the video"
    for text in (
        "3000 ms to 7000 ms",
        "frames 4 to 9",
        "the whole video",
        "three to seven seconds",
        "10-50%",
    ):
        spans, defects = strict(text)
        assert spans is None and len(defects) == 1, text


def test_elements_that_contradict_each_other_are_unread():
    assert read("<glue>[1, 2]</glue><glue>[3, 4]</glue>")[0] is None
    assert read("<glue>[[0, 0], [3, 7]]</glue>")[0] is None, "none and a span"
    assert read("<glue>[1, 2], [nan, 5]</glue>")[0] is None, "half of an answer is no answer"


def test_a_tag_with_one_span_is_read_as_one():
    assert read_span("[3, 7]") == ((3.0, 7.0), []) and read_span("none") == (NONE, [])
    assert read_span("[1, 2], [3, 4]") == (None, ["malformed_span"])
    assert read_spans("[1, 2], [3, 4]") == (((1.0, 2.0), (3.0, 4.0)), [])


def test_a_rationale_gives_the_spans_that_need_no_clock():
    text = "First from 1 to 2 s, then [3, 4], at frames 40 to 50, not from 8 to 9 s."
    assert spans_in_text(text) == [(1.0, 2.0), (3.0, 4.0)]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('[{"start": 1, "end": 2, "label": "fight"}, {"start": 5, "end": 7}]', ("fight", None)),
        ('```json\n{"start_time": 1, "end_time": 2, "event": "fire"}\n```', ("fire",)),
        ('<glue>{"fight": [[1, 2], [5, 7]], "fire": [9, 12]}</glue>', ("fight", "fight", "fire")),
        ('[{"start": 1, "end": 2}]', None),
        ("<glue>[1, 2]</glue>", None),
    ],
)
def test_classes_of_spans_are_read_from_objects(text, labels):
    assert parse(text).span_labels == labels


times = st.integers(0, 10**6).map(lambda n: n / 100)
spans = st.lists(st.tuples(times, times).filter(lambda s: s[0] < s[1]), min_size=1, max_size=8)


@given(spans)
def test_several_spans_that_are_rendered_are_parsed_back(several):
    text = render(Answer("x", "Anomaly", tuple(several)), "temporal")
    for mode in ("strict", "lenient"):
        found = parse(text, mode)
        assert found.spans == tuple(several) and found.defects == ()
    assert found.span == found.spans[0]
    shown = json.dumps([{"start": a, "end": b} for a, b in several])
    assert parse(f"<glue>{shown}</glue>").spans == tuple(several)


PARTS = """[ ] ( ) { } < > , ; : . - ~ % ' ″ 1 2.5 0:07 00:00:01,5 9999999999999999999 s ms min frames 秒 第
三 to from between and or start end first last half whole video not none anomaly normal until lasts for answer
nan -1 到 부터 से -->"""


@given(st.lists(st.sampled_from([*PARTS.split(), "\n"]), max_size=40), st.sampled_from(["", " "]))
@settings(max_examples=300)
def test_whatever_is_written_is_read_or_left(words, gap):
    text = gap.join(words)
    for content in (text, f"<glue>{text}</glue>"):
        for timing in (None, TWENTY):
            found = parse(content, timing=timing).spans
            assert found in (None, NONE) or all(a <= 1e9 and b <= 1e9 for a, b in found)


NASTY = "[[ 1, 三 -_ 3-7 [1,2], 1min 1,1 none 1- start_1_end_ not_1-2_ answer_ 1'20\"- 1,000_ 1_000 aB 3f-"


@pytest.mark.slow
@pytest.mark.parametrize("part", NASTY.split())
def test_a_mebibyte_of_words_about_time_is_read_in_one_pass(part):
    text = part.replace("_", " ") * (MAX_TEXT // len(part))
    for content in (text, f"<answer>{text}</answer>", f"<glue>{text}</glue>"):
        found = parse(content, timing=TWENTY)
        assert found.spans is None or found.spans == NONE or len(found.spans) <= 1000


@pytest.mark.parametrize(
    "text, spans",
    [
        ("The video runs from 0 to 20 seconds. The anomaly occurs from 3 to 7.5 s.", ((3.0, 7.5),)),
        ("Clip duration: 0.0 - 20.0 s\nAnomaly: 3.0 - 7.5 s", ((3.0, 7.5),)),
        ("The 20-second video (0:00-0:20) shows a fall at 0:03-0:07.", ((3.0, 7.0),)),
        ("From 0 to 20 seconds.", ((0.0, 20.0),)),
        ("The fall is at 0-4 s and 12-20 s.", ((0.0, 4.0), (12.0, 20.0))),
        (
            '[{"start": 0, "end": 3, "label": "normal"}, {"start": 3, "end": 7.5, "label": "fall"}]',
            ((3.0, 7.5),),
        ),
        ('[{"start": 0, "end": 20, "label": "Normal"}]', "none"),
    ],
)
def test_what_is_said_of_the_video_or_of_its_normal_parts_is_no_anomaly(text, spans):
    assert parse(text, timing=Timing(20.0, 10.0)).spans == spans
