"""Readers of UCSD, Avenue, UCF-Crime and XD-Violence on miniatures of what is distributed, and on damaged
copies of them; UCSD Ped2 itself where it is at hand."""

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import shared
from scipy.io import savemat

from tvad.__main__ import main
from tvad.common.errors import InputError
from tvad.data import check, load, masks, video, windows
from tvad.data.build import grounding_questions
from tvad.data.components import tracks_of
from tvad.data.readers import avenue, ucf_crime, ucsd, xd_violence
from tvad.data.sample import Track

HEIGHT, WIDTH = 48, 64


def moving(count, lit_from, lit_to, x=4):
    """Frames (T, H, W, 3) with a bright square, and its masks."""
    images = np.full((count, HEIGHT, WIDTH, 3), 60, np.uint8)
    lit = np.zeros((count, HEIGHT, WIDTH), bool)
    for f in range(count):
        images[f, 20:30, x + f : x + f + 10] = 220
        lit[f, 20:30, x + f : x + f + 10] = lit_from <= f <= lit_to
    return images, lit


@pytest.fixture
def ped(tmp_path):
    """UCSDped2 with two test and two training videos; one test video has masks under other names, as one of
    the distribution has."""
    root = tmp_path / "UCSDped2"
    for n, (first, last) in enumerate([(6, 12), (0, 11)], 1):
        images, lit = moving(12, first - 1, last - 1)
        frames, truth = root / f"Test/Test{n:03d}", root / f"Test/Test{n:03d}_gt"
        frames.mkdir(parents=True), truth.mkdir()
        for f in range(12):
            cv2.imwrite(str(frames / f"{f + 1:03d}.tif"), images[f, ..., 0])
            cv2.imwrite(str(truth / f"{'frame' if n == 2 else ''}{f + 1:03d}.bmp"), lit[f] * np.uint8(255))
        (frames / "._001.tif").write_bytes(b"what a Mac leaves")
    for n in (1, 2):
        folder = root / f"Train/Train{n:03d}"
        folder.mkdir(parents=True)
        for f in range(5):
            cv2.imwrite(str(folder / f"{f + 1:03d}.tif"), moving(5, 9, 9)[0][f, ..., 0])
    (root / "Test/._UCSDped2.m").write_bytes(b"\0\5\x16\7")
    (root / "Test/UCSDped2.m").write_text(
        "TestVideoFile = {};\n% the first\nTestVideoFile{end+1}.gt_frame = [6:12];\n"
        "TestVideoFile{end+1}.gt_frame = [1:8, 9 : 11];\n"
    )
    return root


def test_ucsd_as_it_is_distributed(ped, tmp_path, capsys):
    assert main(["data", "ucsd", str(ped), "--out", str(tmp_path / "out")]) == 0
    assert not check(tmp_path / "out")
    one, two = load(tmp_path / "out")
    assert one.spans == ((0.5, 1.2),) and two.spans == ((0.0, 1.1),) and one.video.fps == 10.0
    assert one.source == "ucsdped2" and len(one.files()) == 12
    # Frames are the distribution's own bytes.
    assert one.files()[0].read_bytes() == (ped / "Test/Test001/001.tif").read_bytes()
    (track,) = one.tracks
    assert track.boxes[5] == (9.0, 20.0, 18.0, 29.0) and track.anomalous == tuple(range(5, 12))
    assert masks.read(one.path(one.mask)).any((1, 2)).tolist() == [False] * 5 + [True] * 7
    assert main(["data", "ucsd", str(ped), "--split", "train", "--out", str(tmp_path / "train")]) == 0
    assert [s.label for s in load(tmp_path / "train")] == ["normal", "normal"] and not check(
        tmp_path / "train"
    )


def test_ucsd_tracks_of_others_are_taken(ped, tmp_path):
    tracks = tmp_path / "tracks.jsonl"
    rows = [
        {"video": f"Test{n:03d}", "track": 3, "class": "bicycle", "appearance": "in white",
         "boxes": [[7, 2, 3, 10, 20]]} for n in (1, 2)
    ]  # fmt: skip
    tracks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples, problems = ucsd.read(ped, "test", tmp_path / "out", tracks)
    (track,) = samples[0].tracks
    assert not problems and (track.kind, track.look, track.boxes) == (
        "bicycle",
        "in white",
        {6: (2.0, 3.0, 11.0, 22.0)},
    )


@pytest.mark.parametrize(
    "text, said",
    [
        (
            '{"video": "Test001", "track": 1, "class": "a", "boxes": [[7, 2, 3, 1e999, 9]]}',
            "tracks:1: expected",
        ),
        (
            '{"video": "Test001", "track": 1e999, "class": "a", "boxes": [[7, 2, 3, 9, 9]]}',
            "tracks:1: expected",
        ),
        (
            '{"video": "Test001", "track": 1, "class": "a", "boxes": [[1e999, 2, 3, 9, 9]]}',
            "tracks:1: expected",
        ),
        ('{"video": "Test001", "track": 1, "class": "\xe9", "boxes": []}', "tracks: not UTF-8"),
        (None, "tracks: cannot be read"),
    ],
)
def test_ucsd_tracks_that_cannot_be_read(ped, tmp_path, text, said):
    if text is not None:
        (tmp_path / "tracks").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=said):
        ucsd.read(ped, "test", tmp_path / "out", tmp_path / "tracks")


def test_ucsd_tracks_of_no_video_are_named(ped, tmp_path):
    row = {"track": 3, "class": "bicycle", "boxes": [[7, 2, 3, 10, 20]]}
    names = ("Test001", "Test002", "Test999", "Test999")
    lines = [json.dumps(row | {"video": name}) + "\n" for name in names]
    (tmp_path / "tracks.jsonl").write_text("".join(lines))
    samples, problems = ucsd.read(ped, "test", tmp_path / "out", tmp_path / "tracks.jsonl")
    assert len(samples) == 2
    assert [*map(str, problems)] == ["Test999: in the tracks, but not among the videos"]


@pytest.mark.parametrize("edge", (float("inf"), float("nan")))
def test_a_box_without_end_is_no_question(edge):
    track = Track(4, "car", {2: (0.0, 0.0, edge, 9.0)}, (2,))
    with pytest.raises(InputError, match=r"track 4, frame 2: box .* is not four finite numbers"):
        grounding_questions(((0.0, 1.0),), (track,), 10.0, 64, 48)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda r: (r / "Test/Test001/007.tif").unlink(), "Test001: frame 7 is missing"),
        (lambda r: (r / "Test/Test001_gt/003.bmp").unlink(), "Test001_gt: frame 3 is missing"),
        (lambda r: (r / "Test/Test001_gt/012.bmp").unlink(), "11 masks for 12 frames"),
        (lambda r: (r / "Test/Test001/004.tif").write_bytes(b"no picture"), "004.tif: not a picture"),
        (lambda r: (r / "Test/Test001_gt/004.bmp").write_bytes(b""), "004.bmp: not a picture"),
        (
            lambda r: cv2.imwrite(str(r / "Test/Test001_gt/004.bmp"), np.zeros((9, 9), np.uint8)),
            "004.bmp: 9 x 9 pixels, the video has 64 x 48",
        ),
        (
            lambda r: cv2.imwrite(str(r / "Test/Test001/004.tif"), np.zeros((9, 9), np.uint8)),
            "004.tif: 9 x 9 pixels, the first frame has 64 x 48",
        ),
        (
            lambda r: (r / "Test/UCSDped2.m").write_text("{end+1}.gt_frame = [6:13];\ngt_frame = [1:2];"),
            "12 frames, but frame 13 is listed",
        ),
    ],
)
def test_ucsd_damaged_is_one_line_and_the_others_stay(ped, tmp_path, change, said):
    change(ped)
    samples, problems = ucsd.read(ped, "test", tmp_path / "out")
    assert [s.id for s in samples] == ["Test002"] and len(problems) == 1
    assert said in str(problems[0]) and "\n" not in str(problems[0])


@pytest.mark.parametrize(
    "text, said",
    [
        ("gt_frame = [6:12];", "1 lines for 2 test videos"),
        ("nothing", "no line such as"),
        ("gt_frame = [a:12];\ngt_frame = [1:2];", "UCSDped2.m:1: expected frames as"),
        ("gt_frame = [12:6];\ngt_frame = [1:2];", "UCSDped2.m:1: expected frames as"),
        (f"gt_frame = [1:{'9' * 5000}];\ngt_frame = [1:2];", "UCSDped2.m:1: expected frames as"),
        ("gt_frame = [1:99999999];\ngt_frame = [1:2];", "UCSDped2.m:1: expected frames as"),
    ],
)
def test_ucsd_list_that_cannot_be_read(ped, tmp_path, text, said):
    (ped / "Test/UCSDped2.m").write_text(text)
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        ucsd.read(ped, "test", tmp_path / "out")


def test_ucsd_where_masks_and_list_differ_it_is_said(ped, tmp_path, capsys):
    (ped / "Test/UCSDped2.m").write_text("gt_frame = [5:12];\ngt_frame = [1:11];")
    samples, _ = ucsd.read(ped, "test", tmp_path / "out")
    assert samples[0].spans == ((0.5, 1.2),)
    assert (
        "Test001: list and masks differ in 1 frames, the first 5; the masks are followed"
        in capsys.readouterr().err
    )


def test_ped1_without_masks_has_its_times_and_no_places(ped, tmp_path):
    shutil.rmtree(ped / "Test/Test001_gt")
    samples, _ = ucsd.read(ped, "test", tmp_path / "out")
    assert samples[0].spans == ((0.5, 1.2),) and samples[0].mask is None and samples[0].tracks is None


def test_real_ped2(tmp_path):
    root = shared("data/ucsd_ped2")
    samples, problems = ucsd.read(root / "UCSDped2", "test", tmp_path / "out", root / "tracks.jsonl")
    assert not problems and sum(s.video.frames for s in samples) == 1380
    lit = [masks.opened(s.path(s.mask)).lit() for s in samples]
    assert sum(int((~frames).sum()) for frames in lit) == 226
    assert not check(tmp_path / "out")
    given = {s.id: s.tracks for s in samples}
    linked, _ = ucsd.read(root / "UCSDped2", "test", tmp_path / "linked")
    for sample in linked:  # what the masks alone tell agrees with the tracks that were made by eye
        frames = set().union(*(t.boxes for t in given[sample.id]))
        assert frames == set().union(*(t.boxes for t in sample.tracks))
    train, problems = ucsd.read(root / "UCSDped2", "train", tmp_path / "train")
    assert not problems and sum(s.video.frames for s in train) == 2550


def test_components_keep_their_identity_over_a_gap():
    lit = np.zeros((20, 40, 60), bool)
    for f in range(20):
        if not 8 <= f <= 11:
            lit[f, 5:15, f : f + 12] = True
        lit[f, 25:35, 45 - f : 57 - f] = f >= 3
        lit[f, 0, 59] = True  # a speck
    one, two = tracks_of(lit)
    assert sorted(one.boxes) == [f for f in range(20) if not 8 <= f <= 11]
    assert sorted(two.boxes) == list(range(3, 20)) and one.boxes[0] == (0.0, 5.0, 11.0, 14.0)
    lit[8:15, 5:15] = False  # longer than the gap
    assert len(tracks_of(lit)) == 3


@pytest.fixture
def cuhk(tmp_path):
    root, truth = tmp_path / "Avenue Dataset", tmp_path / "ground_truth_demo"
    for part in ("training_videos", "testing_videos"):
        (root / part).mkdir(parents=True)
        for n in (1, 2):
            out = cv2.VideoWriter(
                str(root / part / f"{n:02d}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT)
            )
            for image in moving(10, 0, 0)[0]:
                out.write(image)
            out.release()
    (truth / "testing_label_mask").mkdir(parents=True)
    for n in (1, 2):
        cells = np.empty((1, 10), object)
        cells[0] = list(moving(10, 3, 6)[1].astype(np.uint8))
        savemat(truth / f"testing_label_mask/{n}_label.mat", {"volLabel": cells})
    return root, truth


def test_avenue_as_it_is_distributed(cuhk, tmp_path):
    root, truth = cuhk
    call = ["data", "avenue", str(root), "--labels", str(truth), "--out", str(tmp_path / "out")]
    assert main(call) == 0 and not check(tmp_path / "out")
    sample = load(tmp_path / "out")[0]
    assert sample.spans == ((3 / 25, 7 / 25),) and sample.tracks[0].anomalous == (3, 4, 5, 6)
    assert main(["data", "avenue", str(root), "--split", "train", "--out", str(tmp_path / "train")]) == 0
    both = {s.id for part in ("out", "train") for s in load(tmp_path / part)}
    assert both == {"test_01", "test_02", "train_01", "train_02"}


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda p: p.unlink(), "1_label.mat: no such mask"),
        (lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file, but no"), "not a MATLAB file with volLabel"),
        (lambda p: savemat(p, {"other": 1}), "not a MATLAB file with volLabel"),
        (
            lambda p: savemat(p, {"volLabel": _cells((48, 64), 3)}),
            "masks of 3 frames, the video has 10",
        ),
        (lambda p: savemat(p, {"volLabel": _cells((9, 9))}), "frame 1 has shape"),
        (
            lambda p: savemat(p, {"volLabel": _cells((48, 64), fill=np.nan)}),
            "1_label.mat: frame 1: expected 0 or 1, found NaN",
        ),
        (lambda p: savemat(p, {"volLabel": _cells((48, 64), fill=-1.0)}), "infinite or negative"),
        (lambda p: savemat(p, {"volLabel": _cells((48, 64), fill="x")}), "expected numbers, found"),
    ],
)
def test_avenue_damaged(cuhk, tmp_path, change, said):
    root, truth = cuhk
    change(truth / "testing_label_mask/1_label.mat")
    samples, problems = avenue.read(root, "test", tmp_path / "out", truth)
    assert [s.id for s in samples] == ["test_02"] and said in str(problems[0])


def _cells(shape, count=10, fill=False):
    cells = np.empty((1, count), object)
    for n in range(count):
        cells[0, n] = np.full(shape, fill)
    return cells


def test_avenues_masks_without_their_video_are_named(cuhk, tmp_path):
    root, truth = cuhk
    (root / "testing_videos/02.avi").unlink()
    (truth / "testing_label_mask/._1_label.mat").write_bytes(b"what a Mac leaves")
    (root / "testing_videos/._01.avi").write_bytes(b"what a Mac leaves")
    samples, problems = avenue.read(root, "test", tmp_path / "out", truth)
    assert [s.id for s in samples] == ["test_01"]
    assert [*map(str, problems)] == ["test_02: 2_label.mat is there, but no video of it"]


@pytest.fixture
def crime(tmp_path):
    root = tmp_path / "UCF_Crimes"
    names = {
        "Anomaly-Videos-Part-1/Abuse": "Abuse028_x264",
        "Anomaly-Videos-Part-4/Vandalism": "Vandalism007_x264",
        "Testing_Normal_Videos_Anomaly": "Normal_Videos_003_x264",
        "Training-Normal-Videos-Part-1": "Normal_Videos001_x264",
        "z_Normal_Videos_event": "Normal_Videos_003_x264",
    }
    for folder, name in names.items():
        (root / folder).mkdir(parents=True)
        video.write(root / folder / f"{name}.mp4", moving(30, 0, 0)[0], 30)
    test = tmp_path / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"
    test.write_text(
        "Abuse028_x264.mp4  Abuse  6  11  -1  -1  \nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  \n"
        "Vandalism007_x264.mp4  Vandalism  0  2  20  35\n"
    )
    (tmp_path / "Anomaly_Train.txt").write_text(
        "Abuse/Abuse028_x264.mp4\nTraining-Normal-Videos-Part-1/Normal_Videos001_x264.mp4\n"
    )
    (tmp_path / "UCFCrime_Test.json").write_text(
        json.dumps(
            {
                "Abuse028_x264": {
                    "duration": 1.0,
                    "timestamps": [[0, 0.5]],
                    "sentences": ["A man \n hits  one."],
                }
            }
        )
    )
    return root, test


def test_ucf_crime_as_it_is_distributed(crime, tmp_path, capsys):
    root, listed = crime
    call = ["data", "ucf-crime", str(root), "--listed", str(listed), "--captions", str(tmp_path)]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0 and not check(tmp_path / "out")
    assert "cut Vandalism007_x264: frames 20 to 35 end with frame 29" in capsys.readouterr().err
    found = {s.id: s for s in load(tmp_path / "out")}
    abuse, normal = found["Abuse028_x264"], found["Normal_Videos_003_x264"]
    assert abuse.spans == ((0.2, 0.4),) and abuse.categories == ("Abuse",)
    assert abuse.description == "0.0 to 0.5 s: A man hits one."
    assert found["Vandalism007_x264"].spans == ((0.0, 0.1), (20 / 30, 1.0))
    assert normal.label == "normal" and normal.spans == () and normal.categories == ()
    assert {q.kind for q in abuse.questions} == {"judgement", "temporal", "classification"}
    call = [
        "data",
        "ucf-crime",
        str(root),
        "--listed",
        str(tmp_path / "Anomaly_Train.txt"),
        "--split",
        "train",
    ]
    assert main([*call, "--out", str(tmp_path / "train")]) == 0
    found = {s.id: s for s in load(tmp_path / "train")}
    assert found["Abuse028_x264"].spans is None and found["Normal_Videos001_x264"].spans == ()
    assert {q.kind for q in found["Abuse028_x264"].questions} == {"judgement", "classification"}


@pytest.mark.parametrize(
    "text, said",
    [
        (b"{", "UCFCrime_Test.json: cannot be read as JSON"),
        ('{"a": {"timestamps": [], "sentences": ["\xe9"]}}'.encode("latin-1"), "Test.json: not UTF-8"),
        (b"[]", "expected an object by video, found list"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"a": {"timestamps": [[0, 1e999]], "sentences": ["b"]}}', "Test.json: a: expected as many"),
        (
            b'{"a": {"timestamps": [[0, 1]], "sentences": ["b"]}, "a": {"timestamps": [], "sentences": []}}',
            "cannot be read as JSON .'a' is there twice",
        ),
    ],
)
def test_ucas_captions_that_cannot_be_read(crime, tmp_path, text, said):
    root, listed = crime
    (tmp_path / "UCFCrime_Test.json").write_bytes(text)
    with pytest.raises(InputError, match=said) as error:
        ucf_crime.read(root, listed, "test", tmp_path / "out", tmp_path)
    assert "\n" not in str(error.value)


def test_ucas_captions_of_no_video_and_of_one_twice(crime, tmp_path, capsys):
    root, listed = crime
    row = {"timestamps": [[0, 0.5]], "sentences": ["A man hits one."]}
    (tmp_path / "UCFCrime_Val.json").write_text(json.dumps({"Abuse028_x264": row, "Nobody_x264": row}))
    ucf_crime.read(root, listed, "test", tmp_path / "out", tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert "captions: 1 of 2 captions name no video of the list, the first Nobody_x264" in said
    assert "captions: 2 of 3 videos of the list have no captions, the first Normal_Videos_003_x264" in said
    row["sentences"] = ["He does not."]
    (tmp_path / "UCFCrime_Val.json").write_text(json.dumps({"Abuse028_x264": row}))
    with pytest.raises(InputError, match=r"UCFCrime_Test.json: Abuse028_x264: another file tells otherwise"):
        ucf_crime.read(root, listed, "test", tmp_path / "other", tmp_path)


def test_lists_that_are_not_there_are_one_line(crime, xd, tmp_path):
    for call in (
        lambda none: ucf_crime.read(crime[0], none, "test", tmp_path / "out"),
        lambda none: xd_violence.read(xd[0], "test", tmp_path / "out", none),
    ):
        for none in (tmp_path / "none.txt", tmp_path):
            with pytest.raises(InputError, match=f"{none}: cannot be read"):
                call(none)


def test_ucf_crime_real_list():
    rows = ucf_crime.rows_of(next(shared("data/ucf_crime").glob("*.txt")))
    assert len(rows) == 290 and sum(not row.spans for row in rows) == 150
    assert rows[0] == ucf_crime.Row("Abuse028_x264", "Abuse", [(165, 240)])


@pytest.mark.parametrize(
    "line",
    ["Abuse028_x264.mp4 Abuse 9 6 -1 -1", "Abuse028_x264.mp4 Abuse -1 6", "Abuse028_x264.mp4 Abuse six 9",
     "Abuse028_x264.mp4 Abuse 6", "Abuse028_x264.mp4 Abuse -1 -1", "a b c", "../x.mp4 Normal 3 4"],
)  # fmt: skip
def test_ucf_crime_lines_that_cannot_be_read(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"Normal_Videos_003_x264.mp4 Normal -1 -1 -1 -1\n{line}\n")
    with pytest.raises(InputError, match=r"list.txt:2: expected name, class"):
        ucf_crime.rows_of(tmp_path / "list.txt")


def test_ucf_crime_what_is_missing_or_double(crime, tmp_path):
    root, listed = crime
    (root / "Anomaly-Videos-Part-1/Abuse/Abuse028_x264.mp4").unlink()
    samples, problems = ucf_crime.read(root, listed, "test", tmp_path / "out")
    assert len(samples) == 2 and "Abuse028_x264.mp4: listed, but not below" in str(problems[0])
    (root / "z_Normal_Videos_event/Normal_Videos_003_x264.mp4").write_bytes(b"other")
    samples, problems = ucf_crime.read(root, listed, "test", tmp_path / "other")
    assert len(samples) == 1 and "have one name and another size" in str(problems[1])


@pytest.fixture
def xd(tmp_path):
    root = tmp_path / "xd"
    (root / "videos").mkdir(parents=True)
    (root / "videos/._v=ZyBuCvzXtpc__#1_label_B1-0-0.mp4").write_bytes(b"what a Mac leaves")
    names = [
        "A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A",
        "Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6",
        "v=ZyBuCvzXtpc__#1_label_B1-0-0",
    ]
    for name in names:
        video.write(root / "videos" / f"{name}.mp4", moving(24, 0, 0)[0], 24)
    (tmp_path / "annotations.txt").write_text(f"{names[1]} 2 5 12 23 \n{names[2]}.mp4 0 11\n")
    return root, tmp_path / "annotations.txt", names


def test_xd_violence_as_it_is_distributed(xd, tmp_path):
    root, listed, names = xd
    call = ["data", "xd-violence", str(root), "--annotations", str(listed), "--out", str(tmp_path / "out")]
    assert main(call) == 0 and not check(tmp_path / "out")
    found = {s.id: s for s in load(tmp_path / "out")}
    assert found[names[0]].label == "normal" and found[names[0]].spans == ()
    assert found[names[1]].categories == ("explosion", "shooting", "car accident")
    assert found[names[1]].spans == ((2 / 24, 6 / 24), (12 / 24, 1.0)) and found[names[2]].spans == (
        (0, 0.5),
    )
    # Its files are segments: those of one film belong together, wherever they are dealt to.
    of = [(found[name].video.source, found[name].video.offset) for name in names]
    assert of == [("A.Beautiful.Mind.2001", 1520.0), ("Bad.Boys.1995", 4315.0), ("v=ZyBuCvzXtpc", None)]
    # Which of three classes a span has is not distributed, so that no window is asked for one.
    cut = windows.cut(tmp_path / "out", tmp_path / "cut", 0.5, 0.5)[0]
    several = [s for s in cut if s.video.source == "Bad.Boys.1995" and s.label == "anomalous"]
    assert several and not any(s.categories for s in several)
    assert not any(q.kind == "classification" for s in several for q in s.questions)
    assert any(s.categories == ("fighting",) for s in cut if s.video.source == "v=ZyBuCvzXtpc")
    assert main(["data", "xd-violence", str(root), "--split", "train", "--out", str(tmp_path / "train")]) == 0
    assert {s.id: s.spans for s in load(tmp_path / "train")}[names[1]] is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("x_label_A 1 2 3", "annotations.txt:1: expected a name and pairs"),
        ("x_label_A 5 2", "annotations.txt:1: expected a name and pairs"),
        (f"x_label_A 1 {'9' * 5000}", "annotations.txt:1: expected a name and pairs"),
        ("x_label_A 1 2\nx_label_A.mp4 1 2", "annotations.txt:2: x_label_A is there twice"),
        ("", "no video in this file"),
    ],
)
def test_xd_violence_annotations_that_cannot_be_read(tmp_path, text, said):
    (tmp_path / "annotations.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        xd_violence.read_annotations(tmp_path / "annotations.txt")


def test_xd_violence_of_two_files_of_one_name_none_is_guessed(xd, tmp_path):
    root, listed, names = xd
    (root / "more").mkdir()
    for name in names[:2]:
        shutil.copy(root / f"videos/{name}.mp4", root / "more")
    video.write(root / f"more/{names[1]}.mp4", moving(30, 0, 0)[0], 24)
    samples, problems = xd_violence.read(root, "test", tmp_path / "out", listed)
    assert [s.id for s in samples] == [names[0], names[2]]
    assert len(problems) == 1 and "have one name and another size" in str(problems[0])
    one = next(s for s in samples if s.id == names[0])
    assert one.files()[0].samefile(root / f"more/{names[0]}.mp4")


def test_xd_violence_truth_that_contradicts_or_is_missing_is_refused(xd, tmp_path):
    root, listed, names = xd
    listed.write_text(f"{names[0]} 1 2\n{names[1]} 99 100\nsomebody_label_B4-0-0 1 2\n")
    with pytest.raises(InputError, match="no video could be read"):
        xd_violence.read(root, "test", tmp_path / "out", listed)
    listed.write_text(f"{names[2]} 1 2\nsomebody_label_B4-0-0 1 2\n")
    samples, problems = xd_violence.read(root, "test", tmp_path / "more", listed)
    said = "\n".join(map(str, problems))
    assert len(samples) == 2 and "holds no span" not in said
    assert "violent by its name, but the annotations hold no span" in said and "somebody_label_B4-0-0" in said
    for name in ("film", "film_label_", "film_label_C", "film_label_A-B1"):
        with pytest.raises(InputError, match=r"name tells no class|is none of"):
            xd_violence.classes_of(name)
