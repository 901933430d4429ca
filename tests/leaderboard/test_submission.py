import json
import os
import re
import stat
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from bench import suite as suites
from bench.models.baseline import Baseline
from bench.run import run
from leaderboard.__main__ import main
from leaderboard.card import read_card
from leaderboard.intake import archive as archives
from leaderboard.intake import submission
from leaderboard.intake.archive import Limits, unpack
from leaderboard.intake.submission import pack, verify
from tvad.common.errors import InputError

CARD = """
name: guess
organisation: a lab
licence: apache-2.0
contamination: none known
data: [nothing]
"""


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """A finished run of guesses, with heatmaps."""
    plan = suites.read(
        str(ROOT / "configs/bench/scenes.yaml"),
        ["--data", str(scenes), "--tasks", "[mcq, temporal]", "--resamples", "10"],
    )
    folder = tmp_path_factory.mktemp("run") / "guess"
    run(Baseline("random"), "baseline:random", plan, folder)
    np.savez(
        folder / "heatmaps.npz",
        **{"test_00000": np.zeros((2, 8, 8), np.float16), "../../escape": np.ones((2, 8, 8), np.float16)},
    )
    return folder


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    return path


@contextmanager
def opened(path):
    with tempfile.TemporaryDirectory() as folder:
        unpack(path, Path(folder))
        yield Path(folder)


def test_a_run_is_packed_verified_and_named_by_its_content(finished, card, tmp_path, capsys):
    one, two = (pack({"scenes": finished}, card, tmp_path / name) for name in ("a.zip", "b.zip"))
    assert one.hash == two.hash and (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    folder = pack({"scenes": finished}, card, tmp_path / "folder")
    assert folder.hash == one.hash and folder.suites == ["scenes"] and not folder.rejected
    with opened(tmp_path / "a.zip") as unpacked:
        assert verify(unpacked, ["scenes"]).card.name == "guess"
        lines = [
            json.loads(line) for line in (unpacked / "scenes/predictions.jsonl").read_text().splitlines()
        ]
        assert {line["task"] for line in lines} == {"mcq", "temporal", "heatmap"}
        with pytest.raises(InputError, match="suite 'scenes' is not taken here; taken: other"):
            verify(unpacked, ["other"])
    assert main(["verify", str(tmp_path / "a.zip")]) == 0
    assert one.hash in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip", "card.yaml", "folder"], (
        "nothing half-written stays"
    )


@pytest.mark.parametrize("lost", [0, 2])
def test_lines_that_will_not_be_scored_are_an_exit_status(
    finished, card, tmp_path, monkeypatch, capsys, lost
):
    pack({"scenes": finished}, card, tmp_path / "a.zip")
    answer = {"state": "queued", "url": "/models/x", "rejected_lines": lost}
    monkeypatch.setattr("leaderboard.client.Client.send", lambda *_: answer)
    monkeypatch.setenv("LEADERBOARD_TOKEN", "lb_x")
    assert main(["submit", str(tmp_path / "a.zip"), "--url", "http://127.0.0.1:1"]) == (1 if lost else 0)
    assert ("2 lines will not be scored" in capsys.readouterr().out) == bool(lost)


def test_the_command_writes_a_card_that_it_takes(tmp_path, capsys):
    assert main(["card", "--out", str(tmp_path / "card.yaml")]) == 0
    assert read_card((tmp_path / "card.yaml").read_text()).parameters is None
    with pytest.raises(InputError, match="exists already"):
        main(["card", "--out", str(tmp_path / "card.yaml")])
    with pytest.raises(InputError, match="expected SUITE=RUN"):
        main(["pack", "runs/x", "--card", "c", "--out", "o.zip"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("name: ''", "name is empty"),
        ("name: !!python/object/apply:os.system [id]", "YAML tags"),
        ("name: &a x", "anchors"),
        ("luck: 1", "unknown key 'luck'"),
        ("links: ['javascript:alert(1)']", "is no http"),
        ("links: ['https://x/\"><script>']", "is no http"),
        ("parameters: .nan", "expected float"),
        ("parameters: -1", "count, 1 to below"),
        ("parameters: .inf", "expected float"),
        ("data: []", "data is empty"),
        ('name: "a\\u202eb"', "control characters"),
        ("name: " + "x" * 101, "at most 100"),
        ("description: " + "x" * 3000, "at most 2000"),
        ("name: [a]", "expected str"),
        ("{", "not YAML|nested too deeply"),
        ("name: " + "[" * 60_000, "nested too deeply"),
        ("description: " + "y" * 70_000, "characters, at most"),
    ],
)
def test_bad_cards_are_refused(change, words):
    key = change.partition(":")[0]
    kept = "\n".join(line for line in CARD.splitlines() if not line.startswith(f"{key}:"))
    with pytest.raises(InputError, match=words):
        read_card(f"{kept}\n{change}\n")


def archive(path, entries, **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            out.writestr(info, data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "/etc/cron.d/x",
        "a/../../x",
        "a\\..\\x",
        ".hidden",
        "a/b/c/d",
        "a//b",
        "./a",
        "a/.ssh",
        "con.",
        "-rf",
    ],
)
def test_zip_slip(name, tmp_path):
    target = tmp_path / "in"
    target.mkdir()
    path = archive(tmp_path / "x.zip", [(name, b"x")])
    with pytest.raises(InputError):
        unpack(path, target)
    assert not list(target.rglob("*")) and sorted(p.name for p in tmp_path.iterdir()) == ["in", "x.zip"]


def test_bombs_stop_at_the_limit(tmp_path, monkeypatch):
    path = archive(tmp_path / "x.zip", [("a/predictions.jsonl", b"\0" * (64 << 20))])
    assert path.stat().st_size < 1 << 20
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="unpacks to more than"):
        unpack(path, tmp_path / "in")
    assert sum(f.stat().st_size for f in (tmp_path / "in").rglob("*") if f.is_file()) <= 16 << 20
    monkeypatch.setattr(archives, "LIMITS", Limits(files=3))
    many = archive(tmp_path / "y.zip", [(f"f{n}", b"") for n in range(5)])
    (tmp_path / "in2").mkdir()
    with pytest.raises(InputError, match="5 files, at most 3"):
        unpack(many, tmp_path / "in2")


def test_links_twins_and_damage(tmp_path, finished, card):
    for n, (entries, attributes, words) in enumerate(
        [
            ([("a", b"/etc/passwd")], {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
            ([("a", b"x"), ("A", b"y")], {}, "is there twice"),
        ]
    ):
        (tmp_path / f"in{n}").mkdir()
        with pytest.raises(InputError, match=words):
            unpack(archive(tmp_path / f"{n}.zip", entries, **attributes), tmp_path / f"in{n}")
    pack({"scenes": finished}, card, tmp_path / "whole.zip")
    whole = (tmp_path / "whole.zip").read_bytes()
    rng = np.random.default_rng(0)
    for n in range(60):  # cut or turned bytes anywhere: an error in one line, or the same content
        data = bytearray(whole[: rng.integers(1, len(whole))] if n % 2 else whole)
        data[int(rng.integers(len(data)))] ^= 255
        (tmp_path / "bad.zip").write_bytes(bytes(data))
        try:
            with opened(tmp_path / "bad.zip") as folder:
                verify(folder)
        except InputError:
            pass


def test_a_folder_with_links_or_changed_files_is_refused(finished, card, tmp_path):
    pack({"scenes": finished}, card, tmp_path / "s")
    predictions = tmp_path / "s/scenes/predictions.jsonl"
    text = predictions.read_text()
    predictions.write_text(text + json.dumps({"id": "x", "task": "mcq", "response": "A"}) + "\n")
    with pytest.raises(InputError, match=r"manifest\.json does not fit"):
        verify(tmp_path / "s")
    predictions.write_text(text)
    verify(tmp_path / "s")
    (tmp_path / "s/extra.txt").write_text("x")
    with pytest.raises(InputError, match="does not fit"):
        verify(tmp_path / "s")
    (tmp_path / "s/extra.txt").unlink()
    os.symlink("/etc/passwd", tmp_path / "s/link")
    with pytest.raises(InputError, match="is a link"):
        verify(tmp_path / "s")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "task": "mcq", "response": NaN}', "NaN is no JSON number"),
        (b"[" * 100_000, "nested too deeply|not JSON"),
        (b'{"id": "a", "task": "mcq", "response": "' + b"x" * (5 << 20) + b'"}', "more than 4194304 bytes"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"id": "a"}', "missing key 'task'"),
        (b'{"id": 1, "task": "mcq", "response": "A"}', "must be text"),
    ],
)
def test_hostile_lines_are_named_and_left_out(line, reason, finished, card, tmp_path):
    pack({"scenes": finished}, card, tmp_path / "s")
    predictions = tmp_path / "s/scenes/predictions.jsonl"
    predictions.write_bytes(line + b"\n" + predictions.read_bytes())
    (tmp_path / "s/manifest.json").write_text(json.dumps(submission.manifest_of(tmp_path / "s")))
    found = verify(tmp_path / "s")
    assert [p.where for p in found.rejected] == ["scenes/predictions.jsonl:1"]
    assert re.search(reason, found.rejected[0].reason)
    assert str(tmp_path) not in str(found.rejected[0])


def test_several_answers_a_question_are_not_packed(finished, card, tmp_path):
    several = tmp_path / "several"
    several.mkdir()
    for name in ("run.json", "metrics.json"):
        (several / name).write_bytes((finished / name).read_bytes())
    lines = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    (several / "samples.jsonl").write_text(
        "".join(json.dumps({**line, "attempt": n % 2}) + "\n" for n, line in enumerate(lines))
    )
    with pytest.raises(InputError, match="takes one"):
        pack({"scenes": several}, card, tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists() and not [
        p for p in tmp_path.iterdir() if p.name.startswith("tmp")
    ]
