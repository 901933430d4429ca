"""Submissions and scored runs in an object store: whole or not there, whoever dies; fetched where they are
asked for, and never taken for what they are not."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile

import fsspec
import pytest
from board_fixtures import Place
from conftest import ROOT
from fastapi.testclient import TestClient
from fsspec.implementations.memory import MemoryFileSystem

from leaderboard import backup as backups
from leaderboard.board import config as boards
from leaderboard.intake import objects, withdrawal
from leaderboard.intake.objects import Objects, Unstored
from leaderboard.scoring import faults
from leaderboard.scoring.scorer import Scorer
from leaderboard.store import Store
from leaderboard.store.database import connect
from leaderboard.web.app import build_app
from tvad.common.errors import InputError


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    """Addresses of stores: of files, as another process sees them too, and of memory."""
    MemoryFileSystem.store.clear()
    objects._objects.cache_clear()
    yield f"file://{tmp_path}/store" if request.param == "file" else "memory://bucket/board"
    MemoryFileSystem.store.clear()


@pytest.fixture
def place(tmp_path, baseline_runs, url):
    found = Place(tmp_path, baseline_runs, storage=url, daily=50)
    yield found
    found.store.engine.dispose()


def elsewhere(place, tmp_path, name="other", **changed) -> boards.Board:
    """The board as another machine has it: rows and store are the same, of the folder only the secret."""
    folder = tmp_path / name
    folder.mkdir()
    if (place.folder / "board/secret").exists():
        shutil.copy(place.folder / "board/secret", folder / "secret")
    plan = (
        json.loads(place.config.read_text()) | {"folder": str(folder), "database": place.board.url} | changed
    )
    (tmp_path / f"{name}.yaml").write_text(json.dumps(plan))
    return boards.read(str(tmp_path / f"{name}.yaml"))


def kept(place) -> dict[str, set[str]]:
    store = objects.of(place.board)
    return {kind: set(store.names(kind)) for kind in (*objects.KINDS, objects.ARRIVING)}


def test_what_one_machine_takes_another_scores_and_a_third_shows(place, tmp_path):
    name = place.send(place.packed("oracle")).json()["hash"]
    assert kept(place) == {"submissions": {name}, "scored": set(), "arriving": set()}
    shutil.rmtree(place.board.submission(name))  # this machine dies
    scoring = elsewhere(place, tmp_path, "scoring")
    assert Scorer(str(tmp_path / "scoring.yaml"), scoring, place.store).work_once()
    assert place.store.status(name)["state"] == "done", place.store.status(name)
    [run] = kept(place)["scored"]
    shutil.rmtree(scoring.folder)
    shown = elsewhere(place, tmp_path, "shown")
    client = TestClient(build_app(shown, place.store), raise_server_exceptions=False)
    page = client.get(f"/models/{name}").text
    assert "Look at the answers" in page and not shown.scored(run).exists(), (
        "a page of figures fetches nothing"
    )
    assert client.get(f"/models/{name}/scenes/samples").status_code == 200 and shown.scored(run).is_dir()
    assert client.get(f"/models/{name}/scenes/frames/0.jpg").content[:2] == b"\xff\xd8"
    assert client.get(f"/api/submissions/{name}/runs/scenes").status_code == 200
    assert not list((tmp_path / "shown").glob("tmp-*"))


def test_a_damaged_or_exchanged_object_is_not_taken(place, tmp_path):
    name, other = place.scored("oracle", name="a"), place.scored("random", name="b")
    store = objects.of(place.board)
    board = elsewhere(place, tmp_path)
    at = store._at("submissions", name)
    with fsspec.open(place.board.storage.rstrip("/") + f"/submissions/{name}.zip", "rb") as file:
        whole = file.read()
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("card.yaml", b"0" * 10**7)
    outside = tmp_path / "outside.zip"
    with zipfile.ZipFile(outside, "w") as out:
        out.writestr("../outside", b"x")
    for data in (
        whole[: len(whole) // 2],
        b"",
        store.fs.cat_file(store._at("submissions", other)),
        whole[:200] + b"X" + whole[201:],
        bomb.read_bytes(),
        outside.read_bytes(),
    ):
        store.fs.pipe_file(at, data)
        with pytest.raises(Unstored, match=r"damaged|not what its name says"):
            objects.present(board, "submissions", name)
        assert not board.submission(name).exists() and not (tmp_path / "outside").exists()
    store.fs.pipe_file(at, whole)
    assert objects.present(board, "submissions", name).is_dir()
    assert not objects.present(board, "submissions", "0" * 64).exists()


def test_a_store_that_fails_loses_nothing_and_is_the_servers_fault(place, tmp_path, monkeypatch):
    kind = type(objects.of(place.board).fs)

    def failing(*_, **__):
        raise ConnectionError("the bucket at 10.0.0.1 is away")

    def cut(self, source, target, **_):  # half of it arrives, and then the connection ends
        with open(source, "rb") as file:
            self.pipe_file(target, file.read()[:100])
        raise TimeoutError

    def lossy(self, source, target, **_):
        with open(source, "rb") as file:
            self.pipe_file(target, file.read()[:-1])

    data = place.packed("oracle")
    for name, fault in (("put_file", failing), ("put_file", cut), ("put_file", lossy), ("mv", failing)):
        with monkeypatch.context() as patched:
            patched.setattr(kind, name, fault)
            answer = place.send(data)
        assert answer.status_code == 503 and "10.0.0.1" not in answer.text and answer.headers["retry-after"]
        assert not any(kept(place).values()) and not place.store.queue()
    assert not [row for row in place.store.audit() if row["action"] == "refuse"], "it counts for nobody"
    name = place.send(data).json()["hash"]
    with monkeypatch.context() as patched:
        patched.setattr(kind, "put_file", cut)
        Scorer(str(place.config), place.board, place.store).work_once()
    waits = place.store.status(name)["waits"]
    assert waits["reason"] == faults.SENTENCES["storage"] and waits["tries"] == 1
    assert not kept(place)["scored"]
    place.store.requeue(name)
    place.score()
    board = elsewhere(place, tmp_path)
    client = TestClient(build_app(board, place.store), raise_server_exceptions=False)
    with monkeypatch.context() as patched:
        patched.setattr(kind, "get_file", failing)
        answer = client.get(f"/models/{name}/scenes/samples", headers={"accept": "text/html"})
    assert answer.status_code == 503 and "10.0.0.1" not in answer.text
    assert client.get(f"/models/{name}/scenes/samples").status_code == 200


def test_withdrawn_means_gone_from_the_store_too_and_what_nobody_names_goes_in_time(place, monkeypatch):
    gone, stays = place.scored("oracle", name="gone"), place.scored("random", name="stays")
    [run] = [row["folder"] for row in place.store.results(stays)]
    place.client.delete(f"/api/submissions/{gone}", headers=place.bearer())
    assert kept(place) == {"submissions": {stays}, "scored": {run}, "arriving": set()}
    store = objects.of(place.board)
    store.put("submissions", gone, place.board.submission(stays))  # a scorer or a server that was late
    store.put("submissions", "a" * 64, place.board.submission(stays))
    store.fs.makedirs(f"{store.root}/arriving", exist_ok=True)
    store.fs.pipe_file(f"{store.root}/arriving/dead", b"half")
    store.remove("scored", run)  # lost, or never put: a board that got its store later
    objects.tidy(place.board, place.store)
    assert kept(place) == {"submissions": {stays, "a" * 64}, "scored": {run}, "arriving": {"dead"}}
    monkeypatch.setattr(objects, "STALE", -1.0)
    objects.tidy(place.board, place.store)
    assert kept(place) == {"submissions": {stays}, "scored": {run}, "arriving": set()}
    withdrawal.withdraw(place.board, place.store, None, stays)
    assert not any(kept(place).values())


def test_one_that_failed_by_the_hosts_fault_keeps_its_files(place, tmp_path, monkeypatch):
    sent = place.packed("random")
    name = place.send(sent).json()["hash"]
    place.store.fail(place.store.claim(60), "the disk is full", "disk")
    monkeypatch.setattr(objects, "STALE", -1.0)
    objects.tidy(place.board, place.store)
    store = objects.of(place.board)
    assert name in store.names("submissions")
    shutil.rmtree(place.board.submission(name))
    archive = tmp_path / "backup.zip"
    manifest, missing = backups.backup(place.board, place.store, archive)
    assert not missing and any(f"submissions/{name}/" in file for file in manifest["files"])
    # Where it is gone all the same, sending it again brings it back.
    store.remove("submissions", name)
    assert place.send(sent).json()["state"] == "failed"
    assert name in store.names("submissions") and objects.present(place.board, "submissions", name).is_dir()
    place.store.requeue(name)
    place.score()
    assert place.store.status(name)["state"] == "done"


def test_the_folder_keeps_as_much_as_it_may_and_nothing_that_is_nowhere_else(place, monkeypatch):
    names = [place.scored(which, name=which) for which in ("oracle", "random", "prior")]
    place.board.storage_here = 1e-9
    objects.tidy(place.board, place.store)
    assert all(place.board.submission(name).is_dir() for name in names), "asked for lately"
    for folder in (place.folder / "board").glob("s*/*"):
        os.utime(folder, (0, 0))
    objects.of(place.board).remove("submissions", names[0])
    place.board.submission(names[1]).touch()
    real, monkeypatched = place.store.named, {f"submissions/{names[0]}"}
    monkeypatch.setattr(place.store, "named", lambda: real() - monkeypatched)
    objects.tidy(place.board, place.store)
    left = {path.name for path in (place.folder / "board/submissions").iterdir()}
    assert left == {names[0], names[1]}, "what the store has not, and what is in use, stays"
    assert place.client.get(f"/models/{names[2]}/scenes/samples").status_code == 200, "and is fetched again"


def test_a_backup_holds_what_lies_in_the_store_and_fills_another(place, tmp_path, url):
    name = place.scored("oracle")
    [run] = kept(place)["scored"]
    for folder in (place.board.submission(name), place.board.scored(run)):
        shutil.rmtree(folder)
    _, missing = backups.backup(place.board, place.store, tmp_path / "b.zip")
    assert not missing and not place.board.submission(name).exists()
    target = elsewhere(place, tmp_path, "new", storage=f"{url}-new", database=None)
    shutil.rmtree(target.folder)
    with pytest.raises(InputError, match="is not empty"):
        backups.restore(tmp_path / "b.zip", boards.read(str(tmp_path / "new.yaml"), ["--storage", url]))
    real = Objects.put

    def second(self, kind, *given):
        if kind == "scored":
            raise Unstored("away")
        return real(self, kind, *given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Objects, "put", second)
        with pytest.raises(InputError, match="away"):
            backups.restore(tmp_path / "b.zip", target)
    there = objects.of(target)
    assert not any(there.names(kind) for kind in objects.KINDS), "a half restored store is empty"
    backups.restore(tmp_path / "b.zip", target)
    assert set(there.names("submissions")) == {name} and set(there.names("scored")) == {run}
    store = Store(connect(target.url))
    assert store.status(name)["state"] == "done" and target.scored(run).is_dir()
    store.engine.dispose()


SLOW = """
import sys, time
from pathlib import Path
from fsspec.implementations.local import LocalFileSystem
from leaderboard.intake.objects import Objects
def slow(self, source, target, **_):
    data = Path(source).read_bytes()
    with open(target, "wb") as out:
        out.write(data[: len(data) // 2]); out.flush()
        Path(sys.argv[3]).touch()
        time.sleep(60)
LocalFileSystem.put_file = slow
Objects(sys.argv[1], Path(sys.argv[4])).put("submissions", sys.argv[2], Path(sys.argv[5]))
"""


def test_an_upload_that_is_killed_leaves_nothing_under_the_name(tmp_path, baseline_runs, monkeypatch):
    objects._objects.cache_clear()
    place = Place(tmp_path, baseline_runs, storage=f"file://{tmp_path}/store")
    place.packed("oracle")
    folder = tmp_path / "sent"
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        archive.extractall(folder)
    name, begun = objects.HASHES["submissions"](folder), tmp_path / "begun"
    words = [place.board.storage, name, str(begun), str(tmp_path / "work"), str(folder)]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    store = objects.of(place.board)
    assert not store.names("submissions") and len(store.names("arriving")) == 1
    with store.fetched("submissions", name) as found:
        assert found is None
    store.put("submissions", name, folder)
    with store.fetched("submissions", name) as found:
        assert found is not None
    monkeypatch.setattr(objects, "STALE", -1.0)
    store.tidy({f"submissions/{name}"}, ())
    assert not store.names("arriving") and set(store.names("submissions")) == {name}
    place.store.engine.dispose()


def test_addresses_that_cannot_be_opened_are_one_line(tmp_path):
    known = [("nope://b/x", "Protocol not known")]
    known += [("s3://b/x", "s3fs")] * (importlib.util.find_spec("s3fs") is None)
    for url, words in known:
        with pytest.raises(InputError, match=words) as caught:
            Objects(url, tmp_path)
        assert "\n" not in str(caught.value)
    plan = {"folder": str(tmp_path), "suites": {"s": {"config": "x"}}, "storage_here": 2.0}
    (tmp_path / "b.yaml").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="storage_here"):
        boards.read(str(tmp_path / "b.yaml"))
