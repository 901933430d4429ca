from dataclasses import dataclass, field

import pytest

from tvad.common.config import build, override, read_yaml
from tvad.common.errors import InputError


@dataclass
class Inner:
    rate: float
    names: list[str] = field(default_factory=list)


@dataclass
class Outer:
    inner: Inner
    count: int = 3
    note: str | None = None


def test_nested_values_are_converted_and_defaults_kept():
    found = build(Outer, {"inner": {"rate": "1e-4", "names": ["a"]}, "note": None}, "x.yaml")
    assert found == Outer(Inner(1e-4, ["a"]), 3, None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"rate": 1}, "cuont": 1}, r"x\.yaml: unknown key 'cuont'; did you mean 'count'"),
        ({"inner": {"rat": 1}}, r"x\.yaml: inner: unknown key 'rat'; did you mean 'rate'"),
        ({"inner": {}}, r"inner: missing key 'rate'"),
        ({"inner": {"rate": 1}, "count": "many"}, r"count: expected int, found 'many'"),
        ({"inner": {"rate": 1}, "count": True}, "expected int"),
        ({"inner": {"rate": 1, "names": "a"}}, "expected a list"),
        ({"inner": 5}, "expected a mapping"),
    ],
)
def test_mistakes_are_named(data, message):
    with pytest.raises(InputError, match=message):
        build(Outer, data, "x.yaml")


def test_overrides_reach_groups_and_list_members():
    data = {"a": {"b": 1}, "stages": [{"steps": 5}]}
    assert override(data, ["--a.b", "2", "--stages.0.steps", "7", "--c.d", "[1, x]"]) == {
        "a": {"b": 2},
        "stages": [{"steps": 7}],
        "c": {"d": [1, "x"]},
    }
    for wrong in (["--a"], ["a", "1"], ["--stages.4.steps", "1"], ["--a.b.c", "1"]):
        with pytest.raises(InputError):
            override({"a": {"b": 1}, "stages": [{}]}, wrong)


def test_yaml_cannot_build_objects(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not YAML"):
        read_yaml(path)
    with pytest.raises(InputError, match="no such configuration"):
        read_yaml(tmp_path / "none.yaml")


def test_a_choice_takes_its_values_only():
    from typing import Literal

    @dataclass
    class Choice:
        mode: Literal["lenient", "strict"] = "lenient"

    assert build(Choice, {"mode": "strict"}, "x.yaml").mode == "strict"
    with pytest.raises(InputError, match=r"x\.yaml: mode: expected one of lenient, strict, found 'odd'"):
        build(Choice, {"mode": "odd"}, "x.yaml")
