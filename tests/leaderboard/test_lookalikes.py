"""Names that are read as another's are flagged, on the later of two, and honest ones are not."""

import pytest
from board_fixtures import Place

from leaderboard.store.lookalikes import LOOKALIKE, looks

ALIKE = [
    ("Qwen-VL", "Qwеn-VL"),  # a Cyrillic ie
    ("scope", "ѕсоре"),  # all of it Cyrillic
    ("llama", "Ilama"),
    ("llama", "1lama"),
    ("GPT-4o", "gpt-4o"),
    ("GPT-4o", "GPT-4ο"),  # a Greek omicron
    ("modern", "modem"),
    ("aΑnet", "AAnet"),  # a Greek alpha
    ("VideoMind", "VіdeоMіnd"),
    ("ＶＡＤ", "VAD"),
]
OTHERS = [
    ("model-1.0", "model-10"),
    ("Qwen-2B", "Qwen-3B"),
    ("β-VAE", "a-VAE"),
    ("東京", "京東"),
    ("Łódź", "Zdrój"),
    ("tiny", "tiny-2"),
    ("e", "é"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_are_read_alike_share_a_look(one, other):
    assert looks(one) & looks(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_names_that_differ_to_the_eye_share_none(one, other):
    assert not looks(one) & looks(other)


def test_the_later_of_two_names_that_look_alike_is_flagged_and_says_whose(tmp_path, baseline_runs):
    place = Place(tmp_path, baseline_runs, daily=20)
    first = place.send(place.packed("oracle", name="scope")).json()["hash"]
    same = place.send(place.packed("prior", name="Scope")).json()["hash"]  # an account's own
    copy = place.send(place.packed("random", name="ѕсоре"), place.other).json()["hash"]
    place.score()
    kinds = {name: [flag["kind"] for flag in place.store.flags(name)] for name in (first, same, copy)}
    assert [name for name, found in kinds.items() if LOOKALIKE in found] == [copy]
    [flag] = [flag for flag in place.store.flags(copy) if flag["kind"] == LOOKALIKE]
    assert (flag["other"], flag["name"]) == (first, "scope") and "scope" not in flag["detail"]
    rows = place.client.get("/api/tables/scenes").json()["models"]
    assert {row["hash"] for row in rows if row["flagged"]} >= {copy}
    assert LOOKALIKE in place.client.get(f"/models/{copy}").text
    place.store.withdraw(None, first)
    [flag] = [flag for flag in place.store.flags(copy) if flag["kind"] == LOOKALIKE]
    assert flag["name"] is None and "scope" not in str(flag), "withdrawn is gone, from others' flags too"
    assert ("flag", copy) in [(row["action"], row["subject"]) for row in place.store.audit()]
    place.store.engine.dispose()


def test_of_what_waits_to_be_approved_no_name_is_told(tmp_path, baseline_runs):
    place = Place(tmp_path, baseline_runs, moderated=True)
    place.send(place.packed("oracle", name="scope"))
    copy = place.send(place.packed("random", name="ѕсоре"), place.other).json()["hash"]
    place.store.approve(copy)
    place.score()
    assert not [flag for flag in place.store.flags(copy) if flag["kind"] == LOOKALIKE]
    assert "'scope'" not in place.client.get(f"/models/{copy}").text
    place.store.engine.dispose()
