"""YAML configurations: typed dataclasses, unknown keys refused by name, `--a.b value` overrides from the
command line."""

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tvad.common.errors import InputError

T = TypeVar("T")


def read_yaml(path: str | Path) -> dict:
    """A YAML mapping. Raises InputError that names the file (and the line, where YAML does)."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return data


def override(data: dict, arguments: list[str]) -> dict:
    """Apply `--a.b value` pairs (values are YAML) to a configuration."""
    if len(arguments) % 2:
        raise InputError(f"override {arguments[-1]!r} has no value; expected --key.key value")
    for flag, value in zip(arguments[::2], arguments[1::2], strict=True):
        if not flag.startswith("--"):
            raise InputError(f"unexpected argument {flag!r}; expected --key.key value")
        node: Any = data
        *groups, last = flag[2:].split(".")
        for key in groups:
            if isinstance(node, dict):
                node = node.setdefault(key, {})
            elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                raise InputError(f"override {flag}: there is no {key!r}")
        if not isinstance(node, dict):
            raise InputError(f"override {flag}: {groups[-1]!r} is not a group of keys")
        try:
            node[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"override {flag}: {value!r} is not YAML") from error
    return data


def build(cls: type[T], data: Any, where: str) -> T:
    """A dataclass from a mapping, nested dataclasses and lists of them included. `where` names the file in
    errors."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping, found {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {}
    for key, value in data.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(fields)}"
            raise InputError(f"{where}: unknown key {key!r}{hint}")
        values[key] = _convert(hints[key], value, f"{where}: {key}")
    for name, f in fields.items():
        if (
            name not in values
            and f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
        ):
            raise InputError(f"{where}: missing key {name!r}")
    return cls(**values)


def _convert(hint, value, where):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise InputError(
                f"{where}: expected one of {', '.join(map(str, typing.get_args(hint)))}, found {value!r}"
            )
        return value
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise InputError(f"{where}: expected a list, found {value!r}")
        return origin(_convert(arguments[0], v, f"{where}[{n}]") for n, v in enumerate(value))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected a mapping, found {value!r}")
        return (
            value
            if hint is dict
            else {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
        )
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where}: expected {hint.__name__}, found {value!r}")
