"""What a table says is what was scored, and of whom it says so: names that look like another's hash, heatmaps
sent twice, copies, assembled submissions."""

import json

import httpx
import numpy as np
import pytest
from board_fixtures import Place

from bench.score import read_maps
from leaderboard.__main__ import main
from leaderboard.scoring import evidence
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore


@pytest.fixture
def board(tmp_path, baseline_runs):
    """A board of one database: nothing here is about databases."""
    found = Place(tmp_path, baseline_runs)
    yield found
    found.store.engine.dispose()


@pytest.fixture
def gate(board, tmp_path, monkeypatch):
    """`leaderboard gate` against a board."""
    (tmp_path / "gate.yaml").write_text("metrics: {mcq.accuracy: 0.05}")

    def through(request):
        answer = board.client.request(request.method, request.url.raw_path.decode())
        return httpx.Response(answer.status_code, content=answer.content)

    made = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **given: made(**given, transport=httpx.MockTransport(through))
    )
    where = ["--suite", "scenes", "--url", "http://board", "--gate", str(tmp_path / "gate.yaml")]
    return lambda model, against: main(["gate", model, "--against", against, *where])


def test_a_model_named_like_a_hash_is_not_taken_for_it(board, gate):
    wrong = board.scored("random", name="candidate")
    right = board.scored("oracle", name="seer")
    for named in (wrong, wrong[:12], wrong.upper()):
        board.send(board.packed("oracle", name=named), board.other)  # a perfect run in the candidate's name
    board.score()
    for named in (wrong, wrong[:12], "board:lab/candidate"):
        assert gate(named, right) == 1, "the candidate itself is compared"
    assert gate(f"board:other/{wrong}", right) == 0, "the other's, by its owner and name"


def test_a_name_of_several_accounts_is_refused(board, gate):
    first = board.scored("random", name="guess", description="first")
    board.send(board.packed("oracle", name="guess", description="other's"), board.other)
    board.score()
    with pytest.raises(InputError, match=r"may be any of other/guess \(.*lab/guess \(.*write OWNER/NAME"):
        gate("board:guess", first)
    assert gate("board:other/guess", "lab/guess") == 0 and gate("board:lab/guess", "other/guess") == 1
    board.send(board.packed("oracle", name="lab/guess"), board.other)  # a name that looks like an owner's
    board.score()
    assert gate("board:lab/guess", "other/guess") == 1


def test_a_run_that_was_not_made_is_not_taken_for_somebodys_model(board, gate):
    """`lab/candidate` is a model of the board, and reads like a folder."""
    right = board.scored("oracle", name="candidate")
    for missing in ("lab/candidate", "candidate", "runs/candidate"):
        with pytest.raises(InputError, match=f"{missing}: no such folder; .* its hash, or board:{missing}"):
            gate(missing, right)


def test_the_heatmap_that_is_shown_is_the_one_that_was_scored(board, scenes, tmp_path, monkeypatch):
    sample, folder = load(scenes)[0], tmp_path / "sent"
    (folder / "heatmaps").mkdir(parents=True)
    for name, value in (("first", 0.25), ("last", 0.75)):
        np.savez(folder / f"heatmaps/{name}.npz", heatmap=np.full((4, 4, 4), value, np.float32))
    lines = [
        {"id": sample.id, "task": "heatmap", "heatmap": f"heatmaps/{name}.npz"}
        for name in ("missing", "first", "last")
    ]
    predictions = folder / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rejected = []
    rows = list(enumerate(lines, 1))
    [(_, heat, _, _)] = read_maps(rows, predictions, [sample], ClipStore(2.0, 8), rejected)
    assert heat.max() == 0.25 and [p.where.rpartition(":")[2] for p in rejected] == ["1", "3"]
    drawn = []
    monkeypatch.setattr(
        evidence,
        "picture",
        lambda s, line, store, heat, _: drawn.append(heat) or np.zeros((8, 8, 3), np.uint8),
    )
    run = board.folder / "scored"
    (run).mkdir()
    line = {"id": f"{sample.id}#0", "task": "judgement", "sample": sample.id, "scores": {}}
    (run / "samples.jsonl").write_text(json.dumps(line) + "\n")
    suite, samples, items = board.pages.opened["scenes"]
    evidence.show(run, suite, samples, items, folder, 1)
    assert drawn[0].max() == 0.25
