"""A table of one's own: every kind of file, of column and of cell that people have, and what is refused."""

import codecs
import json
import os
import shutil
import unicodedata

import pyarrow
import pyarrow.parquet
import pytest
from clip_files import RATE, write_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import check, load
from tvad.data.table import cells, columns, make, rows, times
from tvad.data.table.clips import Clips
from tvad.data.table.columns import Column

HEAD = "video,is_anomaly,start,end,question,A,B,C,answer,note\n"
ROWS = (
    'cam 1.mp4,yes,3.0,5.5,"What happens, and\nwhere?",a light,a fire,,A,x\n'
    "cam 2.mp4,no,,,What happens?,a light,a fire,nothing,C,é\n"
    "cam 1.mp4,yes,3.0,5.5,Who?,a man,a dog,nobody,nobody,x\n"
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of 8 s in folders, with suffixes in both cases."""
    folder = tmp_path_factory.mktemp("table") / "clips"
    first = write_clip(folder / "cam 1.mp4")
    for name in ("cam 2.mp4", "cam 3.MP4", "north/gate.mp4", "south/gate.mp4", "north/door.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        os.link(first, folder / name)
    os.link(first, folder / (unicodedata.normalize("NFD", "café") + ".mp4"))
    write_clip(folder / "cam 7.avi", "mpeg4")
    (folder / "cam 2.csv").write_text("no video")
    (folder / "._cam 1.mp4").write_text("no video either")
    (folder / "broken.mp4").write_text("text")
    return folder


@pytest.fixture
def read(clips, tmp_path, capsys):
    """Runs the command on a table's content: (exit status, samples by id, what was printed, refusals)."""

    def run(content, *options, name="my.csv", out="out", folder=clips):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        command = ["data", "table", str(file), "--videos", str(folder), "--out", str(tmp_path / out)]
        status = guard(main, [*command, *options])
        said = capsys.readouterr()
        found = {}
        if status in (0, 1) and "--dry" not in options:
            assert not check(tmp_path / out)
            found = {sample.id: sample for sample in load(tmp_path / out)}
        return status, found, said.out, said.err.splitlines()

    return run


def plain(samples):
    return {name: (s.label, s.spans, s.questions) for name, s in samples.items()}


def as_rows():
    head, *lines = list(rows.csv.reader((HEAD + ROWS).splitlines(True)))
    return [dict(zip(head, line, strict=True)) for line in lines]


def parquet(path, entries):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(entries), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "make_content"),
    [
        ("comma.csv", lambda text, path: text.encode()),
        ("mark.csv", lambda text, path: codecs.BOM_UTF8 + text.encode()),
        ("wide.csv", lambda text, path: text.encode("utf-16")),
        ("wide-no-mark.csv", lambda text, path: text.encode("utf-16-le")),
        ("wide-big.csv", lambda text, path: codecs.BOM_UTF16_BE + text.encode("utf-16-be")),
        ("windows.csv", lambda text, path: text.replace("\n", "\r\n").encode()),
        ("old-mac.csv", lambda text, path: text.replace("\n", "\r").encode()),
        ("semicolons.csv", lambda text, path: _separated(";").encode()),
        ("tabs.tsv", lambda text, path: _separated("\t").encode()),
        ("bars.txt", lambda text, path: _separated("|").encode()),
        ("said.csv", lambda text, path: ("sep=;\n" + _separated(";")).encode()),
        ("lines.jsonl", lambda text, path: "\n".join(map(json.dumps, as_rows())).encode()),
        ("list.json", lambda text, path: json.dumps(as_rows(), indent=1).encode()),
        ("table.parquet", lambda text, path: parquet(path, as_rows())),
        ("no-suffix", lambda text, path: parquet(path, as_rows())),
    ],
)
def test_every_kind_of_file_is_read_alike(read, tmp_path, name, make_content):
    status, samples, out, err = read(make_content(HEAD + ROWS, tmp_path / "made"), name=name)
    assert status == 0 and not err and "3 rows" in out
    first, second = samples["cam 1"], samples["cam 2"]
    assert (first.label, first.spans, second.label, second.spans) == (
        "anomalous",
        ((3.0, 5.5),),
        "normal",
        (),
    )
    mcq = [q for s in (first, second) for q in s.questions if q.kind == "mcq"]
    assert [(" ".join(q.text.split()), len(q.options), q.answer) for q in mcq] == [
        ("What happens, and where?", 2, "A"),
        ("Who?", 3, "C"),
        ("What happens?", 3, "C"),
    ]
    assert [q.kind for q in first.questions] == ["mcq", "mcq", "temporal", "judgement"]


def _separated(sign):
    found = rows.io.StringIO()
    writer = rows.csv.writer(found, delimiter=sign)
    writer.writerows([list(as_rows()[0]), *([*row.values()] for row in as_rows())])
    return found.getvalue()


def test_an_encoding_is_never_guessed(read):
    content = (HEAD + ROWS).encode("cp1252")
    status, _, _, err = read(content)
    assert status == 2 and "byte 0xE9 in line 4" in err[0] and "--encoding cp1252" in err[0]
    status, samples, out, _ = read(content, "--encoding", "cp1252")
    assert status == 0 and len(samples) == 2 and "cp1252" in out
    assert read(content, "--encoding", "klingon", out="k")[0] == 2
    assert read(content, "--encoding", "zlib", out="k")[0] == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\xd0\xcf\x11\xe0", "workbook"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"PAR1 but not", "not a Parquet file"),
        (b"video,is_anomaly\n", "has no rows"),
        (b"video,video,label\na,b,c\n", "'video' appears twice"),
        (b"video,label\n\0cam 1,yes\n", "zero character in line 2"),
        (b"\n\n", "is empty"),
        (b"[{}, 1", "not JSON"),
        (b'[{"video": "cam 1"', "not JSON"),
        (b'{"video": \n', "no row is a JSON object"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(read, content, words):
    status, _, _, err = read(content)
    assert status == 2 and len(err) == 1 and words in err[0] and "my.csv" in err[0]


def test_files_have_bounds(read, monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "MOST_FILE", 100)
    assert "at most 100" in read(HEAD + ROWS)[3][0]
    big = parquet(tmp_path / "x", [{"video": "cam 1", "label": "yes", "note": "x" * 2000}] * 400)
    monkeypatch.setattr(rows, "MOST_FILE", len(big) + 1)
    assert "unpacked" in read(big)[3][0]
    monkeypatch.setattr(rows, "MOST_FILE", 1 << 20)
    monkeypatch.setattr(rows, "MOST_ROWS", 2)
    assert "more than 2 rows" in read(HEAD + ROWS)[3][0]


@pytest.mark.parametrize(
    ("head", "field"),
    [
        ("Video Name", "video"),
        ("FILE_PATH", "video"),
        ("clipName", "video"),
        ("q", "question"),
        ("Correct Option", "answer"),
        ("answer_idx", "answer"),
        ("isAnomaly", "label"),
        ("Is Abnormal?", "label"),
        ("Anomaly Class", "category"),
        ("class_name", "category"),
        ("Begin", "start"),
        ("start_time_ms", "start"),
        ("End (s)", "end"),
        ("last_frame", "end"),
        ("Segments", "spans"),
        ("caption", "description"),
        ("Chain of Thought", "rationale"),
        ("Key-Object", "key_object"),
        ("BBox xywh px", "box"),
        ("bbox frame", "box_time"),
        ("subset", "split"),
    ],
)
def test_columns_are_found_by_name(head, field):
    assert list(columns.by_name([head, "something else"], {})) == [field]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["A", "B", "C"], ["A", "B", "C"]),
        (["option 1", "Option_2", "option3"], ["option 1", "Option_2", "option3"]),
        (["a0", "a1", "a2", "a3", "a4"], ["a0", "a1", "a2", "a3", "a4"]),
        (["choice_b", "choice_a"], ["choice_a", "choice_b"]),
        (["B", "C"], []),
    ],
)
def test_columns_of_options_are_found(names, expected):
    found = columns.by_name(["video", *names], {}).get("options", ())
    assert [column.name for column in found] == expected


@pytest.mark.parametrize(
    ("text", "comma", "expected"),
    [
        ("3-7; 12-15", False, [(3, 7), (12, 15)]),
        ("3-7,12-15", False, [(3, 7), (12, 15)]),
        ("3 – 7", False, [(3, 7)]),
        ("3 to 7", False, [(3, 7)]),
        ("[[3, 7], [12, 15]]", False, [(3, 7), (12, 15)]),
        ("[3, 7], [12, 15]", False, [(3, 7), (12, 15)]),
        ("(3, 7)", False, [(3, 7)]),
        ("0:03-0:07", False, [(3, 7)]),
        ("00:00:03,000 --> 00:00:07,500", False, [(3, 7.5)]),
        ("3s-7s", False, [(3, 7)]),
        ("3000 ms - 7000 ms", False, [(3, 7)]),
        ("1m05s-1m10s", False, [(65, 70)]),
        ("3 7", False, [(3, 7)]),
        ("165 240 -1 -1", False, [(165, 240)]),
        ('[{"start": 3, "end": "0:07"}]', False, [(3, 7)]),
        ("['3-7', '12-15']", False, [(3, 7), (12, 15)]),
        ("3,5-7,0", True, [(3.5, 7)]),
        ([[3, 7]], False, [(3, 7)]),
        ([3, 7, 12, 15], False, [(3, 7), (12, 15)]),
        ("-1,-1", False, []),
        ("none", False, "none"),
        ([], False, "none"),
        ("", False, None),
        ("nan", False, None),
        (None, False, None),
    ],
)
def test_spans_as_people_write_them(text, comma, expected):
    found = times.spans_of(text, Column("spans"), comma)
    pairs = [(a.value, b.value) for a, b in found] if isinstance(found, list) else found
    assert pairs == expected


@pytest.mark.parametrize(
    ("text", "unit", "comma"),
    [
        ("3-", None, False),
        ("3-7-9", None, False),
        ("7", None, False),
        ("3,5-7,0", None, False),
        ("3,7,12,15", None, True),
        ("1:75-2:00", None, False),
        ("0.5 -1", None, False),
        ("inf-3", None, False),
        ("0:03-0:07", "ms", False),
        ("3 s-7 s", "frame", False),
        ("3.5-7", "frame", False),
        ([[3, 7, 9]], None, False),
        ([{"start": 3, "end": 7, "label": "x"}], None, False),
        ("the whole video", None, False),
    ],
)
def test_spans_that_say_two_things_or_none_are_refused(text, unit, comma):
    with pytest.raises(ValueError, match="expected"):
        times.spans_of(text, Column("spans", unit=unit), comma)


@pytest.mark.parametrize(
    ("head", "start", "end", "expected"),
    [
        ("start,end", "3", "5.5", (3.0, 5.5)),
        ("start,end", "0:03", "00:00:05.5", (3.0, 5.5)),
        ("start_ms,end_ms", "3000", "5500", (3.0, 5.5)),
        ("start (s),end (s)", "3 s", "5.5", (3.0, 5.5)),
        ("start frame,end frame", "30", "55", (3.0, 5.5)),
        ("first_frame,last_frame", "30", "54", (3.0, 5.5)),
        ("start (min),end (min)", "0.05", "0.1", (3.0, 6.0)),
        ("start %,end %", "25", "75", (2.0, 6.0)),
        ("start (mm:ss),end (mm:ss)", "0:03", "0:05", (3.0, 5.0)),
        ("start,event duration", "3", "2.5", (3.0, 5.5)),
    ],
)
def test_a_unit_is_never_ignored(read, head, start, end, expected):
    status, samples, _, _ = read(f"video,{head}\ncam 1,{start},{end}\n")
    assert status == 0 and samples["cam 1"].spans == (pytest.approx(expected),)
    assert samples["cam 1"].label == "anomalous"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("video,start_ms,end\ncam 1,3000,5500\n", "'end' no unit"),
        ("video,start\ncam 1,3\n", "no column for end"),
        ("video,strat,end\ncam 1,3,5\n", "'strat'"),
        ("video,start,end,spans\ncam 1,3,5,3-5\n", "both say when"),
        ("video,question,A,B\ncam 1,Who?,a,b\n", "no column for answer"),
        ("video,question,A,B,anwser\ncam 1,Who?,a,b,A\n", "'anwser'"),
        ("vidoe,label\ncam 1,yes\n", '{video: "vidoe"}'),
        ("Datei,label\ncam 1,yes\n", '{video: "Datei"}'),
        ("cam 1.mp4,yes\ncam 2.mp4,no\n", "expected the columns' names there"),
        ("file,clip,label\ncam 1,cam 1,yes\n", "both look like video"),
        ("video,is_anomoly\ncam 1,yes\n", "nearly 'is anomaly'"),
        ("video,note\ncam 1,x\n", "says anything"),
        ("video,label\nnowhere,yes\n", "no row names a file"),
        ("id,Datei,label\n1,cam 1,yes\n", '{video: "Datei"}'),
        ("video,question,options,answer\ncam 1,Who?,a|b,1\n", "first: 0"),
        ("video,bbox,box time\ncam 1,1 2 3 4,3\n", "order: xyxy"),
        ("video,options,A,B,question,answer\ncam 1,a|b,a,b,Who?,A\n", "both look like options"),
        ("video,label,start1,start2,end1\ncam 1,yes,1,2,3\n", "2 columns of start, 1 of end"),
    ],
)
def test_a_column_that_is_missing_or_undecided_is_named_with_what_to_say(read, content, words):
    status, _, _, err = read(content)
    assert status == 2 and len(err) == 1 and words in err[0] and "my.csv" in err[0]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{question: Farge}", "did you mean 'Frage'"),
        ("{qestion: Frage}", "did you mean 'question'"),
        ("{start: {column: Frage, unit: days}}", "unit is 'days'; expected s, ms"),
        ("{start: {column: Frage, units: s}}", "did you mean 'unit'"),
        ("{question: [Frage, A]}", "expected one column"),
        ("[question]", "no such configuration file"),
        ("{question: yes}", "put it in quotes"),
        ("{answer: {column: Antwort, first: 2}}", "expected 0 or 1"),
    ],
)
def test_a_slip_in_columns_is_named_with_the_nearest(read, said, words):
    status, _, _, err = read("video,Frage,Antwort,A,B\ncam 1,Wer?,A,x,y\n", "--columns", said)
    assert status == 2 and len(err) == 1 and words in err[0]


def test_columns_are_named_on_the_command_line_or_in_a_file(read, tmp_path):
    content = "Datei;Frage;Antwort;A;B;von;bis;label\ncam 1;Wer, da?;2;eins;zwei;3,5;5,25;nein\n"
    said = "{video: Datei, question: frage, answer: {column: Antwort, first: 1}, start: von"
    said += ", end: bis, label: null}"
    status, samples, out, _ = read(content, "--columns", said)
    assert status == 0 and samples["cam 1"].spans == ((3.5, 5.25),) and samples["cam 1"].label == "anomalous"
    assert samples["cam 1"].questions[0].answer == "B" and "unused         'label'" in out
    (tmp_path / "columns.yaml").write_text(said[1:-1].replace(", ", "\n").replace("Antwort\n", "Antwort, "))
    again = read(content, "--columns", str(tmp_path / "columns.yaml"), out="again")
    assert plain(again[1]) == plain(samples)


@pytest.mark.parametrize(
    ("given", "options", "first", "expected"),
    [
        ("B", "xyz", None, "B"),
        ("b)", "xyz", None, "B"),
        ("(C)", "xyz", None, "C"),
        ("Option B", "xyz", None, "B"),
        ("Ｂ", "xyz", None, "B"),
        ("y", "xyz", None, "B"),
        ("B. y", "xyz", None, "B"),
        ("2", "xyz", 1, "B"),
        (0, "xyz", 0, "A"),
        ("2", "123", None, "B"),
        ("J", "0123456789", None, "J"),
    ],
)
def test_the_right_option_as_people_write_it(given, options, first, expected):
    assert cells.letter_of(given, list(options), first) == expected


@pytest.mark.parametrize(
    ("given", "options", "first"),
    [
        ("D", "xyz", None),
        ("B. z", "xyz", None),
        ("A, C", "xyz", None),
        ("2", "xyz", None),
        ("3", "xyz", 0),
        ("0", "xyz", 1),
        ("", "xyz", None),
        ("A", "BAC", None),
        ("x", "xxy", None),
    ],
)
def test_an_answer_that_names_no_option_or_two_is_refused(given, options, first):
    with pytest.raises(ValueError, match=r"expected|but option"):
        cells.letter_of(given, list(options), first)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a|b|c"], ["a", "b", "c"]),
        (['["a", "b"]'], ["a", "b"]),
        (["['a', 'b']"], ["a", "b"]),
        (['{"A": "x", "B": "y"}'], ["x", "y"]),
        (["A. x\nB. y\nC. z"], ["x", "y", "z"]),
        (["x", "y", "", ""], ["x", "y"]),
        (["-1", "0", "None"], ["-1", "0", "None"]),
        ([["x", "y"]], ["x", "y"]),
        (["|".join("0123456789")], list("0123456789")),
        (["", ""], None),
    ],
)
def test_options_as_people_write_them(values, expected):
    assert cells.options_of(values) == expected


@pytest.mark.parametrize(
    "values", [["a", "", "c"], ["a||c"], ["x"], ["|".join("0123456789x")], [["a", None, "c"]]]
)
def test_options_with_a_gap_or_too_few_or_too_many_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        cells.options_of(values)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("yes", True),
        ("TRUE", True),
        ("1.0", True),
        ("Anomalous", True),
        ("abnormal ", True),
        ("ja", True),
        ("异常", True),
        ("no", False),
        ("0", False),
        ("Normal", False),
        ("non-anomalous", False),
        ("não", False),
        ("정상", False),
        (True, True),
        (0, False),
        ("", None),
        ("?", None),
        ("unknown", None),
        ("-1", None),
        (float("nan"), None),
    ],
)
def test_labels_as_people_write_them(cell, expected):
    assert cells.verdict(cell) is expected


def test_an_unknown_label_is_never_normal(read):
    content = "video,is_anomaly,start,end\ncam 1,yes,,\ncam 2,,,\ncam 3,unknown,-1,nan\ncam 7,no,0,0\n"
    status, samples, out, _ = read(content)
    assert status == 0
    assert {name: (s.label, s.spans) for name, s in samples.items()} == {
        "cam 1": ("anomalous", None),
        "cam 2": (None, None),
        "cam 3": (None, None),
        "cam 7": ("normal", ()),
    }
    assert "label not known 2" in out and "2 without a label, 1 anomalous without a span" in out
    assert samples["cam 2"].questions == ()


def test_a_span_that_says_none_is_no_empty_one(read):
    status, samples, _, _ = read("video,spans\ncam 1,3-5\ncam 2,none\ncam 3,\n")
    assert status == 0 and [s.label for s in samples.values()] == ["anomalous", "normal", None]
    # Beside labels that are empty it says the same.
    _, samples, _, _ = read("video,spans,label\ncam 1,3-5,yes\ncam 2,none,\n", out="b")
    assert (samples["cam 2"].label, samples["cam 2"].spans) == ("normal", ())


@pytest.mark.parametrize(
    ("content", "labels", "categories"),
    [
        ("class\nFighting\nnormal\n\n", ["anomalous", "normal", None], [("Fighting",), ("Normal",), ()]),
        ("anomaly type\nFire|Smoke\n\n\n", ["anomalous", None, None], [("Fire", "Smoke"), (), ()]),
        ("class\nFighting\nwalking\n\n", [None, None, None], [("Fighting",), ("walking",), ()]),
        ("label\nanomalous\nnormal\n?\n", ["anomalous", "normal", None], [(), (), ()]),
        (
            "label\nFighting\nNormal\nRobbery\n",
            ["anomalous", "normal", "anomalous"],
            [("Fighting",), ("Normal",), ("Robbery",)],
        ),
        ("class\nabnormal\nnormal\nnormal\n", ["anomalous", "normal", "normal"], [(), (), ()]),
        ("is_normal\nyes\nno\n\n", ["normal", "anomalous", None], [(), (), ()]),
    ],
)
def test_labels_and_classes_by_what_their_column_says(read, content, labels, categories):
    head, *cells_ = content.split("\n")
    lines = [f"cam {n}.mp4,{cell}" for n, cell in zip((1, 2, 3), cells_, strict=False)]
    status, samples, _, _ = read("\n".join([f"video,{head}", *lines]).replace("cam 3.mp4", "cam 3.MP4"))
    assert status == 0 and [s.label for s in samples.values()] == labels
    assert [s.categories for s in samples.values()] == categories


def test_rows_of_one_video_become_one_sample_with_a_class_a_span(read):
    content = (
        "video,class,start,end,question,answer,options,description\n"
        "cam 1,Fighting,3,5,Who?,a man,,A man comes.\n"
        "cam 1.mp4,Robbery,6,7,What?,b,a|b,He takes a bag.\n"
        "clips/cam 1.mp4,Fighting,3,5,Is it night?,no,,\n"
        "cam 2,Normal,,,,,,\n"
    )
    status, samples, out, _ = read(content)
    sample = samples["cam 1"]
    assert status == 0 and sample.spans == ((3.0, 5.0), (6.0, 7.0))
    assert sample.categories == sample.span_categories == ("Fighting", "Robbery")
    assert sample.dialogue == (("Who?", "a man"),) and sample.description == "A man comes.\nHe takes a bag."
    kinds = [(q.kind, q.answer) for q in sample.questions]
    assert kinds == [
        *(
            ("mcq", "B"),
            ("mcq", "B"),
            ("temporal", "Anomaly"),
            ("classification", "Fighting"),
            ("judgement", "Yes"),
        )
    ]
    assert sample.questions[1].options == ("Yes", "No") and sample.questions[2].spans == sample.spans
    assert "mcq 2, temporal 2, classification 2, judgement 2, dialogue 1" in out


def test_a_box_becomes_a_question(read):
    content = 'video,label,bbox xywh px,box time,key object\ncam 1,yes,"[10, 10, 30, 20]",0:04,lamp\n'
    status, samples, _, _ = read(content)
    (box,) = [q for q in samples["cam 1"].questions if q.kind == "spatial"]
    assert status == 0 and box.answer == "lamp" and "4.0 s" in box.text
    assert box.boxes[0].xyxy == pytest.approx((156.25, 208.333, 625, 625))
    status, _, _, err = read(content.replace("30, 20", "90, 20"), out="b")
    assert status == 2 and "inside 64 x 48" in err[-1]


def test_what_is_refused_is_named_by_row_and_the_rest_is_built(read):
    content = (
        "video,is_anomaly,start,end,question,A,B,answer\n"
        'cam 1,yes,3,5,"What\nhappens?",x,y,A\n'
        "cam 2,yes,3,0:0x,Who?,x,y,A\n"
        "cam 3,yes,3,5,Who?,x,y,E\n"
        "cam 9.mp4,no,,,Who?,x,y,A\n"
        "north/door,maybe,,,Who?,x,y,A\n"
        "cam 7,no,3,5,Who?,x,y,A\n"
        "gate.mp4,no,,,Who?,x,y,A\n"
        "broken,no,,,Who?,x,y,A\n"
        "\n"
        "café.mp4,no,,,Who?,x,y\n"
        "south/gate,no,,,Who?,x,y,B\n"
    )
    status, samples, out, err = read(content)
    assert (
        status == 1 and set(samples) == {"cam 1", "gate"} and "2 clips in" in out and "8 rows refused" in out
    )
    assert [line.partition(": ")[0] for line in err] == [
        "refused my.csv row 3 (line 4)",
        "refused my.csv row 4 (line 5)",
        "refused my.csv row 5 (line 6)",
        "refused my.csv row 6 (line 7)",
        "refused my.csv row 7 (line 8)",
        "refused my.csv row 8 (line 9)",
        "refused my.csv row 11 (line 12)",
        "refused my.csv row 9 (line 10)",
    ]
    for line, words in zip(
        err,
        [
            "'0:0x'; expected seconds",
            "'E', which names no",
            "'cam 9.mp4': no such file",
            "'maybe'; expected yes",
            "labelled normal, but has a span",
            "2 files are called so",
            "has 7 fields; expected 8",
            "cannot be decoded",
        ],
        strict=True,
    ):
        assert words in line


def test_rows_that_contradict_each_other_are_refused_by_row(read):
    content = "video,is_anomaly,class\ncam 1,yes,\ncam 2,no,\ncam 1,no,\ncam 3,yes,Fire\ncam 3,yes,Normal\n"
    status, samples, _, err = read(content)
    assert status == 1 and list(samples) == ["cam 2"]
    assert [line.split(":")[0][-5:] for line in err] == ["row 2", "row 4", "row 5", "row 6"]
    assert "anomalous in row 2, normal in row 4" in err[0] and "the label says anomalous" in err[3]


def test_a_refused_row_takes_its_video_along_only_where_it_says_more_of_its_truth(read):
    head = "video,start,end,question,A,B,answer\n"
    same = "cam 1,3,5,Who?,x,y,E\ncam 1,3,5,What?,x,y,A\n"
    status, samples, _, err = read(head + same)
    assert status == 1 and len(samples["cam 1"].questions) == 3 and len(err) == 1
    more = "cam 1,6,7,Who?,x,y,E\ncam 1,3,5,What?,x,y,A\ncam 2,,,What?,x,y,B\n"
    status, samples, _, err = read(head + more, out="b")
    assert status == 1 and list(samples) == ["cam 2"] and len(err) == 2
    unread = "cam 1,6,?7,Who?,x,y,A\ncam 1,3,5,What?,x,y,A\ncam 2,,,What?,x,y,B\n"
    assert list(read(head + unread, out="c")[1]) == ["cam 2"]


def test_spans_past_the_end_are_cut_where_rounded_and_refused_where_not(read):
    content = "video,start,end\ncam 1,3,9\ncam 2,3,9.5\ncam 3,8.2,8.7\ncam 7,3,7\n"
    status, samples, _, err = read(content)
    assert status == 1 and samples["cam 1"].spans == ((3.0, 8.0),) and set(samples) == {"cam 1", "cam 7"}
    assert "row 3" in err[0] and "9.5" in err[0] and "8.00 s" in err[0] and "start_ms" in err[0]
    assert "row 4" in err[1] and err[2] == "cut 'cam 1.mp4': end 9 s to 8 s"


def test_names_find_their_file_or_are_refused(clips, tmp_path):
    files = Clips(clips)
    for cell, file in {
        "cam 1.mp4": "cam 1.mp4",
        "cam 1": "cam 1.mp4",
        "CAM 3.mp4": "cam 3.MP4",
        "cam 7.avi": "cam 7.avi",
        "cam 2": "cam 2.mp4",
        "door": "north/door.mp4",
        "north\\gate.mp4": "north/gate.mp4",
        "./south/gate": "south/gate.mp4",
        "clips/cam 1.mp4": "cam 1.mp4",
        str(clips / "cam 1.mp4"): "cam 1.mp4",
        "café.mp4": unicodedata.normalize("NFD", "café") + ".mp4",
    }.items():
        assert files.find(cell) == file
    for cell, words in {
        "gate": "2 files are called so",
        "../clips/cam 1.mp4": "leaves its folder",
        "/etc/passwd": "an absolute path",
        "C:\\clips\\cam 1.mp4": "an absolute path",
        "https://example.org/cam 1.mp4": "an address",
        "file:///etc/passwd": "an address",
        "cam 7.mp4": "there is 'cam 7.avi'",
        "cam 2.txt": "no such file",
        "north": "it is a folder",
        "x" * 5000: "expected a file's name",
        "x" * 600: "no such file",
    }.items():
        with pytest.raises(ValueError, match=words):
            files.find(cell)
    own = tmp_path / "own"
    own.mkdir()
    (own / "out.mp4").symlink_to(clips / "cam 1.mp4")
    (own / "far").symlink_to(clips)
    with pytest.raises(ValueError, match="a link that leaves"):
        Clips(own).find("out.mp4")
    with pytest.raises(ValueError, match="no such file"):
        Clips(own).find("far/cam 1.mp4")
    with pytest.raises(InputError, match="no such folder"):
        Clips(own / "nowhere")


def test_files_of_one_name_get_ids_of_their_own():
    files = ["a/x.mp4", "b/x.mp4", "y.mp4", "y.avi", "q#1.mp4", "Z.mp4", "z/z.mp4", "a_x.mp4"]
    found = make.ids_of(files)
    assert len({name.casefold() for name in found.values()}) == len(files)
    assert found["a/x.mp4"] == "a/x.mp4".replace("/", "_") and found["q#1.mp4"] == "q_1"


@pytest.mark.parametrize(
    "cell",
    ["x" * 1_000_000, "=HYPERLINK(1)", "#REF!", "a\x1b[2Jb", '"' + "[" * 50_000 + '"', "../" * 5000],
    ids=["long", "formula", "error", "control", "nested", "dots"],
)
@pytest.mark.parametrize(
    "column", ["video", "is_anomaly", "start", "spans", "question", "options", "answer", "class"]
)
def test_hostile_cells_are_refused_by_row(read, cell, column):
    good = {"video": "cam 1", "is_anomaly": "yes", "question": "Who?", "options": "a|b", "answer": "A"}
    names = list(good | {column: ""}) if column != "start" else [*good, "start", "end"]
    lines = [",".join(good.get(name, "") for name in names)]
    lines.append(",".join(cell if name == column else good.get(name, "").replace("1", "2") for name in names))
    status, samples, _, err = read("\n".join([",".join(names), *lines]) + "\n")
    assert next(iter(samples)) == "cam 1" and all(len(line) < 400 for line in err)
    # as the words of a question, brackets and dots are harmless
    assert status == 1 or (column in ("question", "options", "class") and cell[:1] in '".')


def test_a_quote_that_is_never_closed_is_named_where_it_opens(read):
    status, samples, _, err = read('video,label\ncam 1,yes\ncam 2,"no\ncam 3,no\n')
    assert status == 1 and list(samples) == ["cam 1"] and "row 3" in err[0] and "never closed" in err[0]
    status, samples, _, err = read('video,label,note\ncam 1,yes,"a "b" c"\ncam 2,no,x\n', out="b")
    assert status == 1 and list(samples) == ["cam 2"] and "row 2" in err[0]


def test_what_a_program_makes_of_whole_numbers_and_columns_that_are_of_no_use(read, tmp_path):
    entries = [
        {
            "video": "cam 1",
            "start": 3.0,
            "end": 5.5,
            "timestamp": "2024-01-01 12:00",
            "q": "How many?",
            "options": [1.0, 2.0],
            "answer": 2.0,
        },
        {"video": "cam 2", "start": None, "end": float("nan"), "timestamp": None},
    ]
    status, samples, out, _ = read(parquet(tmp_path / "made", entries))
    assert status == 0 and samples["cam 1"].spans == ((3.0, 5.5),) and samples["cam 2"].spans is None
    assert samples["cam 1"].questions[0].options == ("1", "2") and samples["cam 1"].questions[0].answer == "B"
    assert "unused         'timestamp'" in out and "videos that no row names: 7; 'broken.mp4'" in out


def test_a_dry_look_builds_nothing(read, tmp_path):
    status, _, out, _ = read(HEAD + ROWS, "--dry")
    assert status == 0 and "start          'start' (seconds" in out and not (tmp_path / "out").exists()
    assert "unused         'note'" in out


def test_a_killed_build_goes_on_and_another_table_is_refused(read, tmp_path, monkeypatch):
    whole = read(HEAD + ROWS, out="whole")[1]
    real, seen = make.described, []

    def dies(path, name):
        seen.append(path.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(path, name)

    monkeypatch.setattr(make, "described", dies)
    assert read(HEAD + ROWS)[0] == 130
    assert not (tmp_path / "out/samples.jsonl").exists()
    status, _, _, err = read(HEAD + ROWS.replace("no,,", "yes,1,2"))
    assert status == 2 and "another table" in err[0]
    status, samples, _, _ = read(HEAD + ROWS)
    assert status == 0 and plain(samples) == plain(whole) and seen == ["cam 1.mp4", "cam 2.mp4", "cam 2.mp4"]
    status, _, _, err = read(HEAD + ROWS)
    assert status == 2 and "exists" in err[0]


def test_nothing_stays_of_a_table_without_a_readable_video(read, tmp_path):
    status, _, _, err = read("video,label\nbroken.mp4,yes\n")
    assert status == 2 and "broken.mp4" in err[-1]
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert read("video,label\ncam 1.mp4,yes\n")[0] == 0


def test_videos_that_lie_in_the_data_set_already_stay_there(read, clips, tmp_path):
    folder = tmp_path / "out/videos"
    folder.mkdir(parents=True)
    shutil.copy(clips / "cam 1.mp4", folder)
    status, samples, _, _ = read("video,label\ncam 1,yes\n", folder=folder)
    assert (
        status == 0
        and [p.name for p in folder.iterdir()] == ["cam 1.mp4"]
        and samples["cam 1"].video.fps == RATE
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("is_anomaly\npresent\n", "'present'; expected yes or no"),
        ("has_anomaly\non\n", "'on'; expected yes or no"),
        ("is_abnormal\nhigh\n", "'high'; expected yes or no"),
        ("is_anomaly\nx\n", "'x'; expected yes or no"),
        ("anomaly\npresent\n", "expected"),
        ("start (us),end (us)\n3,5\n", "no unit that is known"),
        ("start_us,end_us\n3,5\n", "no unit that is known"),
        ("start (hh:mm),end (hh:mm)\n0:03,0:05\n", "no unit that is known"),
        ("start,end\n5,80%\n", "expected the unit in both"),
        ("spans\n3000 ms-7\n", "expected the unit behind both"),
        ("spans\n5-10; 20-30%\n", "expected the unit of every span"),
        ("spans\nframes 30 to 70; 9 to 12\n", "expected the unit of every span"),
        ("spans\n30-70 frames; 8-9\n", "expected the unit of every span"),
        ("spans,label\nnone,yes\n", "its span says that there is none"),
        ("anomaly class\n\"frozenset({'a', 'b'})\"\n", "expected names of classes"),
        ("anomaly class\n\"{'a', 'b'}\"\n", "expected names of classes"),
        ("anomaly class\n[nan]\n", "expected names of classes"),
        ("anomaly class\n\"['a' 'b', 'c']\"\n", "a comma between"),
        ("anomaly class\nno people\n", "expected Normal of a normal video"),
        ('anomaly class\n"Normal, Fighting"\n', "expected Normal alone"),
        ('label,bbox xyxy px,box time\nno,"1,2,30,20",4\n', "has a box"),
        ('start,end,bbox xyxy px,box time\n3,5,"1,2,30,20",7\n', "outside of the video's spans"),
        ("question,A,B,answer\nWho?,x,y,A\ncam 1,Who?,x,y,B\n", "asks the same as row 3"),
        ("question,A,C,answer\nWho?,x,y,A\n", "options with a gap"),
        ("question,A,B,answer\nWho?,,,A\n", "a letter, but there are no options"),
        ("question,answer\nWho?,A\n", "a letter, but there are no options"),
        (f"question,{','.join('ABCDEFGHIJK')},answer\nWho?,{','.join('abcdefghijk')},A\n", "are 11"),
        ("question,options,answer\nHow many?,2|3|4|5,3\n", "may be their numbers"),
        ("label\n0\ncam 2,1\ncam 3,4\n", "classes, it seems"),
        ("start,end,start2\n1,2,3\n", "2 columns of start, 1 of end"),
        ("start,end,start1,end2\n1,2,3,4\n", "goes with no end"),
        ("label,spans,spans.1\nyes,1-2,3-4\n", "one more spans"),
        ("label,split\nyes,train\ncam 1,yes,test\n", "split is 'train' in row 2, 'test' in row 3"),
        ("question,A,B,answer\nWho?,=1+1,y,B\n", "not a formula"),
        ("question,A,B,answer\n,,,\n", "nothing can be asked"),
        ("no_anomoly\nyes\n", "inverted: true"),
    ],
)
def test_what_would_be_wrong_in_silence_is_refused(read, content, words):
    head, rest = content.split("\n", 1)
    status, _, _, err = read(f"video,{head}\ncam 1,{rest}")
    assert status in (1, 2) and any(words in line for line in err), err


@pytest.mark.parametrize(
    ("head", "cells_", "labels"),
    [
        ("is normal", ["normal", "anomalous"], ["normal", "anomalous"]),
        ("normal", ["Normal", "no"], ["normal", "anomalous"]),
        ("no_anomaly", ["yes", "no"], ["normal", "anomalous"]),
        ("non_anomalous", ["1", "0"], ["normal", "anomalous"]),
        ("is_not_anomaly", ["true", "anomalous"], ["normal", "anomalous"]),
        ("is_anomaly", ["FALSCH", "WAHR"], ["normal", "anomalous"]),
        ("is_anomaly", ["FAUX", "VRAI"], ["normal", "anomalous"]),
        ("anomaly class", ["Normal_Videos_event", "Fire"], ["normal", "anomalous"]),
        ("anomaly class", ["no event", "Fire"], ["normal", "anomalous"]),
        ("anomaly class", ["nothing", "Fire"], ["normal", "anomalous"]),
        ("anomaly class", ["keine", "Fire"], ["normal", "anomalous"]),
    ],
)
def test_labels_by_words_and_by_columns_that_say_the_opposite(read, head, cells_, labels):
    status, samples, _, _ = read(
        f"video,{head}\n" + "".join(f"cam {n},{c}\n" for n, c in enumerate(cells_, 1))
    )
    assert status == 0 and [s.label for s in samples.values()] == labels
    assert all(s.categories in ((), ("Normal",), ("Fire",)) for s in samples.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5-80%", ((5, "percent"), (80, "percent"))),
        ("0.05-0.1 min", ((3, "s"), (6, "s"))),
        ("1-70 frames", ((1, "frame"), (70, "frame"))),
        ("frames 30-70", ((30, "frame"), (70, "frame"))),
        ("1 min - 70 s", ((60, "s"), (70, "s"))),
    ],
)
def test_a_unit_written_once_is_of_both_ends(text, expected):
    assert times.spans_of(text, Column("x")) == [(pytest.approx(expected[0]), pytest.approx(expected[1]))]


def test_a_unit_in_a_name_counts_where_columns_maps_it(read):
    said = "{start: von (ms), end: bis_ms}"
    _, samples, _, _ = read("video,von (ms),bis_ms\ncam 1,3000,5500\n", "--columns", said)
    assert samples["cam 1"].spans == ((3.0, 5.5),)
    status, _, _, err = read(
        "video,von (hh:mm),bis\ncam 1,3,5\n", "--columns", "{start: von (hh:mm), end: bis}"
    )
    assert status == 2 and "'hh:mm', which is no unit" in err[0]


def test_several_classes_of_a_cell(read):
    content = "video,anomaly class\ncam 1,\"['Fighting' 'Robbery']\"\ncam 2,Fire\ncam 3,Smoke\n"
    content += 'cam 7,"Fire, Smoke"\ndoor,"Fire, Theft"\n'
    status, samples, out, _ = read(content)
    assert status == 0 and samples["cam 1"].categories == ("Fighting", "Robbery")
    assert samples["cam 7"].categories == ("Fire", "Smoke")
    assert samples["door"].categories == ("Fire, Theft",) and "one class with a comma in its name: 1" in out


def test_further_pairs_of_start_and_end_are_further_spans(read):
    for n, (one, other) in enumerate([("start2", "end2"), ("start.1", "end.1")]):
        _, samples, _, _ = read(f"video,start,end,{one},{other}\ncam 1,1,2,3,4\n", out=f"o{n}")
        assert samples["cam 1"].spans == ((1.0, 2.0), (3.0, 4.0))


def test_boxes_of_one_moment_are_one_question_an_object(read):
    head = "video,label,bbox xyxy px,box time,key object\n"
    content = head + 'cam 1,yes,"1,2,30,20",4,lamp\ncam 1,yes,"5,6,20,30",4,lamp\n'
    content += 'cam 2,yes,"1,2,30,20",4,lamp\ncam 2,yes,"5,6,20,30",4,door\n'
    status, samples, _, _ = read(content)
    (one,) = [q for q in samples["cam 1"].questions if q.kind == "spatial"]
    two = [q for q in samples["cam 2"].questions if q.kind == "spatial"]
    assert status == 0 and len(one.boxes) == 2 and [q.answer for q in two] == ["lamp", "door"]
    assert len({q.text for q in two}) == 2 and all(q.answer in q.text for q in two)


def test_a_question_that_becomes_the_label_is_said(read):
    status, samples, out, _ = read("video,question,answer\ncam 1,Is there an anomaly?,yes\n")
    assert status == 0 and samples["cam 1"].label == "anomalous" and "is read as the label: 1" in out


def test_a_header_further_down_is_hinted_at(read):
    status, _, _, err = read("My clips,of,2024\nvideo,label,note\ncam 1,yes,x\n")
    assert status == 2 and "row 2 looks like one" in err[0]
    assert read('{"video": "cam 1", "question": "a\\ud800b?", "answer": "it"}\n', name="x.jsonl")[0] == 2


def test_a_folder_that_cannot_be_made_is_one_line(read, tmp_path):
    (tmp_path / "file").write_text("x")
    for n, out in enumerate(("file", "file/below")):
        status, _, _, err = read(HEAD + ROWS, out=out)
        assert (status, len(err)) == (2, 1) and "no folder can be made there" in err[0], n


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["x.csv", "x.jsonl", "x.json"]))
def test_no_bytes_break_the_reader_of_files(tmp_path_factory, data, name):
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(data)
    try:
        rows.read_rows(file, columns.is_known)
    except InputError as error:
        assert "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789:.,;-[]{}()|\"' smfT%ABnone\n\\", max_size=60) | st.text(max_size=40))
def test_no_text_breaks_the_reader_of_cells(text):
    for read in (
        lambda: times.spans_of(text, Column("x")),
        lambda: times.spans_of(text, Column("x", unit="ms"), True),
        lambda: times.time_of(text, Column("x", unit="frame")),
        lambda: cells.options_of([text]),
        lambda: cells.letter_of(text, ["a", "b"], None),
        lambda: cells.classes(text),
        lambda: cells.verdict(text),
        lambda: cells.numbers_of(text, 4),
        lambda: columns.by_name([text, "video"], {}),
    ):
        try:
            read()
        except ValueError as error:
            assert len(str(error)) < 500


@pytest.mark.parametrize(
    "head",
    ["Onset,Offset", "Onset (s),Offset (s)", "onset_sec,offset_sec", "onset1,offset1"],
)
def test_an_offset_beside_an_onset_is_an_end(read, head):
    status, samples, _, err = read(f"file,{head}\ncam 1.mp4,3,5.5\n")
    assert status == 0 and not err and samples["cam 1"].spans == ((3.0, 5.5),)


def test_an_offset_without_an_onset_is_no_end(read):
    """Of a clock, of frames: as before, it means nothing."""
    status, samples, _, _ = read("file,start,end,offset,UTC offset\ncam 1.mp4,3,5,7,+2\n")
    assert status == 0 and samples["cam 1"].spans == ((3.0, 5.0),)
    status, samples, _, _ = read("file,anomaly,offset\ncam 1.mp4,yes,7\n", out="alone")
    assert status == 0 and samples["cam 1"].spans is None
    status, _, _, (error,) = read("file,start,offset\ncam 1.mp4,3,7\n", out="none")
    assert status == 2 and "no column for end" in error
    status, _, _, (error,) = read("file,onset,end,offset\ncam 1.mp4,3,5,7\n", out="both")
    assert status == 2 and "both look like end" in error


def test_thousands_with_a_point_are_refused_where_the_comma_begins_decimals(read):
    status, _, _, err = read("file;start (ms);end (ms)\ncam 1.mp4;3.500;5.250\ncam 2.mp4;3500;5250\n")
    assert status == 1 and len(err) == 1 and "may be thousands" in err[0]


def test_frames_without_a_unit_are_no_seconds_where_some_of_them_fit(read):
    """UCF-Crime's list of frames with names of columns: the few that end before their video does are frames
    too."""
    rows = "cam 1.mp4,Abuse,2,6\ncam 2.mp4,Arson,150,420\ncam 7.avi,Fight,60,75\n"
    status, _, _, err = read("video,class,start,end\n" + rows)
    assert status == 2 and "of 3 videos with spans 2 end before theirs do" in err[0] and "frame" in err[0]
    status, samples, _, _ = read("video,class,start frame,end frame\ncam 1.mp4,Abuse,2,6\n")
    assert status == 0 and samples["cam 1"].spans[0][1] < 2
    status, samples, _, err = read(
        "video,start,end\ncam 1.mp4,2,6\ncam 2.mp4,2,6\ncam 7.avi,60,75\n", out="b"
    )
    assert status == 1 and set(samples) == {"cam 1", "cam 2"} and "ends after" in err[0]
