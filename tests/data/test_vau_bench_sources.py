"""Readers of MSAD and ECVA, and VAU-Bench's rows over their videos and UCF-Crime's, on miniatures of what is
distributed and on damaged copies of them."""

import csv
import os
import shutil

import pytest
from clip_files import write_clip
from openpyxl import Workbook

from tvad.__main__ import main
from tvad.common.cli import guard
from tvad.common.errors import InputError
from tvad.data import check, load, reclip, vau_bench, windows
from tvad.data.readers import ecva, msad
from tvad.data.reclip import parted, videos_of

ROWS = ["Assault_1,shop,40,11,40", "Traffic_accident_12,road,40,5,8"]
HEAD = "name,scenario,total frames,starting frame of anomaly,ending frame of anomaly"


@pytest.fixture
def dataset(tmp_path):
    """`MSAD Dataset`: two anomalous, two normal testing and one normal training videos, 4 s at 10 fps."""
    root = tmp_path / "MSAD Dataset"
    for name in (
        *("MSAD_anomaly_blur/Assault/Assault_1", "MSAD_anomaly_blur/Traffic_accident/Traffic_accident_12"),
        *("MSAD_normal_testing_blur/MSAD_normal_testing_1", "MSAD_normal_testing_blur/MSAD_normal_testing_2"),
        "MSAD_normal_training_blur/shop/shop_1",
    ):
        write_clip(root / f"MSAD_blur/{name}.mp4", frames=40)
    (root / "anomaly_annotation.csv").write_text("\ufeff" + "\r\n".join([HEAD, *ROWS]) + "\r\n")
    features = "/scratch/kf09/lz1278/MSAD-I3D-WS/MSAD-I3D-{}-testing/{}_i3d.npy"
    (tmp_path / "MSAD_I3D_WS_Test.list").write_text(
        "\n".join(
            [features.format("abnormal", "Assault_1"), features.format("normal", "MSAD_normal_testing_2")]
        )
    )
    return root


def test_msad_as_it_is_distributed(dataset, tmp_path):
    out = tmp_path / "out"
    assert main(["data", "msad", str(dataset), "--out", str(out)]) == 0
    assert not check(out)
    found = {s.id: s for s in load(out)}
    assert sorted(found) == [
        "Assault_1", "MSAD_normal_testing_1", "MSAD_normal_testing_2", "Traffic_accident_12"
    ]  # fmt: skip
    one = found["Assault_1"]
    assert one.spans == ((1.0, 4.0),) and one.categories == ("Assault",)
    assert one.conditions == {"scenario": "shop"} and found["MSAD_normal_testing_1"].label == "normal"
    assert found["Traffic_accident_12"].categories == ("Traffic_accident",)
    assert found["Traffic_accident_12"].spans == ((0.4, 0.8),)
    samples, problems = msad.read(dataset, "train", tmp_path / "train")
    assert [s.id for s in samples] == ["shop_1"] and samples[0].label == "normal" and not problems
    samples, problems = msad.read(dataset, "test", tmp_path / "listed", tmp_path / "MSAD_I3D_WS_Test.list")
    assert [s.id for s in samples] == ["Assault_1", "MSAD_normal_testing_2"] and not problems


def anomalous(root):
    return root / "MSAD_blur/MSAD_anomaly_blur/Assault/Assault_1.mp4"


def tabled(root, *rows):
    (root / "anomaly_annotation.csv").write_text("\n".join([HEAD, *rows]) + "\n")


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda r: tabled(r, "Assault_1,shop,41,11,41", ROWS[1]), "Assault_1.mp4: 40 frames, anomaly_ann"),
        (lambda r: anomalous(r).write_bytes(b"no video"), "Assault_1.mp4"),
        (lambda r: anomalous(r).write_bytes(anomalous(r).read_bytes()[:2000]), "Assault_1.mp4"),
        (lambda r: anomalous(r).unlink(), "Assault_1: in anomaly_annotation.csv, but not among the videos"),
        (lambda r: tabled(r, ROWS[1]), "anomalous by its folder, but anomaly_annotation.csv does not"),
        (
            lambda r: tabled(r, *ROWS, "../../Assault_2,shop,40,1,2"),
            "../../Assault_2: in anomaly_annotation.csv, but not among the videos",
        ),
        (lambda r: tabled(r, *ROWS, "shop_1,shop,40,1,2"), None),
    ],
)  # fmt: skip
def test_msad_damaged_is_one_line_and_the_others_stay(dataset, tmp_path, harm, said):
    harm(dataset)
    samples, problems = msad.read(dataset, "test", tmp_path / "out")
    assert {"Traffic_accident_12", "MSAD_normal_testing_1", "MSAD_normal_testing_2"} <= {
        s.id for s in samples
    }
    assert len(problems) == (said is not None)
    if said:
        assert said in str(problems[0]) and "\n" not in str(problems[0])


@pytest.mark.parametrize(
    "text, said",
    [
        (b"name,scenario\nx,y\n", "missing column 'total frames'"),
        (f"{HEAD}\nAssault_1,shop,40,a,40\n".encode(), "csv:2: expected whole numbers"),
        (f"{HEAD}\nAssault_1,shop,40,30,20\n".encode(), "csv:2: Assault_1: frames 30 to 20 of 40"),
        (f"{HEAD}\nAssault_1,shop,40,0,20\n".encode(), "frames 0 to 20 of 40"),
        (f"{HEAD}\nAssault_1,shop,40,1,41\n".encode(), "frames 1 to 41 of 40"),
        (f"{HEAD}\n{ROWS[0]}\n{ROWS[0]}\n".encode(), "csv:3: Assault_1 is there twice"),
        (f"{HEAD}\n".encode(), "no video in this table"),
        (f"{HEAD}\nAssault_1,caf\xe9,40,1,4\n".encode("latin-1"), "not a UTF-8 CSV file"),
    ],
)
def test_msads_table_that_cannot_be_read(dataset, tmp_path, text, said):
    (dataset / "anomaly_annotation.csv").write_bytes(text)
    with pytest.raises(InputError) as error:
        msad.read(dataset, "test", tmp_path / "out")
    assert said in str(error.value) and not (tmp_path / "out").exists()


def test_a_list_of_msad_that_climbs_out_reads_nothing_there(dataset, tmp_path):
    listed = tmp_path / "x.list"
    listed.write_text("../../../../etc/passwd_i3d.npy\nfeatures/Assault_1_i3d.npy\n")
    samples, problems = msad.read(dataset, "test", tmp_path / "out", listed)
    assert [s.id for s in samples] == ["Assault_1"] and "passwd.mp4: not among" in str(problems[0])


COLUMNS = (
    *("video_id", "A1 Classification", "A2 - reason", "A2 - result", "A3,moment"),
    *("A3 - description", "A4 - key sentences"),
)
ECVA = [
    [17, "Traffic accident", "It braked late.", "They crashed.", "[0001,0003]", "Two cars crash.", "['a']"],
    [18, "Theft", "Nobody looked.", "", "[0000,0001],[0002,0005]", "A bag is taken.", ""],
    [19, "Fire", "", "", None, "Smoke.", ""],
]


def sheet(path, rows, head=COLUMNS):
    book = Workbook()
    for row in (head, *rows):
        book.active.append(list(row))
    book.save(path)


@pytest.fixture
def causes(tmp_path):
    """ECVA: three videos of 4 s, and their table."""
    root = tmp_path / "ECVA"
    for row in ECVA:
        write_clip(root / f"video/{row[0]}.mp4", frames=40)
    sheet(root / "Video_Annotation.xlsx", ECVA)
    return root


def test_ecva_as_it_is_distributed(causes, tmp_path):
    # 18 ends a second behind its video: cut; nobody knows when 19 burns.
    assert main(["data", "ecva", str(causes), "--out", str(tmp_path / "out")]) == 0
    assert not check(tmp_path / "out")
    one, two, three = load(tmp_path / "out")
    assert one.spans == ((1.0, 3.0),) and one.description == "Two cars crash." and one.id == "17"
    assert one.rationale == "It braked late.\nThey crashed." and one.category == "Traffic accident"
    assert two.spans == ((0.0, 1.0), (2.0, 4.0)) and three.spans is None and three.anomalous
    with (causes / "Video_Annotation.csv").open("w", newline="") as out:
        head = [name.replace("A", "X", 1) + " （尊重事实）" for name in COLUMNS[1:]]
        csv.writer(out).writerows([["video_id", *head], *ECVA])
    with pytest.raises(InputError, match="found 2 of them"):
        ecva.read(causes, "test", tmp_path / "both")
    (causes / "Video_Annotation.xlsx").unlink()
    again, problems = ecva.read(causes, "test", tmp_path / "csv")
    assert [*again] == [one, two, three] and not problems


@pytest.mark.parametrize(
    "moment, spans",
    [
        ("[0112,0130]", ((72.0, 90.0),)), ("[00010,00020]", ((10.0, 20.0),)), ("[5, 7]", ((5.0, 7.0),)),
        ("[0030,0040]，[0000,0010]", ((0.0, 10.0), (30.0, 40.0))), ("-1", None), ("[]", None),
        ("0005-0010", "expected"), ("[0010,0005]", "before it begins"), ("[0005,0010", "expected"),
        ("[0005,0010] or so", "expected"), ("[0005,0075]", "has 75 seconds after its minutes"),
        ("[0159,0160]", "has 60 seconds"), ("[0159,0200]", ((119.0, 120.0),)),
    ],
)  # fmt: skip
def test_a_moment_of_ecva_is_read_or_refused(moment, spans):
    if isinstance(spans, str):
        with pytest.raises(InputError, match=spans):
            ecva.spans_of(moment)
    else:
        assert ecva.spans_of(moment) == spans


def changed(place, value):
    return [
        [value if (n, k) == (0, place) else cell for k, cell in enumerate(row)] for n, row in enumerate(ECVA)
    ]


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda r: (r / "video/17.mp4").unlink(), "17.mp4: not among the videos"),
        (lambda r: (r / "video/17.mp4").write_bytes(b"x"), "17.mp4"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", changed(4, "[0001,0009]")), "span [1.0, 9.0] ends"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", changed(4, "soon")), "moment is 'soon'"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", changed(0, "../../17")), "is no plain file name"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", changed(0, None)), "no video_id"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", ECVA[1:]), "a video without a row"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", [*ECVA, ECVA[0]]), "its row is there twice"),
    ],
)  # fmt: skip
def test_ecva_damaged_is_one_line_and_the_others_stay(causes, tmp_path, harm, said):
    harm(causes)
    samples, problems = ecva.read(causes, "test", tmp_path / "out")
    assert [s.id for s in samples] == ["18", "19"]
    told = [str(problem) for problem in problems]
    assert sum(said in line for line in told) == 1 and not any("\n" in line for line in told)


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda r: (r / "Video_Annotation.xlsx").write_bytes(b"PK no book"), "not an Excel file"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", ECVA, COLUMNS[:4]), "no column 'moment'"),
        (lambda r: sheet(r / "Video_Annotation.xlsx", []), "no video in this table"),
        (lambda r: (r / "Video_Annotation.xlsx").unlink(), "found 0 of them"),
        (lambda r: shutil.rmtree(r / "video"), "no .mp4 in it or below it"),
        (
            lambda r: (
                (r / "Video_Annotation.xlsx").unlink(),
                (r / "Video_Annotation.csv").write_bytes(b"video_id\xff,A1 Classification"),
            ),
            "not a UTF-8 CSV file",
        ),
    ],
)
def test_ecvas_table_that_cannot_be_read(causes, tmp_path, harm, said):
    harm(causes)
    with pytest.raises(InputError) as error:
        ecva.read(causes, "test", tmp_path / "out")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def bench(dataset, causes, tmp_path):
    """A folder in which all three lie as they are distributed, and a table with rows over them."""
    root = tmp_path / "videos"
    root.mkdir()
    os.rename(dataset, root / "MSAD Dataset")
    os.rename(causes, root / "ECVA")
    for folder in ("Anomaly-Videos-Part-1/Abuse", "Anomaly-Videos-Part-2/Abuse"):
        write_clip(root / f"UCF_Crimes/{folder}/Abuse016_x264.mp4", frames=40)
    rows(tmp_path, *NAMES)
    return root


NAMES = ("msad_Assault_1.mp4", "ucf_Abuse016_x264.mp4", "ecva_17.mp4", "Traffic_accident_12.mp4")


def rows(folder, *names):
    plain = dict.fromkeys(vau_bench.COLUMNS, "-1") | {"Anomaly Class": "Assault"}
    plain |= {"Start Time": "1.0", "End Time": "3.0"}
    with (folder / "val.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, vau_bench.COLUMNS)
        writer.writeheader()
        writer.writerows(plain | {"Video Name": name} for name in names)


def test_vau_benchs_rows_find_the_videos_of_three_data_sets(bench, tmp_path):
    command = ["data", "vau-bench", str(tmp_path / "val.csv"), "--videos", str(bench), "--split", "val"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert not check(tmp_path / "out")
    found = load(tmp_path / "out")
    assert [s.id for s in found] == [name.removesuffix(".mp4") for name in NAMES]
    assert [s.source for s in found] == [
        "vau-bench/MSAD", "vau-bench/UCF-Crime", "vau-bench/ECVA", "vau-bench"
    ]  # fmt: skip
    assert all(s.video.frames == 40 and s.spans == ((1.0, 3.0),) for s in found)
    assert found[2].files()[0].samefile(bench / "ECVA/video/17.mp4")


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda r: (r / "ECVA/video/17.mp4").unlink(), "ecva_17: 17.mp4: not among the videos"),
        (lambda r: (r / "ECVA/video/17.mp4").write_bytes(b"x"), "ecva_17: "),
        (
            lambda r: write_clip(r / "UCF_Crimes/Anomaly-Videos-Part-2/Abuse/Abuse016_x264.mp4", frames=30),
            "have one name and another size",
        ),
        (lambda r: rows(r.parent, *NAMES, "../../x.mp4"), "is not a plain file name"),
        (lambda r: rows(r.parent, *NAMES, NAMES[0]), "appears again"),
        (lambda r: shutil.copy(r / "x.mp4", r / "ECVA/video/17.mp4"), "ends after the video's"),
    ],
)  # fmt: skip
def test_vau_bench_over_damaged_videos_is_one_line_and_the_others_stay(bench, tmp_path, harm, said, capsys):
    write_clip(bench / "x.mp4", frames=15)
    harm(bench)
    command = ["data", "vau-bench", str(tmp_path / "val.csv"), "--videos", str(bench)]
    assert guard(main, [*command, "--out", str(tmp_path / "out")]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused")]
    assert len(told) == 1 and said in told[0]
    assert len(load(tmp_path / "out")) >= 3


def test_killed_readers_go_on(bench, tmp_path, monkeypatch):
    seen = []
    whole = vau_bench.with_file

    def killed(sample, path):
        seen.append(sample.id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return whole(sample, path)

    monkeypatch.setattr(vau_bench, "with_file", killed)
    for _ in range(2):
        try:
            samples, problems, _ = vau_bench.read(tmp_path / "val.csv", "val", tmp_path / "out", bench)
        except KeyboardInterrupt:
            continue
    assert len(samples) == 4 and not problems
    assert seen == ["msad_Assault_1", "ucf_Abuse016_x264", "ecva_17", "ecva_17", "Traffic_accident_12"]


def test_no_split_parts_a_video_of_any_of_them(bench, tmp_path):
    """Windows, clips and T-VAU's re-partition keep all that was cut from a video in one part, also where two
    data sets hold the same file under two names."""
    msad.read(bench / "MSAD Dataset", "test", tmp_path / "msad")
    vau_bench.read(tmp_path / "val.csv", "val", tmp_path / "vau", bench)
    cut, _ = windows.cut(tmp_path / "msad", tmp_path / "windows", 1.0, 0.5)
    assert len(cut) > 20 and {s.video.source for s in cut} == {s.id for s in load(tmp_path / "msad")}
    for seed in range(4):
        parts = parted(cut, videos_of(cut), seed)
        sources = [{s.video.source for s in part} for part in parts.values()]
        assert not sources[0] & sources[1] and len(parts["train"]) + len(parts["test"]) == len(cut)
    # The same video in both sets is one video: a link to one file.
    every = [*load(tmp_path / "msad"), *load(tmp_path / "vau")]
    video_of = videos_of(every)
    assert video_of["Assault_1"] == video_of["msad_Assault_1"] != video_of["Traffic_accident_12"]
    with pytest.raises(InputError, match="also in"):
        reclip.reclip([str(tmp_path / "msad"), str(tmp_path / "vau")], tmp_path / "parts")
