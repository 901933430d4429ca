"""Tables and captions as people save and hand them on: columns of one name, fields too many or too few,
captions of another cut of the video."""

import json

import pytest
import video_kinds as kinds

from tvad.common.errors import InputError
from tvad.data import load, vau_bench
from tvad.data.readers import ecva, msad, tvau, ucf_crime

MSAD = "name,scenario,total frames,starting frame of anomaly,ending frame of anomaly"
ECVA = 'video_id,A1 Classification,A2 - reason,A2 - result,"A3,moment",A3 - description,A4 - key sentences'


@pytest.mark.parametrize(
    "text, said",
    (
        (
            f"{MSAD},starting frame of anomaly\nFire_1,road,30,1,10,9\n",
            "2 columns are called 'starting frame of anomaly'; expected name, total frames",
        ),
        (f"{MSAD},name\nFire_1,road,30,1,10,Fire_2\n", "2 columns are called 'name'"),
        (f"{MSAD}\nFire_1,road,30,1,10,30\n", "anomaly_annotation.csv:2: has more than 5 fields"),
    ),
)
def test_msads_table_says_one_thing_of_a_video(tmp_path, text, said):
    """The last of two columns was read, and a field too many was passed over."""
    (tmp_path / msad.TABLE).write_text("\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        msad.read_table(tmp_path / msad.TABLE)


def test_columns_of_one_name_are_refused_by_the_other_tables(tmp_path):
    head = ",".join([*vau_bench.COLUMNS, "End Time"])
    (tmp_path / "val.csv").write_text(head + "\n" + ",".join(["a.mp4"] * 14) + "\n")
    with pytest.raises(InputError, match=r"val\.csv: 2 columns are called 'End Time'"):
        vau_bench.read_csv(tmp_path / "val.csv")
    (tmp_path / "labels.csv").write_text("video,description,description\n01_0014-0_23.mp4,有异常,没有异常\n")
    with pytest.raises(InputError, match=r"labels\.csv: 2 columns are called 'description'"):
        tvau.read_notes(tmp_path)


def test_a_row_of_ecva_with_other_fields_than_the_head_is_refused(tmp_path):
    """A comma that is not quoted moved all that follows it: the description ended there."""
    kinds.video(tmp_path / "1.mp4")
    rows = (
        '1,Fire,why,what,"[0000,0001]",a fire,x',
        '2,Fire,why,what,"[0000,0001]",smoke, and fire,x',
        "3,Fire",
    )
    (tmp_path / "Video_Annotation.csv").write_text("\n".join((ECVA, *rows)) + "\n")
    samples, problems = ecva.read(tmp_path, "test", tmp_path / "out")
    assert [(s.id, s.description) for s in samples] == [("1", "a fire")]
    assert [*map(str, problems)] == [
        "2: its row has 8 fields, the head 7", "3: its row has 2 fields, the head 7",
    ]  # fmt: skip


def test_captions_behind_the_videos_end_are_cut_or_left_out_and_said(tmp_path, capsys):
    """UCA's of a video that is shorter here: its description told of seconds that it has not."""
    (tmp_path / "videos").mkdir()
    for name in ("Abuse028_x264", "Abuse029_x264"):
        kinds.video(tmp_path / f"videos/{name}.mp4")
    (tmp_path / "list.txt").write_text(
        "Abuse028_x264.mp4 Abuse 6 11 -1 -1\nAbuse029_x264.mp4 Abuse 6 11 -1 -1\n"
    )
    times = {"Abuse028_x264": [[0, 1.5], [1.5, 9], [2, 3], [5, 6]], "Abuse029_x264": [[0, 1], [1, 2.04]]}
    told = {
        name: {"duration": 9.0, "timestamps": t, "sentences": [f"man {n}" for n in range(len(t))]}
        for name, t in times.items()
    }
    (tmp_path / "UCFCrime_Test.json").write_text(json.dumps(told))
    samples, problems = ucf_crime.read(
        tmp_path / "videos", tmp_path / "list.txt", "test", tmp_path / "out", tmp_path
    )
    assert not problems and [s.description for s in samples] == [
        "0.0 to 1.5 s: man 0\n1.5 to 2.0 s: man 1", "0.0 to 1.0 s: man 0\n1.0 to 2.0 s: man 1",
    ]  # fmt: skip
    assert capsys.readouterr().err.splitlines() == [
        "captions: Abuse028_x264: 2 begin after the video's 2.0 s and are left out",
        "captions: Abuse028_x264: 1 end after the video's 2.0 s and are cut",
    ]
    assert len(load(tmp_path / "out")) == 2
