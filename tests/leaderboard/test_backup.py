"""A board as one file and back: made while submissions come and go, restored on another database, and refused
where it is damaged, hostile or in the way of something."""

import json
import os
import shutil
import stat
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from board_fixtures import ON_SQLITE_FIRST, Place
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update

from leaderboard import backup as backups
from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.store import Store, dump
from leaderboard.store.database import connect, upgrade
from leaderboard.store.tables import Account, Submission
from leaderboard.web.app import build_app
from tvad.common.errors import InputError
from tvad.common.files import file_hash

ADDRESSES = (
    "/suites/{table}",
    "/suites/{table}?split=private&sort=mcq.accuracy",
    "/suites/{table}/versions",
    "/api/tables/{table}",
    "/api/tables/{table}?split=private",
)


def cleared(url: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def filled(folder: Path, runs: Path, database: str | None) -> Place:
    """A board with a private split and one submission in every state, two of them alike."""
    suite = str(runs / "suite.yaml")
    render = {"setting": "core", "clips": 4, "normal": 0.5, "max_crowd": 1}
    hidden = {"config": suite, "split": "private", "table": "scenes", "render": render}
    place = Place(folder, runs, database, suites={"scenes": {"config": suite}, "hidden": hidden}, daily=50)
    with place.store.engine.begin() as connection:
        connection.execute(update(Account).values(daily=50))
    place.scored("oracle", name="seer", organisation="Łódź 東京", parameters=1.1e9)
    place.send(place.packed("oracle", name="copy"), place.other)
    place.score()
    gone = place.scored("prior", name="gone")
    place.client.delete(f"/api/submissions/{gone}", headers=place.bearer())
    place.send(place.packed("random", name="broken"))
    place.store.fail(place.store.claim(60), "what failed")
    place.send(place.packed("random", name="waits"))
    return place


def answers(client: TestClient, store: Store) -> dict[str, tuple[int, Any]]:
    """Every page, picture and run that a board answers with."""
    found = {}

    def ask(address: str) -> None:
        answer = client.get(address)
        data = "json" in answer.headers["content-type"]  # its keys have no order
        found[address] = (answer.status_code, answer.json() if data else answer.content)

    for address in ADDRESSES:
        ask(address.format(table="scenes"))
    with store.engine.connect() as connection:
        names = list(connection.scalars(select(Submission.hash).order_by(Submission.hash)))
    for name in names:
        for end in ("", "/scenes/samples", "/scenes/frames/0.jpg"):
            ask(f"/models/{name}{end}")
        ask(f"/api/submissions/{name}")
        ask(f"/api/submissions/{name}/runs/scenes")
    ask(f"/compare?suite=scenes&m={names[0]}&m={names[1]}")
    ask("/suites/hidden/inputs.zip")
    return found


@pytest.mark.parametrize("way", ["sqlite sqlite", "sqlite postgresql", "postgresql sqlite"])
def test_a_board_is_restored_with_every_page_and_score(tmp_path, baseline_runs, way, request):
    source, target = (
        request.getfixturevalue("postgres").url if kind == "postgresql" else None for kind in way.split()
    )
    if source or target:
        cleared(source or target)
    (tmp_path / "a").mkdir()
    place = filled(tmp_path / "a", baseline_runs, source)
    assert main(["backup", "--config", str(place.config), "--out", str(tmp_path / "b.zip")]) == 0
    assert stat.S_IMODE((tmp_path / "b.zip").stat().st_mode) == 0o600
    before = answers(place.client, place.store)
    assert sum(status == 200 for status, _ in before.values()) > 18

    plan = json.loads(place.config.read_text()) | {"folder": str(tmp_path / "new/board"), "database": target}
    (tmp_path / "new.yaml").write_text(json.dumps(plan))
    assert main(["restore", str(tmp_path / "b.zip"), "--config", str(tmp_path / "new.yaml")]) == 0
    board = boards.read(str(tmp_path / "new.yaml"))
    store = Store(connect(board.url))
    client = TestClient(build_app(board, store), raise_server_exceptions=False)
    assert answers(client, store) == before
    assert store.account_of(place.token) == "lab" and store.audit(1000) == place.store.audit(1000)
    secret = tmp_path / "new/board/secret"
    assert secret.read_bytes() == (place.folder / "board/secret").read_bytes()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new/board/private").stat().st_mode) == 0o700
    assert not list((tmp_path / "new/board").glob(".*"))

    # It goes on from there: what waited is scored, new rows get numbers of their own.
    token = store.create_account("third", 5)
    place.board, place.store, place.client = board, store, client
    place.score()
    assert place.send(place.packed("prior", name="later"), token).status_code == 202
    place.score()
    rows = client.get("/api/tables/scenes").json()["models"]
    assert {row["card"]["name"] for row in rows} >= {"seer", "copy", "waits", "later"}
    with pytest.raises(InputError, match="is not empty"):
        backups.restore(tmp_path / "b.zip", board)
    assert client.get("/api/tables/scenes").json()["models"] == rows
    store.engine.dispose()


@ON_SQLITE_FIRST
def test_a_copy_made_while_the_board_is_written_to_is_whole(tmp_path, baseline_runs, database):
    """Submissions are sent, scored and withdrawn by threads while copies are made; every row of every copy
    finds its files, and nothing of what was withdrawn is in a board that is restored."""
    place = filled(tmp_path, baseline_runs, database)
    packed = [place.packed("random", name=f"m{n}") for n in range(12)]
    stop, sent = threading.Event(), []

    def write() -> None:
        for n, data in enumerate(packed):
            name = place.send(data).json()["hash"]
            place.score()
            if n % 2:
                place.store.withdraw("lab", name)
                shutil.rmtree(place.board.submission(name), ignore_errors=True)
            sent.append(name)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    copies = []
    while not stop.is_set() or len(copies) < 2:
        copies.append(tmp_path / f"copy{len(copies)}.zip")
        _, missing = backups.backup(place.board, place.store, copies[-1])
        assert not missing
    writer.join()
    assert len(sent) == len(packed)
    counts = []
    for n, copy in enumerate(copies[:: max(1, len(copies) // 4)]):
        board = boards.read(str(place.config), ["--folder", str(tmp_path / f"r{n}")])
        board.database = f"sqlite:///{tmp_path}/r{n}.sqlite"
        backups.restore(copy, board)
        store = Store(connect(board.url))
        with store.engine.connect() as connection:
            named = backups.named_by(connection)
            withdrawn = connection.scalars(select(Submission.hash).where(Submission.state == "withdrawn"))
            assert not [name for name in withdrawn if board.submission(name).exists()]
            counts.append(len(list(connection.scalars(select(Submission.hash)))))
        assert named and all((Path(board.folder) / name).is_dir() for name in named)
        store.engine.dispose()
    assert counts == sorted(counts)


def rewritten(source: Path, target: Path, change) -> Path:
    """A backup with its members and manifest changed: change(members, manifest)."""
    with zipfile.ZipFile(source) as archive:
        members = {entry.filename: (entry, archive.read(entry)) for entry in archive.infolist()}
    manifest = json.loads(members.pop("backup.json")[1])
    change(members, manifest)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name, (entry, data) in members.items():
            made = zipfile.ZipInfo(name)
            made.external_attr = entry.external_attr
            out.writestr(made, data)
        out.writestr("backup.json", json.dumps(manifest))
    return target


def _added(name: str, data: bytes = b"x", mode: int = stat.S_IFREG | 0o644):
    def change(members, manifest):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        members[name] = (entry, data)
        manifest["files"][name] = {"bytes": len(data), "sha256": backups.hashlib.sha256(data).hexdigest()}

    return change


def _row(members, manifest, line: bytes) -> None:
    name = "tables/accounts.jsonl"
    data = members[name][1] + line
    members[name] = (members[name][0], data)
    manifest["files"][name] = {"bytes": len(data), "sha256": backups.hashlib.sha256(data).hexdigest()}


HOSTILE = {
    "outside": (_added("files/../../outside"), "plain relative names"),
    "root": (_added("/etc/outside"), "plain relative names"),
    "backslash": (_added("files/..\\outside"), "plain relative names"),
    "elsewhere": (_added("bin/outside"), "no place in a backup"),
    "link": (_added("files/link", b"/etc/passwd", stat.S_IFLNK | 0o777), "is a link"),
    "device": (_added("files/dev", b"", stat.S_IFCHR | 0o666), "no plain file"),
    "unlisted": (lambda m, f: f["files"].pop("files/secret"), "does not fit"),
    "lacking": (lambda m, f: m.pop("files/secret"), "does not fit"),
    "changed": (lambda m, f: m.update({"files/secret": (m["files/secret"][0], b"0" * 64)}), "is damaged"),
    "larger": (lambda m, f: m.update({"files/secret": (m["files/secret"][0], b"0" * 9**7)}), "is damaged"),
    "newer": (lambda m, f: f.update(revision="9999"), "another version"),
    "newer form": (lambda m, f: f.update(version=99), "newer than this installation"),
    "no number": (lambda m, f: f.update(files={"files/secret": {"bytes": "1", "sha256": 2}}), "does not fit"),
    "no files": (lambda m, f: f.update(files=7), "cannot be read"),
    "no row": (lambda m, f: _row(m, f, b"[1, 2\n"), "is no row"),
    "nan": (lambda m, f: _row(m, f, b'{"id": NaN}\n'), "is no row"),
    "column": (lambda m, f: _row(m, f, b'{"id": 77, "root": 1}\n'), "is no row"),
    "type": (lambda m, f: _row(m, f, b'{"id": "77; DROP TABLE"}\n'), "is no row"),
    "nested": (lambda m, f: _row(m, f, b"[" * 99999), "is no row"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory, baseline_runs):
    """A board with one submission, and its backup."""
    folder = tmp_path_factory.mktemp("small")
    place = Place(folder, baseline_runs)
    place.scored()
    backups.backup(place.board, place.store, folder / "b.zip")
    yield folder
    place.store.engine.dispose()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_backup_is_one_line_and_leaves_nothing(small, tmp_path, case, capsys):
    change, words = HOSTILE[case]
    archive = rewritten(small / "b.zip", tmp_path / "bad.zip", change)
    _refused(small, tmp_path, archive, words)


def _refused(small: Path, tmp_path: Path, archive: Path, words: str) -> None:
    board = boards.read(str(small / "board.yaml"), ["--folder", str(tmp_path / "in/new")])
    with pytest.raises(InputError) as caught:
        backups.restore(archive, board)
    assert words in str(caught.value) and len(str(caught.value)) < 500
    assert not list((tmp_path / "in").glob("*/*")) and not (tmp_path / "outside").exists()


def test_a_backup_cut_off_anywhere_is_refused(small, tmp_path):
    data = (small / "b.zip").read_bytes()
    for part in (0, 1, len(data) // 3, len(data) - 30, len(data) - 1):
        (tmp_path / "cut.zip").write_bytes(data[:part])
        _refused(small, tmp_path, tmp_path / "cut.zip", "cannot be restored")


def test_nothing_that_is_there_is_written_over(small, tmp_path, database):
    board = boards.read(str(small / "board.yaml"), ["--folder", str(tmp_path / "new")])
    (tmp_path / "new").mkdir()
    (tmp_path / "new/mine").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        backups.restore(small / "b.zip", board)
    assert os.listdir(tmp_path / "new") == ["mine"]
    board.folder, board.database = str(tmp_path / "newer"), database
    engine = connect(database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (a INTEGER)"))
    with pytest.raises(InputError, match="holds tables already"):
        backups.restore(small / "b.zip", board)
    with engine.connect() as connection:
        assert dump.names(connection) == ["theirs"]
    engine.dispose()
    assert not (tmp_path / "newer").exists()


def test_a_backup_of_an_older_program_is_brought_to_this_ones_form(small, tmp_path):
    """Rows of revision 0003, which lacks what later revisions added."""
    engine = connect(f"sqlite:///{tmp_path}/old.sqlite")
    with engine.begin() as connection:
        upgrade(connection, "0003")
        old = {name: dump.inspect(connection).get_columns(name) for name in dump.names(connection)}
    engine.dispose()

    def change(members, manifest):
        manifest["revision"] = "0003"
        for name in [n for n in members if n.startswith("tables/")]:
            table = Path(name).stem
            if table not in old:
                del members[name], manifest["files"][name]
                continue
            kept = {column["name"] for column in old[table]}
            rows = [json.loads(line) for line in members[name][1].splitlines()]
            data = b"".join(json.dumps({k: r[k] for k in r if k in kept}).encode() + b"\n" for r in rows)
            members[name] = (members[name][0], data)
            digest = backups.hashlib.sha256(data).hexdigest()
            manifest["files"][name] = {"bytes": len(data), "sha256": digest}

    archive = rewritten(small / "b.zip", tmp_path / "old.zip", change)
    board = boards.read(str(small / "board.yaml"), ["--folder", str(tmp_path / "new")])
    backups.restore(archive, board)
    store = Store(connect(board.url))
    client = TestClient(build_app(board, store))
    assert [row["card"]["name"] for row in client.get("/api/tables/scenes").json()["models"]] == ["guess"]
    store.engine.dispose()


def test_missing_files_are_said_and_the_rest_is_kept(tmp_path, baseline_runs, capsys):
    place = Place(tmp_path, baseline_runs)
    name = place.scored()
    shutil.rmtree(place.board.submission(name))
    (tmp_path / "board/scoring-ab12").mkdir()
    (tmp_path / "board/scoring-ab12/link").symlink_to("/etc/passwd")  # of a scorer at work
    words = ["backup", "--config", str(place.config), "--out"]
    assert main([*words, str(tmp_path / "b.zip")]) == 1
    said = capsys.readouterr()
    assert f"submissions/{name} is missing" in said.err and (tmp_path / "b.zip").exists()
    first = file_hash(tmp_path / "b.zip")
    with pytest.raises(InputError, match="lies in the board's folder"):
        main([*words, str(tmp_path / "board/b.zip")])
    (tmp_path / "board/scored/link").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="no plain file"):
        main([*words, str(tmp_path / "b.zip")])
    assert file_hash(tmp_path / "b.zip") == first, "a copy that fails leaves the last one"
    assert not list(tmp_path.glob(".tmp*"))
    place.store.engine.dispose()
