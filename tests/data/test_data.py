import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvad.common.errors import InputError
from tvad.common.formats import Format
from tvad.data import check, load, load_checked, masks, save, video
from tvad.data.sample import DATASET, from_json, to_json
from tvad.data.vau_bench import COLUMNS, read_csv, reasoning_sections


@pytest.fixture
def copy(scenes, tmp_path):
    return shutil.copytree(scenes, tmp_path / "copy")


def rewrite(folder, change):
    """Apply `change` to the first anomalous row of a data set."""
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    row = next(r for r in rows if r["label"] == "anomalous")
    change(row)
    (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return row["id"]


def test_a_sample_survives_its_json_form(scenes):
    for sample in load(scenes):
        assert from_json(json.loads(json.dumps(to_json(sample))), sample.root) == sample


def test_save_then_load_gives_the_same_samples(scenes, tmp_path):
    samples = load(scenes)
    save(samples, tmp_path)
    assert load(tmp_path) == samples


def test_generated_scenes_have_no_bad_rows(scenes):
    assert check(scenes) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(spans=[[0.5, 99.0]]), "ends after the video's 4.00 s"),
        (lambda r: r.update(spans=[[2.0, 1.0]]), "0 <= start < end"),
        (lambda r: r.update(label="odd"), "label is 'odd'"),
        (lambda r: r.pop("video"), "missing key 'video'"),
        (lambda r: r.update(colour="red"), "unknown key 'colour'"),
        (lambda r: r["video"].update(path="../../etc/passwd"), "leaves the data set's folder"),
        (lambda r: r["video"].update(path="videos/none.mp4"), "no such video file"),
        (lambda r: r["video"].update(frames=7), "has frames 16, the sample states 7"),
        (lambda r: r["questions"][0].update(answer="Z"), "none of the options"),
        (lambda r: r.update(mask="samples.jsonl"), "not a run-length mask file"),
    ],
)
def test_check_names_the_row_and_the_reason(copy, change, reason):
    name = rewrite(copy, change)
    problems = [str(p) for p in check(copy)]
    assert any(reason in p for p in problems), problems
    assert any(name in p or "samples.jsonl:" in p for p in problems)


def test_loading_refuses_bad_rows_unless_told_to_drop_them(copy, capsys):
    name = rewrite(copy, lambda r: r.update(spans=[[0.5, 99.0]]))
    with pytest.raises(InputError, match=name):
        load_checked(copy)
    assert name not in [s.id for s in load_checked(copy, drop=True)]
    assert f"dropped {name}" in capsys.readouterr().err


def test_truncated_and_foreign_files_are_named(copy):
    path = sorted((copy / "videos").glob("*.mp4"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=path.name):
        video.decode(path)
    path.write_text("not a video")
    with pytest.raises(InputError, match=path.name):
        video.decode(path)
    with pytest.raises(InputError, match="no such video"):
        video.decode(copy / "none.mp4")


def test_decoded_frames_resemble_what_was_written(tmp_path):
    images = np.zeros((8, 32, 48, 3), np.uint8)
    for i in range(8):
        images[i, :, : 6 * (i + 1)] = 200
    video.write(tmp_path / "a.mp4", images, 4.0)
    found = video.decode(tmp_path / "a.mp4")
    assert found.images.shape == images.shape and found.total == 8 and found.fps == 4.0
    assert np.abs(found.images.astype(int) - images).mean() < 6
    half = video.decode(tmp_path / "a.mp4", rate=2.0)
    assert half.indices.tolist() == [0, 2, 4, 6] and half.times.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert np.array_equal(half.images, found.images[::2])


@given(st.integers(1, 500), st.floats(1, 60), st.floats(0.2, 60), st.integers(1, 40))
def test_sampled_indices_rise_and_stay_inside(total, fps, rate, most):
    indices = video.sample_indices(total, fps, rate, most)
    assert indices[0] == 0 and indices[-1] < total and len(indices) <= most
    assert (np.diff(indices) > 0).all()


@given(arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_give_the_mask_back(mask):
    assert np.array_equal(masks.decode(*masks.encode(mask)), mask)


def test_a_lying_mask_file_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", shape=np.array([1 << 20, 1 << 20, 1 << 20]), runs=np.array([3]))
    with pytest.raises(InputError, match=r"m\.npz"):
        masks.read(tmp_path / "m.npz")


def test_every_row_of_the_real_vau_bench_files_is_read_or_refused():
    for name, rows in (("test_msad.csv", 240), ("test_ucf_crime.csv", 290), ("val.csv", 734)):
        samples, problems = read_csv(shared(f"data/vau_bench/{name}"))
        assert len(samples) + len(problems) == rows
        assert problems == []
        assert not any(s.problems() for s in samples)
    msad, _ = read_csv(shared("data/vau_bench/test_msad.csv"))
    letters = [q.answer for s in msad for q in s.questions if q.kind == "mcq"]
    assert len(letters) == 240 and sum(s.anomalous for s in msad) == 120
    assert letters.count("A") == 164  # 163 cells hold "A", one the letter with its text
    ucf, _ = read_csv(shared("data/vau_bench/test_ucf_crime.csv"))
    assert sum(any(q.kind == "mcq" for q in s.questions) for s in ucf) == 251
    assert all(len(reasoning_sections(s.rationale)) >= 4 for s in [*msad, *ucf] if s.rationale)


def csv_row(**fields):
    row = (
        dict.fromkeys(COLUMNS, "text")
        | {"Video Name": "a.mp4", "Correct Option": "B", "Start Time": "1", "End Time": "2"}
        | fields
    )
    return ",".join(f'"{row[c]}"' for c in COLUMNS)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Correct Option": "E"}, "names no option"),
        ({"Start Time": "5"}, "not before End Time"),
        ({"Start Time": "soon"}, "Start Time is 'soon'"),
        ({"Anomaly Class": "Normal"}, "contradicts times"),
        ({"Video Name": "../x.mp4"}, "not a plain file name"),
        ({"Option 3": "-1"}, "1 of four options are missing"),
    ],
)
def test_a_vau_bench_row_is_refused_with_its_reason(tmp_path, fields, reason):
    path = tmp_path / "rows.csv"
    path.write_text(
        ",".join(COLUMNS) + "\n" + csv_row(**fields) + "\n" + csv_row(**{"Video Name": "b.mp4"}) + "\n"
    )
    samples, problems = read_csv(path)
    assert [s.id for s in samples] == ["b"]
    assert reason in str(problems[0]) and "row 2" in str(problems[0])


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("Video Name,Question\na,b\n")
    with pytest.raises(InputError, match="missing column 'Option 1'"):
        read_csv(path)


def test_a_hostile_rationale_is_not_executed():
    assert reasoning_sections("{'Location': __import__('os').system('true')}") == {}
    assert reasoning_sections("{" * 5000) == {}


def test_data_check_exits_1_on_bad_rows_and_2_without_a_data_set(copy, tmp_path):
    rewrite(copy, lambda r: r.update(spans=[[0.5, 99.0]]))
    done = subprocess.run(
        [sys.executable, "-m", "tvad", "data", "check", str(copy)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "ends after" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "tvad", "data", "check", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "samples.jsonl" in done.stderr


def test_a_wrong_duration_is_only_judged_where_it_is_known(scenes):
    sample = next(s for s in load(scenes) if s.anomalous)
    unopened = replace(
        sample, video=replace(sample.video, fps=None, frames=None), spans=((0.0, 500.0),), tracks=None
    )
    assert unopened.problems() == []


def test_a_data_set_states_its_version_and_one_without_is_of_the_first(scenes, tmp_path):
    samples = load(scenes)
    save(samples, tmp_path)
    header = tmp_path / "dataset.json"
    assert json.loads(header.read_text()) == {"format": "tvad-dataset", "version": 2}
    header.unlink()
    assert load(tmp_path) == samples and check(tmp_path, files=False) == []


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            {"format": "tvad-dataset", "version": 9},
            "version 9 of tvad-dataset is newer than this installation",
        ),
        ({"format": "another", "version": 1}, "format is 'another', expected 'tvad-dataset'"),
        ({"version": "new"}, "version is 'new', expected a whole number"),
        ([1], "expected an object, found list"),
    ],
)
def test_a_data_set_of_another_version_is_refused_by_name(copy, header, reason):
    for name in ("dataset.json", "scenes.json"):
        (copy / "dataset.json").unlink(missing_ok=True)
        (copy / name).write_text(json.dumps(header))
        for read in (load, check, load_checked):
            with pytest.raises(InputError, match=f"{name}: {reason}"):
                read(copy)


def test_a_data_set_of_version_1_is_read_as_it_was_meant(copy):
    """One class a video, one span a question, each now the first of several."""
    expected = load(copy)

    def older(row):
        row["category"] = row.pop("categories")[0]
        for question in row["questions"]:
            if isinstance(question.get("spans"), list):
                (question["span"],) = question.pop("spans")
            elif "spans" in question:
                question["span"] = question.pop("spans")

    rewrite(copy, older)
    recipe = copy / "scenes.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"version": 1}))
    assert load(copy) == expected and check(copy, files=False) == []


@pytest.mark.parametrize(
    "junk", [b"\n", b"  \n", b"\t\r\n", b"\xc2\xa0\n", b"\xef\xbb\xbf\n", b"\xff\n", b"{\n", b"[]\n"]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_line_is_passed_over_by_both_readers_or_by_none(copy, junk, first):
    whole, rows = load(copy), (copy / "samples.jsonl").read_bytes()
    (copy / "samples.jsonl").write_bytes(junk + rows if first else rows + junk)
    found = check(copy, files=False)
    if junk.strip():
        with pytest.raises(InputError, match=r"samples\.jsonl:\d+: (not|expected)") as refused:
            load(copy)
        assert str(refused.value).endswith(str(found[0]))
    else:
        assert load(copy) == whole and found == []


def test_the_mark_of_a_text_file_is_refused_by_both_readers(copy):
    (copy / "samples.jsonl").write_bytes(b"\xef\xbb\xbf" + (copy / "samples.jsonl").read_bytes())
    with pytest.raises(InputError, match=r"samples\.jsonl:1: not JSON"):
        load(copy)
    assert "samples.jsonl:1: not JSON" in str(check(copy, files=False)[0])


def test_an_older_data_set_is_migrated_row_by_row(copy, monkeypatch):
    """As it would be if the next version had renamed a key."""

    def rename(row):
        return {("label" if key == "mark" else key): value for key, value in row.items()}

    expected = load(copy)
    rewrite(copy, lambda row: row.update(mark=row.pop("label")))
    with pytest.raises(InputError, match="unknown key 'mark'"):
        load(copy)
    newer = Format("tvad-dataset", DATASET.version + 1, {**DATASET.migrations, DATASET.version: rename})
    monkeypatch.setattr(sys.modules["tvad.data.sample"], "DATASET", newer)
    assert load(copy) == expected and check(copy, files=False) == []
