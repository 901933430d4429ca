"""A private split whose questions tell their answers is refused before it opens."""

from dataclasses import replace

import pytest
from perf import blind_audit

from bench import leaks
from leaderboard.board import config as boards
from leaderboard.board.phases import PHASES
from tvad.common.errors import InputError
from tvad.data import save


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "wrong options of 13 classes, right ones of 6",
            "of its options are right 'abandoned object' 0 of",
        ),
        ("sorted by class", "by the order of the clips"),
        ("two right options of three stand first", "by its options"),
        ("a question that anomalous clips alone have", "by its words and which questions a clip has"),
    ],
)
def test_leaks_are_found_and_named(kind, words):
    found = leaks.told(blind_audit.items_of(blind_audit.KINDS[kind][1](200, 1)), 1)
    assert found and words in found


@pytest.mark.parametrize("kind", ["rendered, core", "options of words, two questions a clip"])
def test_honest_questions_are_opened(kind):
    assert blind_audit.refused(kind, 100, range(2)) == 0


def test_a_private_split_that_tells_its_answers_is_not_opened(tmp_path):
    def suite(name, samples):
        (tmp_path / name).mkdir()
        for sample in samples:
            (tmp_path / name / sample.video.path).touch()
        save([replace(s, questions=s.questions[:2]) for s in samples], tmp_path / name)
        (tmp_path / f"{name}.yaml").write_text(
            f"{{name: s, data: {tmp_path / name}, tasks: [mcq, judgement]}}"
        )
        return f"{tmp_path}/{name}.yaml"

    told, kept = suite("told", blind_audit.leaky(200, 0)), suite("kept", blind_audit.honest(200, 0))
    for split in ("private", "public"):
        board = boards.Board(str(tmp_path / split), {"s": boards.BoardSuite(told, split=split)})
        if split == "public":
            assert board.open().keys() == {"s"}
            continue
        with pytest.raises(InputError, match="suites: s: a private split is not opened: mcq: of its options"):
            board.open()
        assert not board.book("s").phases(), "no phase begins"
    board = boards.Board(str(tmp_path / "later"), {"s": boards.BoardSuite(kept, split="private")})
    suite_, samples, _ = board.open()["s"]
    board.version("s", suite_, samples)
    board.suites["s"].phases.following = [told]
    board.book("s").close()
    with pytest.raises(InputError, match="a private split is not opened"):
        board.turn(lambda name: False)
    assert board.taken == [] and len(board.book("s").phases()) == 1, "nor is it as a next phase"
    assert (tmp_path / "later/private/s" / PHASES).exists() and board.open().keys() == {"s"}
