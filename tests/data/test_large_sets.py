"""A data set of a hundred thousand clips: held nowhere whole, read by everything that reads a folder, packed
again from where it was killed, and refused in one line where a shard is not what was written."""

import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bench.suite import Suite, drawn
from rft.grpo import mixture
from tvad.__main__ import main
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, build, check, load, load_checked, reclip, save, shards, windows
from tvad.data.check import readable
from tvad.data.digest import data_hash
from tvad.data.folder import write_lines
from tvad.data.sample import to_json, to_line

CHILD = """
import resource, sys
from tvad.data import load_checked
from tvad.data.digest import data_hash
from rft.grpo import mixture
import numpy as np
import pyarrow, pyarrow.parquet

def held():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

before = held()
samples = load_checked(sys.argv[1])
order = np.random.default_rng(0).permutation(len(samples))
first = [samples[int(n)].id for n in order[:64]]
listed = sum(1 for _ in samples.ids())
drawn = mixture.draw(samples, mixture.tasks_of({"judgement": 1.0}), 64, 0)
hashed = data_hash(samples)
print(len(samples), len(first), listed, len(drawn), round(held() - before, 1))
"""


def sample(n, words=40):
    anomalous = n % 3 == 0
    asked = Question("judgement", "Is anything abnormal?", "Yes" if anomalous else "No", topic="judgement")
    return Sample(
        id=f"clip_{n:06d}",
        source="made",
        split="train",
        video=Video(f"videos/clip_{n:06d}.mp4", 8.0, 16, 112, 112),
        label="anomalous" if anomalous else "normal",
        categories=("fall",) if anomalous else (),
        spans=((0.25, 1.0),) if anomalous else (),
        questions=(asked,),
        description=" ".join(f"word{n * k % 97}" for k in range(words)),
    )


def packed(folder, count, **options):
    write_lines((to_line(to_json(sample(n, **options))) for n in range(count)), folder)
    return shards.pack(folder)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with rows of 25 clips in shards of 10, groups of 4."""
    monkeypatch.setattr(shards, "ROWS", 10)
    monkeypatch.setattr(shards, "GROUP", 4)
    (tmp_path / "data").mkdir()
    packed(tmp_path / "data", 25)
    return tmp_path / "data"


def test_what_was_packed_is_what_is_read(small):
    assert not (small / "samples.jsonl").exists() and not (small / shards.BEGUN).exists()
    rows = load(small)
    assert [*rows] == [sample(n) for n in range(25)] and rows[-1] == sample(24)
    assert [s.id for s in rows[3:7]] == [f"clip_{n:06d}" for n in range(3, 7)]
    assert [*rows.ids()] == [s.id for s in rows]
    order = np.random.default_rng(3).permutation(25)
    assert [s.id for s in rows.chosen(order)[5:]] == [f"clip_{n:06d}" for n in order[5:]]
    assert [*pickle.loads(pickle.dumps(rows))] == [*rows]
    assert rows[0].root == str(small) and rows[0].clip() == str(small / "videos/clip_000000.mp4")
    with pytest.raises(IndexError):
        rows[25]
    assert shards.pack(small)[7] == sample(7)  # packed already


def test_a_row_is_kept_to_the_letter(tmp_path):
    odd = Sample("half \ud83d", "made", "train", Video("videos/x.mp4"), description="\ud83d \u2028 \x00 ä")
    save([odd], tmp_path)
    assert [*shards.pack(tmp_path)] == [odd]


def test_what_reads_a_folder_reads_shards(small, tmp_path):
    held = [sample(n) for n in range(25)]
    assert data_hash(load(small)) == data_hash(held)
    assert [s.id for s in drawn(load(small), 5, 1)] == [s.id for s in drawn(held, 5, 1)]
    suite = Suite(name="x", data=str(small), tasks=["judgement"])
    assert suite.digest(load(small)) == suite.digest(held)
    tasks = mixture.tasks_of({"judgement": 1.0})
    for weights in (None, {("clip_000003", "Is anything abnormal?"): 9.0}):
        one, other = (mixture.draw(data, tasks, 7, 0, None, weights) for data in (load(small), held))
        assert [(s.id, q, h) for s, q, h in one] == [(s.id, q, h) for s, q, h in other]
    from rft.curriculum.stage import shown_of

    assert [s.id for s in shown_of(load(small), 6, 0)] == [s.id for s in shown_of(held, 6, 0)]
    assert main(["data", "check", str(small), "--no-files"]) == 0


def test_datasets_stream_it_shuffle_it_and_go_on(small):
    from datasets import load_dataset

    def stream():
        data = load_dataset(
            "parquet", data_files=str(small / "shards/*.parquet"), split="train", streaming=True
        )
        return data.shuffle(seed=5, buffer_size=8)

    whole = [row["id"] for row in stream()]
    assert sorted(whole) == [f"clip_{n:06d}" for n in range(25)] and whole != sorted(whole)
    assert whole == [row["id"] for row in stream()]


@pytest.mark.parametrize("many", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_hundred_thousand_rows_take_the_memory_of_a_thousand(tmp_path, many):
    taken = {}
    for count in (1_000, many):
        folder = tmp_path / str(count)
        folder.mkdir()
        packed(folder, count)
        held = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert held[:4] == [str(count), "64", str(count), "64"]
        taken[count] = float(held[4])
    # A row of these, held as objects, takes about 3 kilobytes: 9,000 of them, 27 megabytes.
    assert taken[many] - taken[1_000] < 12 + many * 2e-4, taken


def test_a_killed_packing_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROWS", 10)
    save([sample(n) for n in range(35)], tmp_path)
    written, write = [], shards._write

    def killed(file, ids, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(file.name)
        write(file, ids, rows)

    monkeypatch.setattr(shards, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        shards.pack(tmp_path)
    assert load(tmp_path) == [sample(n) for n in range(35)]  # until it is done, the old rows are the data set
    with (tmp_path / shards.BEGUN).open("a") as log:
        log.write('{"file": "shards/00002.par')  # cut by the kill
    before = os.stat(tmp_path / "shards/00000.parquet").st_mtime_ns
    time.sleep(0.01)
    monkeypatch.setattr(shards, "_write", write)
    assert [*shards.pack(tmp_path)] == [sample(n) for n in range(35)]
    assert os.stat(tmp_path / "shards/00000.parquet").st_mtime_ns == before


def test_rows_that_changed_since_are_packed_anew_and_no_row_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROWS", 10)
    save([sample(n) for n in range(25)], tmp_path)
    write = shards._write
    monkeypatch.setattr(shards, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        shards.pack(tmp_path)
    monkeypatch.setattr(shards, "_write", write)
    save([sample(n) for n in range(40, 60)], tmp_path)
    assert [s.id for s in shards.pack(tmp_path)] == [f"clip_{n:06d}" for n in range(40, 60)]
    # Killed between the record and the removal of the old rows: the same command ends it, and no other reads.
    save([sample(n) for n in range(40, 60)], tmp_path)
    with pytest.raises(InputError, match=r"holds samples\.jsonl and shards\.json"):
        load(tmp_path)
    assert main(["data", "shards", str(tmp_path)]) == 0 and len(load(tmp_path)) == 20
    save([sample(1)], tmp_path)
    with pytest.raises(InputError, match="hold different data"):
        shards.pack(tmp_path)
    assert (tmp_path / "samples.jsonl").exists() and (tmp_path / "shards.json").exists()


def rewritten(folder, number, table):
    """A shard put in place with its hash stated as it is: only what is in it is wrong."""
    file = folder / f"shards/{number:05d}.parquet"
    parquet.write_table(table, file)
    record = json.loads((folder / "shards.json").read_text())
    record["shards"][number] |= {
        "bytes": file.stat().st_size, "sha256": shards.file_hash(file), "rows": table.num_rows
    }  # fmt: skip
    (folder / "shards.json").write_text(json.dumps(record))


def stated(folder, **changes):
    record = json.loads((folder / "shards.json").read_text())
    for key, value in changes.items():
        if key in ("format", "version", "rows_version", "shards"):
            record[key] = value
        else:
            record["shards"][1][key] = value
    (folder / "shards.json").write_text(json.dumps(record))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


ROW = to_line(to_json(sample(0)))


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda d: (d / "shards/00001.parquet").unlink(), "00001.parquet: missing; shards.json names it"),
        (lambda d: flip(d / "shards/00001.parquet"), "00001.parquet: SHA-256"),
        (lambda d: (d / "shards/00001.parquet").write_bytes(b"PAR1"), "00001.parquet: 4 bytes, shards.json"),
        (lambda d: stated(d, rows=11), "00001.parquet: 10 rows, shards.json states 11"),
        (lambda d: stated(d, sha256="0" * 64), "damaged, or another file"),
        (lambda d: stated(d, sha256="x"), "shards[1]: expected file, rows, bytes and sha256"),
        (lambda d: stated(d, file="../../etc/passwd"), "shards[1]: file is '../../etc/passwd', expected"),
        (lambda d: stated(d, file="shards/00000.parquet"), "shards[1]: file is 'shards/00000.parquet'"),
        (lambda d: stated(d, shards=[]), "shards is [], expected a list"),
        (lambda d: stated(d, shards=[7]), "shards[0]: expected file, rows"),
        (lambda d: stated(d, version=99), "version 99 of tvad-shards is newer"),
        (lambda d: stated(d, rows_version=99), "version 99 of tvad-dataset is newer"),
        (lambda d: stated(d, rows_version=None), "version is None"),
        (lambda d: (d / "shards.json").write_text("{"), "shards.json: cannot be read"),
        (lambda d: (d / "shards.json").write_bytes(b"\xff"), "shards.json: cannot be read"),
        (lambda d: (d / "shards.json").write_text("[]"), "expected a mapping"),
        (lambda d: rewritten(d, 1, pa.table({"id": ["a"], "row": [1]})), "no column 'row' of texts"),
        (lambda d: rewritten(d, 1, pa.table({"id": ["a"]})), "no column 'row' of texts"),
        (lambda d: rewritten(d, 1, pa.table({"id": ["a", None], "row": ["", ""]})), "a row without id"),
        (lambda d: rewritten(d, 1, pa.table({"id": ["clip_000000"], "row": [ROW]})), "appears twice"),
    ],
)  # fmt: skip
def test_a_shard_that_is_not_what_was_written_is_one_line(small, harm, said):
    harm(small)
    for read in (load, check, load_checked):
        with pytest.raises(InputError) as error:
            read(small)
        assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "rows, said",
    [
        (["{"], "00001.parquet:1: not JSON"),
        ([ROW], "00001.parquet:1: id 'clip_000000' in the row, 'x0' beside it"),
        (['{"id": "x0"}'], "00001.parquet:1: missing key"),
        (
            [to_line(to_json(sample(0)) | {"id": "x0", "video": {"path": "../../../etc/passwd"}})],
            "leaves the data set's folder",
        ),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(small, rows, said, capsys):
    rewritten(small, 1, pa.table({"id": [f"x{n}" for n in range(len(rows))], "row": rows}))
    assert main(["data", "check", str(small)]) == 1
    assert sum(said in line for line in capsys.readouterr().out.splitlines()) == 1
    good, _ = readable(small)
    assert len(good) >= 15 and [s.id for s in good[:10]] == [f"clip_{n:06d}" for n in range(10)]


def test_rows_with_problems_are_refused_where_they_are_read_or_left_out(small, capsys):
    wrong = [sample(50), sample(51)]
    rows = [to_line(to_json(wrong[0])), to_line(to_json(wrong[1]) | {"spans": [[3.0, 1.0]]})]
    rewritten(small, 1, pa.table({"id": [s.id for s in wrong], "row": rows}))
    samples = load_checked(small)
    with pytest.raises(InputError, match=r"clip_000051: .*drop_bad_rows"):
        list(samples)
    kept = load_checked(small, drop=True)
    assert "clip_000051" not in [s.id for s in kept] and len(kept) == len(samples) - 1
    assert "dropped clip_000051" in capsys.readouterr().err


def test_readers_write_shards_where_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr("tvad.data.folder.MANY", 20)
    monkeypatch.setattr(shards, "ROWS", 10)
    tried = []

    def make(name, folder):
        tried.append(name)
        if name == "7" and tried.count("7") == 1:
            raise KeyboardInterrupt
        if name == "9":
            raise InputError("damaged")
        return [sample(int(name))]

    with pytest.raises(KeyboardInterrupt):
        build.build(tmp_path / "out", map(str, range(30)), make, "test", {})
    with (tmp_path / "out/samples.partial.jsonl").open("a") as log:
        log.write('{"name": "5", "sam')
    samples, problems = build.build(tmp_path / "out", map(str, range(30)), make, "test", {})
    assert isinstance(samples, shards.Rows) and [s.id for s in samples] == [
        f"clip_{n:06d}" for n in range(30) if n != 9
    ]
    assert tried.count("3") == 1 and [p.where for p in problems] == ["9"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "dataset.json", "masks", "shards", "shards.json", "videos"
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"shards\.json: exists"):
        build.build(tmp_path / "out", ["1"], make, "test", {})


def test_windows_and_clips_of_a_set_in_shards(tmp_path, monkeypatch):
    from tvad.data import video

    monkeypatch.setattr("tvad.data.folder.MANY", 2)
    data = tmp_path / "data"
    (data / "videos").mkdir(parents=True)
    made = []
    for n in range(4):
        frames = np.full((96, 48, 64, 3), 40 * n, np.uint8)
        video.write(data / f"videos/v{n}.mp4", frames, 4)
        spans = ((2.0, 5.0),) if n % 2 else ()
        shown = Video(f"videos/v{n}.mp4", 4.0, 96, 64, 48)
        made.append(Sample(f"v{n}", "made", "train", shown, "anomalous" if spans else "normal", spans=spans))
    save(made, data)
    assert isinstance(load(data), shards.Rows)
    cut, problems = windows.cut(data, tmp_path / "windows", 12.0, 6.0)
    assert len(cut) == 12 and not problems and isinstance(cut, shards.Rows)
    counts, problems = reclip.reclip([str(data)], tmp_path / "parts", 0)
    assert not problems and sum(counts.values()) == 4 and not (tmp_path / "parts/shards.json").exists()
    parts = [load(tmp_path / "parts" / part) for part in ("train", "test")]
    assert {s.split for s in parts[0]} == {"train"} and not check(tmp_path / "parts/train")
