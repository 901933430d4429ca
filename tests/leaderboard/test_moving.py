"""A board's rows go to another database as they are, or not at all."""

import json
import threading

import pytest
from board_fixtures import Place
from fastapi.testclient import TestClient
from sqlalchemy import insert, text

from leaderboard import backup as backups
from leaderboard import moving
from leaderboard.__main__ import main
from leaderboard.board import config as boards
from leaderboard.store import Store, dump
from leaderboard.store.database import connect
from leaderboard.store.tables import Identity
from leaderboard.web.app import build_app
from tvad.common.errors import InputError

ODD = ["ä", "Z", "a", "é", "A b", "_", "東京", "\U0001f600", "z\u0301", "'; DROP TABLE accounts; --"]


def sqlite(tmp_path, request):
    return f"sqlite:///{tmp_path}/other.sqlite"


def postgresql(tmp_path, request):
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture(params=["sqlite postgresql", "postgresql sqlite"])
def way(request, tmp_path):
    """Addresses of two databases."""
    kinds = {"sqlite": sqlite, "postgresql": postgresql}
    return [kinds[kind](tmp_path, request) for kind in request.param.split()]


def to(place, database, tmp_path, **changed) -> str:
    """The configuration with another database."""
    plan = json.loads(place.config.read_text()) | {"database": database} | changed
    (tmp_path / "to.yaml").write_text(json.dumps(plan))
    return str(tmp_path / "to.yaml")


def counted(url: str) -> dict[str, moving.Sums]:
    engine = connect(url)
    sums = {table.name: moving.Sums() for table in dump.tables()}
    with engine.connect() as connection:
        for table in dump.tables():
            for line in dump.lines(connection, table):
                sums[table.name].add(line)
    engine.dispose()
    return sums


def filled(tmp_path, runs, database) -> Place:
    place = Place(tmp_path, runs, database)
    place.scored("oracle", name="seer", organisation="Łódź 東京", parameters=1.1e9)
    gone = place.scored("prior", name="gone")
    place.client.delete(f"/api/submissions/{gone}", headers=place.bearer())
    place.send(place.packed("random", name="waits"))
    with place.store.engine.begin() as connection:  # sorted otherwise by each database
        for subject in ODD:
            row = {
                "issuer": "https://id",
                "subject": subject,
                "account_id": 1,
                "created": backups.datetime.now(),
            }
            connection.execute(insert(Identity).values(**row))
    return place


def test_a_board_goes_on_in_another_database(tmp_path, baseline_runs, way, capsys):
    place = filled(tmp_path, baseline_runs, way[0])
    before, rows = counted(way[0]), place.client.get("/api/tables/scenes").json()["models"]
    config = to(place, way[1], tmp_path)
    assert main(["move", "--config", str(place.config), "--to", config]) == 0
    said = capsys.readouterr().out
    assert "identities              10 rows" in said and before == counted(way[1])
    assert before["submissions"].count == 3 and before["scores"].count > 5

    # Who still runs on the old one acknowledges nothing, and says that it is the server's fault.
    late = place.send(place.packed("random", name="late"))
    assert late.status_code >= 500 and "hash" not in late.json()
    with pytest.raises(InputError, match="was moved already"):
        main(["move", "--config", str(place.config), "--to", config])
    board = boards.read(config)
    store = Store(connect(board.url))
    client = TestClient(build_app(board, store), raise_server_exceptions=False)
    assert client.get("/api/tables/scenes").json()["models"] == rows
    old = place.store
    place.board, place.store, place.client = board, store, client
    place.score()
    assert place.send(place.packed("prior", name="later")).status_code == 202, "rows get numbers of their own"
    place.score()
    names = {row["card"]["name"] for row in client.get("/api/tables/scenes").json()["models"]}
    assert names == {"seer", "waits", "later"}

    # The old file of the folder is no part of a backup, nor in its way.
    backups.backup(board, store, tmp_path / "b.zip")
    again = boards.read(config, ["--folder", str(tmp_path / "again")])
    again.database = None
    backups.restore(tmp_path / "b.zip", again)
    assert counted(again.url)["submissions"].count == 4
    old.engine.dispose()
    store.engine.dispose()


def test_nothing_moves_onto_anything_nor_in_part(tmp_path, baseline_runs, way, monkeypatch):
    place = filled(tmp_path, baseline_runs, way[0])
    before, words = counted(way[0]), ["move", "--config", str(place.config), "--to"]
    engine = connect(way[1])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (a INTEGER)"))
    with pytest.raises(InputError, match=r"is not empty \(theirs"):
        main([*words, to(place, way[1], tmp_path)])
    with engine.begin() as connection:
        assert dump.names(connection) == ["theirs"]
        connection.execute(text("DROP TABLE theirs"))
    for changed, said in (({"folder": str(tmp_path / "elsewhere")}, "only rows are moved"),):
        with pytest.raises(InputError, match=said):
            main([*words, to(place, way[1], tmp_path, **changed)])
    with pytest.raises(InputError, match="the same in both"):
        main([*words, to(place, way[0], tmp_path)])

    real, seen = dump.fill, []

    def lossy(connection, at, given):  # a database that keeps another text than it was given
        seen.append(at)
        real(connection, at, given)
        connection.execute(text("UPDATE accounts SET name = 'lad' WHERE name = 'lab'"))

    monkeypatch.setattr(dump, "fill", lossy)
    with pytest.raises(InputError, match="accounts: 2 rows here, 2 there, or others"):
        main([*words, to(place, way[1], tmp_path)])
    monkeypatch.setattr(dump, "fill", lambda *_: (_ for _ in ()).throw(InputError("cut off")))
    with pytest.raises(InputError, match="cut off"):
        main([*words, to(place, way[1], tmp_path)])
    with engine.connect() as connection:
        assert dump.names(connection) == [], "what failed has left nothing"
    assert counted(way[0]) == before and place.store.account_of(place.token) == "lab"
    place.store.engine.dispose()
    engine.dispose()


def test_what_is_acknowledged_while_rows_move_is_there(tmp_path, baseline_runs, way, monkeypatch):
    """Submissions are sent from another thread all the while; each is refused, or in the new database."""
    place = filled(tmp_path, baseline_runs, way[0])
    place.store.engine.dispose()
    with place.store.engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET daily = 500"))
    packed = [place.packed("random", name=f"m{n}") for n in range(10)]
    taken, begun, stop = [], threading.Event(), threading.Event()

    def write() -> None:
        for data in packed * 50:
            answer = place.send(data)
            taken.extend([answer.json()["hash"]] if answer.status_code == 202 else [])
            begun.set()
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(30)
    moving.move(boards.read(str(place.config)), boards.read(to(place, way[1], tmp_path)))
    stop.set()
    writer.join()
    store = Store(connect(way[1]))
    assert taken and all(store.status(name) for name in taken)
    store.engine.dispose()
    place.store.engine.dispose()
