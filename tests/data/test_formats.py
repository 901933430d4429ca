"""Versions of what outlives a run."""

import json

import pytest
from conftest import SHIPPED
from transformers import AutoConfig

from tvad.common.errors import InputError
from tvad.common.formats import Format
from tvad.model.start import load, start_from

THIRD = Format(
    "thing",
    3,
    {
        1: lambda data: {**data, "size": data["width"]},
        2: lambda data: {k: v for k, v in data.items() if k != "width"},
    },
)


def test_an_older_version_is_migrated_step_by_step():
    assert THIRD.check({"width": 4}, "a.json") == {"size": 4, "version": 3}
    assert THIRD.check({"width": 4, "size": 5, "version": 2}, "a.json") == {"size": 5, "version": 3}
    current = {"size": 6, **THIRD.stamp()}
    assert THIRD.check(current, "a.json") == current == {"format": "thing", "version": 3, "size": 6}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"version": 4}, "a.json: version 4 of thing is newer than this installation, .* up to 3"),
        ({"format": "other"}, "a.json: format is 'other', expected 'thing'"),
        ({"version": True}, "a.json: version is True, expected a whole number"),
        ({"version": 0}, "a.json: version is 0, expected a whole number"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(data, reason):
    with pytest.raises(InputError, match=reason):
        THIRD.check(data, "a.json")


def test_a_version_without_a_way_up_is_refused():
    with pytest.raises(InputError, match="version 1 of thing is no longer read"):
        Format("thing", 3, {2: dict}).check({}, "a.json")


def test_a_checkpoint_states_its_version_and_the_shipped_one_of_the_first_is_brought_over(tmp_path):
    assert "tvad_format" not in json.loads((SHIPPED / "config.json").read_text())
    config = AutoConfig.from_pretrained(SHIPPED)
    assert config.tvad_format == 2
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["tvad_format"] == 2


def test_a_checkpoint_of_a_newer_version_is_refused_in_one_line(tmp_path):
    for file in SHIPPED.iterdir():
        (tmp_path / file.name).symlink_to(file)
    stated = json.loads((SHIPPED / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(stated | {"tvad_format": 3}))
    for opened in (load, start_from):
        with pytest.raises(InputError) as found:
            opened(str(tmp_path))
        assert "version 3 of tvad-checkpoint is newer" in str(found.value) and str(tmp_path) in str(
            found.value
        )
        assert "\n" not in str(found.value)
