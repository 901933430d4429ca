"""Written answers are read as a careful reader does: agreement with the labelled corpus, by kind."""

import json
from functools import cache

import pytest
from answer_corpus import CASES, KINDS, agrees, only_letter, ours, read

SHARE = 0.97
ROWS = {path.stem: read(path) for path in sorted(CASES.glob("*.jsonl"))}
PUBLIC = json.loads((CASES / "public_readers.json").read_text(encoding="utf-8"))


def rows(part: str, kind: str) -> list[dict]:
    return [row for row in ROWS[part] if row["kind"] == kind]


@cache
def right() -> frozenset[str]:
    """Ids of the rows of kind letter that are read as labelled."""
    given = [row for part in ROWS for row in rows(part, "letter")]
    return frozenset(row["id"] for row in given if agrees(row, ours(row)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ROWS)
def test_answers_are_read_as_a_careful_reader_does(part, kind):
    given = rows(part, kind)
    wrong = [row for row in given if not agrees(row, ours(row))]
    first = "".join(
        f"\n{row['id']} {row['text'][:160]!r}: {row['label']!r}, not {ours(row)!r}" for row in wrong[:12]
    )
    assert len(wrong) <= (1 - SHARE) * len(given), (
        f"{len(wrong)} of {len(given)} rows are read otherwise{first}"
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_letters_are_read_better_than_by_each_public_reader(name):
    """Over the rows that they were given: those of the second set they were not."""
    given = [row for part in ROWS for row in rows(part, "letter") if row["id"] in PUBLIC[name]]
    theirs = sum(agrees(row, only_letter(PUBLIC[name][row["id"]])) for row in given)
    assert len(given) == 377 and sum(row["id"] in right() for row in given) > theirs


def test_the_corpus_is_whole():
    kept = [row for part in ROWS for row in ROWS[part]]
    assert len({row["id"] for row in kept}) == len(kept) >= 500
    assert {row["kind"] for row in kept} == set(KINDS) and len(PUBLIC) == 14
    for row in kept:
        assert row["style"] and row["id"].startswith(row["kind"]), row["id"]
        if row["kind"] == "letter":
            assert row["label"] is None or ord(row["label"]) - ord("A") < len(row["options"]), row["id"]
        if row["kind"] == "class":
            assert set(row["label"] or ()) <= set(row["classes"]), row["id"]
        if row["kind"] == "span":
            assert all(0 <= a < b <= row["video"]["duration"] for a, b in row["label"] or ()), row["id"]
        if row["kind"] == "box":
            assert all(0 <= x1 < x2 <= 1000 and 0 <= y1 < y2 <= 1000 for x1, y1, x2, y2 in row["label"] or ())
