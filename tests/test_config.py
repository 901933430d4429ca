"""Configurations and command lines: what is given comes out, what is wrong is named."""

import io
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml

from rft.grpo.config import GrpoRun
from tvad.common import cli, config
from tvad.common.config import build, read, read_yaml
from tvad.common.errors import InputError, Stopped


@dataclass
class Inner:
    """An inner group."""

    rate: float
    """Frames a second."""
    names: list[str] = field(default_factory=list)
    """Of things."""


@dataclass
class Outer:
    """The whole."""

    MOVED: ClassVar[dict[str, str]] = {"number": "count"}

    inner: Inner
    """The inner group."""
    count: int = 3
    """How many."""
    note: str | None = None
    """Words."""
    parts: list[Inner] = field(default_factory=list)
    """Several."""
    named: dict[str, Inner] = field(default_factory=dict)
    """Several by name."""
    one: Inner | None = None
    """Or none."""
    free: dict[str, Any] = field(default_factory=dict)
    """Anything."""
    mode: Literal["lenient", "strict"] = "lenient"
    """One of two."""
    training: dict[str, Any] = field(
        default_factory=dict,
        metadata=config.behind("transformers:TrainingArguments", {"seed": "set `seed`"}),
    )
    """Of the trainer."""


def test_nested_values_are_converted_and_defaults_kept():
    found = build(Outer, {"inner": {"rate": "1e-4", "names": ["a"]}, "note": None}, "x.yaml")
    assert found == Outer(Inner(1e-4, ["a"]), 3, None)
    found = build(
        Outer, {"inner": {"rate": 1}, "parts": [{"rate": 2}], "named": {"a": {"rate": 3}}}, "x.yaml"
    )
    assert found.parts == [Inner(2.0)] and found.named == {"a": Inner(3.0)} and found.one is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"rate": 1}, "cuont": 1}, r"x\.yaml: unknown key 'cuont'; did you mean 'count'"),
        ({"inner": {"rat": 1}}, r"x\.yaml: inner: unknown key 'rat'; did you mean 'rate'"),
        ({"inner": {}}, r"x\.yaml: inner: missing: rate"),
        ({"inner": {"rate": 1}, "count": "many"}, r"count: expected int, found 'many'"),
        ({"inner": {"rate": 1}, "count": True}, "expected int"),
        ({"inner": {"rate": 1, "names": "a"}}, r"inner: names: expected a list"),
        ({"inner": 5}, "inner: expected a mapping"),
        ({"inner": {"rate": 1}, "parts": [{"rate": 1}, {"rte": 1}]}, r"parts\[1\]: unknown key 'rte'"),
        ({"inner": {"rate": 1}, "named": {"a": {"rte": 1}}}, r"named\.a: unknown key 'rte'"),
        ({"inner": {"rate": 1}, "number": 4}, r"x\.yaml: 'number' is now 'count'"),
        ({"inner": None}, r"x\.yaml: inner: expected a mapping, found None"),
        ({"inner": {"rate": 1}, "free": None}, r"x\.yaml: free: expected a mapping, found None"),
        (
            {"inner": {"rate": 1}, "parts": [{"rate": 1}, {"rate": 1, "names": [1]}]},
            r"parts\[1\]: names\[0\]",
        ),
        ({"inner": {"rate": 1}, "note": 5}, "note: expected str, found 5"),
        ({"inner": {"rate": 1}, "count": "8"}, "count: expected int, found '8'"),
        ({"inner": {"rate": 1}, "mode": "odd"}, "mode: expected one of lenient, strict, found 'odd'"),
        ({"inner": {"rate": 1}, "training": {"max_stps": 1}}, "'max_stps'.*did you mean 'max_steps'"),
        ({"inner": {"rate": 1}, "training": {"max_steps": "x"}}, "training: max_steps: expected int"),
        ({"inner": {"rate": 1}, "training": {"seed": 1}}, "'seed' belongs to the run: set `seed`"),
    ],
)
def test_mistakes_are_named_on_one_line(data, message):
    with pytest.raises(InputError, match=message) as raised:
        build(Outer, data, "x.yaml")
    assert "\n" not in str(raised.value)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "inner: {rate: 1e-3}\nparts: [{rate: 2}, {rate: 3}]\none: {rate: 5}\nfree: {a: 1}\n"
        "training: {max_steps: 7, learning_rate: 1e-6}\n"
    )
    return path


def test_overrides_reach_groups_lists_and_mappings(file):
    found = read(
        Outer,
        file,
        [
            "--inner.rate",
            "2",
            "--parts.1.rate",
            "9",
            "--one.names",
            "[a, b]",
            "--free.b",
            "[1, x]",
            "--count=4",
            "--training.max_steps",
            "8",
        ],
    )
    assert found.inner.rate == 2 and [p.rate for p in found.parts] == [2, 9] and found.count == 4
    assert found.one == Inner(5, ["a", "b"]) and found.free == {"a": 1, "b": [1, "x"]}
    assert found.training == {"max_steps": 8, "learning_rate": 1e-6}
    for wrong, message in (
        (["--count"], "--count has no value"),
        (["count", "1"], "count"),
        (["--parts.4.rate", "1"], "there is no '4'"),
        (["--parts.0.rte", "1"], "rte"),
        (["--cuont", "1"], "unknown option --cuont; did you mean .count."),
        (["--training.max_stps", "1"], "did you mean 'max_steps'"),
        (["--training.seed", "1"], "'seed' belongs to the run: set `seed`"),
        (["--parts.rate", "1"], "there is no 'rate': expected 0 to 1, a member's number"),
        (["--parts.0.rate", "*"], "is not YAML"),
        (["--number", "1"], "unknown option --number"),
        (["--inner.rate.x", "1"], "rate"),
    ):
        with pytest.raises(InputError, match=message):
            read(Outer, file, wrong)


def test_what_a_file_says_stays_as_it_is_said(tmp_path):
    """The order of its keys, as draws follow it; quoted words; what stands under a mapping."""
    path = tmp_path / "x.yaml"
    path.write_text("inner: {rate: 1}\nfree: {z: '5', a: 'null', m: {k: '1e3'}}\nnote: '1e3'\n")
    found = read(Outer, path, ["--free.m.j", "2.5", "--free.b", "yes"])
    assert list(found.free) == ["z", "a", "m", "b"] and found.note == "1e3"
    assert found.free == {"z": "5", "a": "null", "m": {"k": "1e3", "j": 2.5}, "b": True}
    demo = read(GrpoRun, "demo", ["--rewards.vau_r1.qa.format", "2", "--tasks.mcq", "3"])
    assert list(demo.tasks) == ["mcq", "temporal", "spatial", "judgement"] and demo.tasks["mcq"] == 3
    assert list(demo.rewards) == ["format", "answer", "temporal_iou", "box", "vau_r1.qa.format"]
    deep = ["--training.lr_scheduler_kwargs.min_lr_rate", "0.5"]
    assert read(GrpoRun, "demo", deep).training["lr_scheduler_kwargs"] == {"min_lr_rate": 0.5}


@pytest.mark.parametrize(
    "text", ["note: a\nnote: b\n", "inner: {rate: 1, rate: 2}\n", "free: {m: {k: 1, 'k': 2}}\n"]
)
def test_a_key_that_is_written_twice_is_refused(tmp_path, text):
    """PyYAML keeps the last, and nobody knows which was meant."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x.yaml: not YAML \(key '\w+' is written twice in .* line [12]"):
        read_yaml(path)


def test_yaml_cannot_build_objects_and_a_class_path_stays_data(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not YAML"):
        read_yaml(path)
    with pytest.raises(InputError, match="no such configuration"):
        read_yaml(tmp_path / "none.yaml")
    given = {"class_path": "pathlib.Path", "init_args": {}}
    assert build(Outer, {"inner": {"rate": 1}, "free": {"a": given}}, "x.yaml").free == {"a": given}
    with pytest.raises(InputError, match="class_path"):
        build(Outer, {"inner": {"class_path": "pathlib.Path"}}, "x.yaml")


def test_what_is_given_is_not_changed():
    data = {"inner": {"rate": 1}, "parts": [{"rate": 2}], "training": {"max_steps": 3}}
    before = yaml.safe_dump(data)
    build(Outer, data, "x.yaml")
    assert yaml.safe_dump(data) == before


CALLS: list = []


def show(
    first: str, second: str | None = None, /, *, loud: bool = False, ask: list[str] | None = None
) -> int:
    """Show things.

    Args:
        first: The first.
        second: Another.
        loud: Say more.
        ask: May be repeated.

    Example:
        x show a --loud
    """
    CALLS.append((first, second, loud, ask))
    return 1


def run(out: str, plan: Outer) -> int:
    """Carry out a plan.

    Args:
        out: Folder.
    """
    CALLS.append((out, plan))
    return 0


def own(plan: Annotated[dict[str, Any], cli.FromFile(cls=Outer, owned=("count",))], count: int = 7) -> int:
    """A plan whose count is the command's.

    Args:
        count: How many.
    """
    CALLS.append((count, plan))
    return 0


def serve(*rest: str, port: int = 80) -> int:
    """Serve.

    Args:
        rest: Handed on.
        port: To listen on.
    """
    CALLS.append((port, rest))
    return 0


PROGRAM: cli.Commands = {"show": show, "plans": {"run": run, "own": own}, "serve": serve}


def call(*arguments):
    CALLS.clear()
    status = cli.run("x", PROGRAM, "A program.", [str(a) for a in arguments])
    return status, *CALLS


def test_functions_are_commands(file):
    assert call("show", "a") == (1, ("a", None, False, None))
    assert call("show", "a", "b", "--loud", "--ask", "x y", "--ask", "z") == (
        1,
        ("a", "b", True, ["x y", "z"]),
    )
    status, (out, plan) = call("plans", "run", "--plan", file, "--out", "o", "--inner.rate", "4")
    assert (status, out, plan.inner.rate, plan.count) == (0, "o", 4.0, 3)
    for order in (("--inner.rate", "4", "--plan", file), ("--plan", file, "--inner.rate=4")):
        assert call("plans", "run", "--out", "o", *order)[1][1].inner.rate == 4, (
            "options win, wherever they stand"
        )
    assert call("plans", "run", "--out", "o", "--plan", file, "--inner.rate", "-3")[1][1].inner.rate == -3
    status, (count, plan) = call("plans", "own", "--plan", file, "--count", "9")
    assert plan["inner"] == {"rate": 1e-3} and "count" not in plan and count == 9
    # what a command does not know goes on as it was written; its own options with dashes or underscores
    given = ("--dtype", "float32", "--max-model-len=9", "--eager", "--port", "81", "-tp", "2")
    assert call("serve", *given) == (
        0,
        (81, ("--dtype", "float32", "--max-model-len=9", "--eager", "-tp", "2")),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which command"),
        (("shwo",), "unknown command 'shwo'; did you mean 'show'"),
        (("show",), "missing: first"),
        (("show", "a", "--lod"), "unknown option --lod; did you mean '--loud'"),
        (("plans", "run", "--out", "o"), "--plan is missing"),
        (("plans", "run", "--plan", "nowhere.yaml", "--out", "o"), "nowhere.yaml: no such configuration"),
        (("serve", "--port", "x"), "port: expected int, found 'x'"),
    ],
)
def test_wrong_use_is_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)


def test_help_shows_keys_at_every_depth_and_print_config_what_they_resolve_to(file):
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        call("plans", "run", "--help")
    text = said.getvalue()
    for word in (
        "--out",
        "--plan FILE",
        "--inner.rate",
        "Frames a second",
        "parts[].rate",
        "named.NAME.rate",
    ):
        assert word in text, word
    assert "--training.max_steps" in text and "--training.seed" not in text
    with redirect_stdout(io.StringIO()) as said:
        call("plans", "run", "--plan", file, "--count", "9", "--print_config")
    printed = yaml.safe_load(said.getvalue())
    assert (
        printed["count"] == 9
        and printed["one"] == {"rate": 5.0, "names": []}
        and printed["mode"] == "lenient"
    )
    assert printed["training"]["max_steps"] == 7


def test_exit_statuses(capsys, monkeypatch):
    left = []
    group = SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True)
    group.barrier, group.destroy_process_group = (lambda: left.append("waited")), lambda: left.append("left")
    monkeypatch.setitem(sys.modules, "torch.distributed", group)
    monkeypatch.delitem(sys.modules, "vllm.distributed.parallel_state", raising=False)

    def bad():
        raise InputError("x.yaml:\n  wrong")

    assert cli.guard(bad) == 2 and capsys.readouterr().err == "error: x.yaml: wrong\n"
    assert not left, "the others may not come to the end"
    assert cli.guard(lambda: 1) == 1 and left == ["waited", "left"]

    def stop():
        raise Stopped("stopped by SIGTERM after step 9", 143)

    assert cli.guard(stop) == 143 and capsys.readouterr().err == "stopped by SIGTERM after step 9\n"
    assert left == ["waited", "left"] * 2

    engine = SimpleNamespace(model_parallel_is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "vllm.distributed.parallel_state", engine)
    left.clear()
    assert cli.guard(lambda: 0) == 0 and left == ["waited"], "the groups are the engine's to end"
