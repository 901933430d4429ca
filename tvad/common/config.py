"""Configurations: dataclasses, read by jsonargparse from YAML files and `--a.b value`.

A field's own docstring is its line under `--help`. Keys are compared with the dataclass before jsonargparse
sees them, so that a refusal names the file, the place and the nearest key. A file is given by its path, or by
its name where it is a shipped one.
"""

import copy
import dataclasses
import difflib
import fnmatch
import functools
import importlib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from docstring_parser import parse_from_object
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from tvad.common.errors import InputError
from tvad.common.formats import Format
from tvad.common.shipped import configuration, configurations

# A mapping with the key class_path stays a mapping: a configuration names no code to be run.
set_parsing_settings(
    docstring_parse_attribute_docstrings=True,
    instantiate_subclass_spec_in_any=False,
    add_print_completion_argument=True,
)

T = TypeVar("T")
CONFIGURATION = Format("configuration")  # its version may stand in a file's key `version`


@dataclass(frozen=True)
class Behind:
    """Keys that a class of a library defines: `path` is "module:Class". `owned`: those that the run sets by
    itself, each with what to set instead."""

    path: str
    owned: Mapping[str, str]

    def load(self) -> type:
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)

    def instead(self, key: str) -> str | None:
        """What to set instead of an owned key; patterns such as vllm_* own several."""
        return next((text for pattern, text in self.owned.items() if fnmatch.fnmatch(key, pattern)), None)


def behind(path: str, owned: Mapping[str, str] | None = None) -> dict[str, Behind]:
    """`metadata` of a dataclass's field of type dict[str, Any] whose keys are those of a class (`Behind`)."""
    return {"behind": Behind(path, owned or {})}


class Loader(yaml.SafeLoader):
    """Reads 1e-6 as a number, as people mean it; YAML 1.1 asks for a dot and takes it for text."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: str | Path) -> dict:
    """A YAML mapping. Raises InputError that names the file (and the line, where YAML does)."""
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    if "version" in data:
        CONFIGURATION.check(data, str(path))
    return {key: value for key, value in data.items() if key != "version"}


def build(cls: type[T], data: Any, where: str) -> T:
    """A dataclass from a mapping, nested dataclasses, lists and mappings of them included. `where` names the
    file in errors. Raises InputError that names the key."""
    check(cls, data, where)
    parser = parser_of(typing.cast(Any, cls))
    try:
        return made(cls, parser, parser.parse_object(copy.deepcopy(data), defaults=False), where)
    except ArgumentError as error:
        raise InputError(f"{where}: {message_of(error)}") from error


def read(cls: type[T], name: str | Path, overrides: Sequence[str] = ()) -> T:
    """A dataclass from a YAML file (`shipped.configuration`, in the folder `cls.FOLDER`) and `--a.b value`
    pairs. Raises InputError."""
    parser = parser_of(typing.cast(Any, cls))
    try:
        found = parse(parser, ["--config", str(name), *overrides])
    except InputError as error:
        raise InputError(str(error) if str(name) in str(error) else f"{name}: {error}") from error
    return made(cls, parser, found, str(name))


@functools.cache
def parser_of(cls: Any) -> ArgumentParser:
    """A parser of the keys of `cls`, `--config` first."""
    parser = ArgumentParser(prog=cls.__name__, exit_on_error=False, allow_abbrev=False)
    add_keys(parser, cls, "--config")
    return parser


def add_keys(parser: ArgumentParser, cls: type, option: str | None, owned: Sequence[str] = ()) -> None:
    """Add the keys of a dataclass to a parser, but for the `owned` ones, and `option`, which names a file of
    them."""
    if option:
        names = list(configurations(cls.FOLDER)) if hasattr(cls, "FOLDER") else []
        text = "YAML file" + (f", or the name of a shipped one: {', '.join(names)}" if names else "")
        action = type("FromFile", (FromFile,), {"cls": cls, "owned": tuple(owned)})
        parser.add_argument(option, action=action, help=text, metavar="FILE")
    groups = {f.name: f.metadata["behind"] for f in fields_of(cls).values() if "behind" in f.metadata}
    parser.add_class_arguments(cls, None, skip={*groups, *owned}, fail_untyped=False)
    for name, group in groups.items():
        add_behind(parser, group, name)


def add_behind(parser: ArgumentParser, group: Behind, name: str | None) -> None:
    """Add the keys of a library's class, with the help that it keeps in its fields."""
    cls: Any = group.load()
    fields = fields_of(cls)
    owned = {key for key in fields if group.instead(key)}
    parser.add_class_arguments(cls, name, skip=owned, instantiate=False, fail_untyped=False)
    for key, f in fields.items():
        action = parser._option_string_actions.get(f"--{key}" if name is None else f"--{name}.{key}")
        if action is not None and f.metadata.get("help"):
            text = " ".join(str(f.metadata["help"]).split()).replace("%", "%%")
            action.help = f"{text} (%(type)s, default: %(default)s)"


class FromFile(ActionConfigFile):
    """`--config FILE`: the keys of `cls` from a YAML file, those that the command owns left out."""

    cls: type
    owned: tuple[str, ...] = ()

    def __call__(self, parser, cfg, values, option_string=None):
        path = configuration(values, getattr(self.cls, "FOLDER", ""))
        data = read_yaml(path)
        check(self.cls, data, str(path))
        text = yaml.safe_dump({key: value for key, value in data.items() if key not in self.owned})
        try:
            super().__call__(parser, cfg, text, option_string)
        except (ArgumentError, TypeError) as error:
            raise InputError(f"{path}: {message_of(error)}") from error


def parse(parser: ArgumentParser, arguments: Sequence[str], defaults: bool = False) -> Namespace:
    """What the arguments give, by default without defaults. `--stages.0.steps 5` reaches into a list. Raises
    InputError."""
    plain, indexed = _indexed(arguments)
    try:
        found = parser.parse_args(plain, defaults=defaults)
        if indexed:
            data = found.as_dict()
            for flag, value in indexed:
                _put(data, flag, yaml.load(value, Loader))
            found = parser.parse_object(data, defaults=defaults)
    except ArgumentError as error:
        raise InputError(message_of(error, parser)) from error
    return found


def given(cls: type, parser: ArgumentParser, found: Namespace) -> dict[str, Any]:
    """The keys of `cls` that were given, with their values; other keys of `found` are left alone."""
    ready = parser.instantiate(found)
    return {name: _plain(ready[name]) for name in fields_of(cls) if name in ready}


def _plain(value: Any) -> Any:
    """jsonargparse keeps mappings that look like a class to be made as namespaces: here they are data."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def made(cls: type[T], parser: ArgumentParser, found: Namespace, where: str) -> T:
    """The dataclass of the keys that were given. Raises InputError, which names `where`, where one is missing
    or the class refuses them."""
    try:
        return cls(**given(cls, parser, found))
    except (TypeError, InputError) as error:
        raise InputError(f"{where}: {error}") from error


def _indexed(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Arguments without those that reach into a list, and these."""
    plain: list[str] = []
    indexed: list[tuple[str, str]] = []
    waiting = iter(arguments)
    for argument in waiting:
        if re.match(r"--[\w.]+\.\d+\.", argument):
            flag, equals, value = argument.partition("=")
            given = value if equals else next(waiting, None)
            if given is None:
                raise InputError(f"{flag} has no value")
            indexed.append((flag, given))
        else:
            plain.append(argument)
    return plain, indexed


def _put(data: Any, flag: str, value: Any) -> None:
    """Set one value of nested mappings and lists; `flag` is its place, --a.0.b."""
    *groups, last = flag[2:].split(".")
    node = data
    for key in groups:
        if isinstance(node, dict):
            node[key] = {} if node.get(key) is None else node[key]
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            raise InputError(f"{flag}: there is no {key!r}")
    if not isinstance(node, dict):
        raise InputError(f"{flag}: {groups[-1]!r} is not a group of keys")
    node[last] = value


def fields_of(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _inside(hint: Any) -> tuple[str, type] | None:
    """("", cls) for a dataclass or none of it, ("[]", cls) for a list, (".NAME", cls) for a mapping."""
    if dataclasses.is_dataclass(hint):
        return "", typing.cast(type, hint)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((found for a in arguments if (found := _inside(a))), None)
    if (
        typing.get_origin(hint) in (list, tuple, dict)
        and arguments
        and dataclasses.is_dataclass(arguments[-1])
    ):
        return (".NAME" if typing.get_origin(hint) is dict else "[]"), typing.cast(type, arguments[-1])
    return None


def check(cls: type, data: Any, where: str) -> None:
    """Raise InputError for a key that `cls`, or what lies in it, does not have, with its place and the
    nearest key or what took its place (`cls.MOVED`: old key -> new); and for a value of another type.
    jsonargparse takes "yes" for true and "8" for 8, as on a command line: in a file they are mistakes."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping, found {data!r:.80}")
    fields, hints, moved = fields_of(cls), _hints(cls), getattr(cls, "MOVED", {})
    for key, value in data.items():
        if key in moved and not (moved[key].startswith(f"{key}.") and isinstance(value, dict)):
            raise InputError(f"{where}: {key!r} is now {moved[key]!r}")
        if key not in fields:
            raise InputError(f"{where}: unknown key {key!r}; {nearest(str(key), fields)}")
        if group := fields[key].metadata.get("behind"):
            _check_behind(group, value, f"{where}: {key}")
        else:
            _check_value(hints[key], value, f"{where}: {key}")


def _check_value(hint: Any, value: Any, where: str) -> None:
    """Raise InputError where a value of a file is not of the type `hint`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return
        hint = next(a for a in arguments if a is not type(None))
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        check(typing.cast(type, hint), value, where)
    elif origin is typing.Literal:
        if value not in arguments:
            raise InputError(
                f"{where}: expected one of {', '.join(map(repr, arguments))}, found {value!r:.80}"
            )
    elif origin is list:
        if not isinstance(value, list):
            raise InputError(f"{where}: expected a list, found {value!r:.80}")
        for n, inner in enumerate(value):
            _check_value(arguments[0], inner, f"{where}[{n}]")
    elif origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected a mapping, found {value!r:.80}")
        for name, inner in value.items():
            _check_value(arguments[1] if arguments else Any, inner, f"{where}.{name}")
    elif hint is not Any and not _is_a(hint, value):
        raise InputError(f"{where}: expected {hint.__name__}, found {value!r:.80}")


def _is_a(hint: type, value: Any) -> bool:
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, hint) and (hint is bool) == isinstance(value, bool)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
        try:
            return float(value) is not None
        except ValueError:
            return False
    return isinstance(value, (int, float) if hint is float else hint)


def _check_behind(group: Behind, data: Any, where: str) -> None:
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping, found {data!r:.80}")
    for key in data:
        if instead := group.instead(str(key)):
            raise InputError(f"{where}: {key!r} belongs to the run: {instead}")
    if not data:
        return
    parser = _behind_parser(group.path, tuple(group.owned.items()))
    names = {action.dest for action in parser._actions}
    for key in data:
        if key not in names:
            raise InputError(f"{where}: unknown key {key!r} of {group.path}; {nearest(str(key), names)}")
    try:
        parser.parse_object(copy.deepcopy(data), defaults=False)
    except ArgumentError as error:
        raise InputError(f"{where}: {message_of(error)}") from error


@functools.cache
def _behind_parser(path: str, owned: tuple[tuple[str, str], ...]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_behind(parser, Behind(path, dict(owned)), None)
    return parser


def nearest(key: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known keys: {', '.join(names)}" if len(names) <= 40 else "see --help for those that are known"


def message_of(error: Exception, parser: ArgumentParser | None = None) -> str:
    """jsonargparse's message in this project's words, on one line; an unknown option with the nearest one."""
    text = " ".join(str(error).split())
    text = re.sub(r"Parser key \"([^\"]+)\": ", r"\1: ", text)
    text = re.sub(r"Problem with given class_path '[^']+': ", "", text)
    text = re.sub(r"[Tt]he following arguments are required: ", "missing: ", text)
    text = re.sub(
        r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\]|(.+?))\. Got value: (.*)$",
        lambda m: f"expected {m[1] or (m[2] and f'one of {m[2]}') or m[3]}, found {m[4]!r}",
        text,
    )
    unknown = re.match(r"[Uu]nrecognized arguments: (--[\w.\-]+)", text)
    if unknown and parser is not None:
        options = [o for o in parser._option_string_actions if o.startswith("--")]
        return f"unknown option {unknown[1]}; {nearest(unknown[1], options)}"
    return text


class Key(NamedTuple):
    """A key of a configuration: its place (`stages[].data`), type, default ("" where it must be given) and
    what its docstring says."""

    place: str
    kind: str
    default: str
    text: str


def keys(cls: type, prefix: str = "") -> Iterator[Key]:
    """Every key of a dataclass and of the dataclasses in it, in order."""
    docs = {p.arg_name: " ".join((p.description or "").split()) for p in parse_from_object(cls).params}
    for name, f in fields_of(cls).items():
        hint = _hints(cls)[name]
        kind = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        default = "" if f.default is dataclasses.MISSING else repr(f.default)
        if f.default_factory is not dataclasses.MISSING:
            made_up = f.default_factory()
            default = "" if dataclasses.is_dataclass(made_up) else repr(made_up)
        group = f.metadata.get("behind")
        found = _inside(hint)
        kind = f"keys of {group.path.replace(':', '.')}" if group else re.sub(r"[\w.]+\.(?=\w)", "", kind)
        yield Key(prefix + name, kind, default, docs.get(name, ""))
        if found:
            yield from keys(found[1], f"{prefix}{name}{found[0]}.")
