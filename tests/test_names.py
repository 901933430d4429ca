"""What is shipped is found by name, and damage to what a run left is one line."""

import json

import pytest

from bench.run_folder import open_run
from rft.grpo.run_page import write_run_page
from tvad.common.errors import InputError
from tvad.common.shipped import checkpoint, checkpoints, configuration, configurations


def test_a_folder_of_its_name_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("scenes", "tvad-tiny"):
        (tmp_path / name).mkdir()
    assert configuration("scenes", "bench") == configurations("bench")["scenes"]
    assert checkpoint("tvad-tiny").endswith("assets/tvad-tiny")
    (tmp_path / "mine.yaml").touch()
    assert str(configuration("mine.yaml", "bench")) == "mine.yaml"


def test_every_name_that_is_listed_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, path in configurations().items():
        kind, _, short = name.partition("/")
        paths = {configuration(given, kind) for given in (name, short, f"configs/{kind}/{short}.yaml")}
        assert paths == {path}
    assert checkpoints() and all(checkpoint(name) != name for name in checkpoints())
    with pytest.raises(InputError, match="did you mean 'scenes'"):
        configuration("scene", "bench")
    with pytest.raises(InputError, match="no such configuration"):
        configuration("x" * 300, "bench")


@pytest.mark.parametrize(
    "text", ["[]", "null", "{", "{}", "[" * 100_000, '{"version": 99}', '{"format": "x"}']
)
def test_a_damaged_record_is_one_line(tmp_path, text):
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "reward": 1.0}) + "\n")
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "run.json").write_text(text)
    (tmp_path / "grpo.json").write_text(text)
    with pytest.raises(InputError) as raised:
        open_run(tmp_path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    if text != "{}":
        with pytest.raises(InputError, match=r"grpo\.json"):
            write_run_page(tmp_path)
