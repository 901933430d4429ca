"""A teacher varies its words: other words for the same thing contradict nothing and cost no vote."""

import json
from collections import Counter

import pytest

from tvad.annotate.looks import same, unlike
from tvad.annotate.schema import Seen, targets_of
from tvad.annotate.timelines import Timeline
from tvad.annotate.verify import Checked, settle

BOX = (10.0, 10.0, 30.0, 60.0)
HERE = json.dumps({"visible": True, "box": [100, 100, 310, 610]})  # per mille of 100 x 100


def timeline(*looks):
    return Timeline(
        0, dict.fromkeys(range(len(looks)), BOX), {f: Seen(BOX, look) for f, look in enumerate(looks)}
    )


def checked(target, *replies):
    """Its verdict and the words that are left out, after these replies on what is seen on its trajectory."""
    asked = [Checked(target, n, "what") for n in range(len(replies))] + [Checked(target, 0, "where")]
    texts = [*(json.dumps(reply) for reply in replies), HERE]
    settle([target], asked, texts, (100, 100), "review", Counter())
    return target.verdict, target.dropped_words


def test_words_for_the_same_contradict_nothing():
    man = [{"kind": "man", "upper": "blue", "carries": "bag"}] * 4
    said = {"kind": "pedestrian", "upper": "dark blue", "carries": "black backpack"}
    assert checked(timeline(*man), said, {"kind": "person", "upper": "blue jacket"}) == ("kept", {})
    other = {"kind": "dog", "upper": "red", "carries": "ladder"}
    assert checked(timeline(*man), other, other) == ("kept", man[0])
    # Two of three must agree, in whatever words.
    assert checked(timeline(*man), said, other, said)[1] == {}
    assert checked(timeline(*man), other, said, other)[1] == man[0]


def test_votes_in_other_words_count_for_the_one_said_most():
    target = timeline(
        *[{"kind": kind} for kind in ("man", "person", "man", "pedestrian", "car", "car", "car")]
    )
    assert target.told("kind") == ("man", 4 / 7)
    blue = [{"upper": word} for word in ("blue", "dark blue", "navy blue")]
    assert timeline(*blue, {}, {}).told("upper") == ("blue", 3 / 5)
    assert timeline({"upper": "blue"}, {"upper": "red"}, {}, {}).told("upper") is None


@pytest.mark.parametrize(
    ("name", "one", "other", "alike"),
    [
        ("kind", "man", "old man", True),
        ("kind", "man", "woman", True),  # of a small picture, teachers say either
        ("kind", "van", "car", True),
        ("kind", "car", "person", False),
        ("kind", "bicycle", "person", False),
        ("upper", "red", "dark red", True),
        ("upper", "dark red", "dark blue", False),
        ("colour", "car", "van", False),  # groups are of things
        ("carries", "bag", "backpack", True),
    ],
)
def test_which_words_may_be_of_one_thing(name, one, other, alike):
    assert same(name, one, other) is same(name, other, one) is alike
    if name != "carries":
        assert unlike({name: one}, {name: other}) == float(not alike)


def test_one_target_in_two_words_is_told_twice():
    rows = [
        {"kind": kind, "box": [100, 100, 310, 610], "unusual": False} for kind in ("man", "pedestrian", "dog")
    ]
    counts = Counter()
    assert len(targets_of(json.dumps({"targets": rows}), 100, 100, counts)) == 2
    assert counts["targets told twice"] == 1
