"""Words of other scripts are kept whole; a target that is told twice is one."""

import json
from collections import Counter

import pytest

from tvad.annotate import schema
from tvad.annotate.trajectories import sentences
from tvad.annotate.words import article, phrase

MAN = {"kind": "man", "upper": "red", "box": [100, 100, 400, 900], "action": "running", "unusual": False}


@pytest.mark.parametrize("said", ["काला", "दौड़ना", "أحمر", "שלום", "跑步", "é", "ชาย"])
def test_words_of_any_script_are_whole(said):
    assert schema.word(f"<{said}>\u202e\x00\u200b") == said == sentences(f"{said}\x1b")


def test_marks_of_no_letter_go():
    assert schema.word("\u0301\u0301x") == "x" and schema.word("a\ufe0fb 👍\ufe0f") == "a b"
    assert len(schema.word("a" + "\u0335" * 30)) == 1 + schema.MOST_MARKS


def seen(*rows):
    counts = Counter()
    return schema.targets_of(json.dumps({"targets": rows}), 100, 100, counts), counts["targets told twice"]


def test_a_target_told_twice_is_one_and_unusual_if_it_is_so_once():
    found, twice = seen(MAN, MAN | {"box": [101, 100, 401, 899]}, MAN | {"unusual": True, "upper": ""})
    assert len(found) == 1 and twice == 2 and found[0].unusual
    for other in ({"box": [160, 100, 460, 900]}, {"upper": "green"}, {"kind": "bag"}):
        assert len(seen(MAN, MAN | other)[0]) == 2


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a backpack", "backpack"),
        ("An umbrella", "umbrella"),
        ("the suitcase", "suitcase"),
        ("anorak", "anorak"),
        ("a", "a"),
        *dict.fromkeys(
            ("no bag", "None visible", "nothing", "not carrying anything", "without a bag")
        ).items(),
        *dict.fromkeys(("无", "なし", "нет", "Ninguno", "aucun", "keine", "없음")).items(),
    ],
)
def test_words_stand_behind_the_narratives_own_article(said, kept):
    """ "with an a backpack", "with a no bag", "with a 无" stood in narratives."""
    look = schema.look_of({"kind": "man", "carries": said})
    assert look == {"kind": "man"} | ({"carries": kept} if kept else {})
    assert phrase(look) == (f"with {article(kept)}" if kept else None)
