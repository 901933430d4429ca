"""Configurations: dataclasses, from YAML files and `--a.b value`.

A field's own docstring is its line under `--help` (jsonargparse, which also types the keys that a library's
class defines). Files are read here and not by jsonargparse: it takes "yes" for true and "8" for 8 in a file
as on a command line, reads quoted strings again, and its refusals name neither file nor place.
"""

import copy
import dataclasses
import difflib
import fnmatch
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from docstring_parser import parse_from_object
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from tvad.common.errors import InputError
from tvad.common.formats import Format
from tvad.common.shipped import configuration, configurations

# A mapping with the key class_path stays a mapping: it names no code to be run.
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
    """Reads 1e-6 as a number, as people mean it (YAML 1.1 asks for a dot and takes it for text), and refuses
    a key that is written twice, of which PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        written: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in written:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is written twice", key.start_mark
                    )
                written.add(key.value)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def yaml_of(text: str) -> Any:
    """What YAML says, plain values only: no object is built. Raises yaml.YAMLError, also for a key that is
    written twice."""
    return yaml.load(text, Loader)  # a SafeLoader


def read_yaml(path: str | Path) -> dict:
    """A YAML mapping. Raises InputError that names the file (and the line, where YAML does)."""
    try:
        data = yaml_of(Path(path).read_text(encoding="utf-8"))
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
    file in errors. Raises InputError for a key that the class does not have, with its place and the nearest
    key or what took its place (`cls.MOVED`: old key -> new), for a key that is missing and for a value of
    another type."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping, found {data!r:.80}")
    fields, hints, moved = fields_of(cls), _hints(typing.cast(Any, cls)), getattr(cls, "MOVED", {})
    values = {}
    for key, value in data.items():
        if key in moved and not (moved[key].startswith(f"{key}.") and isinstance(value, dict)):
            raise InputError(f"{where}: {key!r} is now {moved[key]!r}")
        if key not in fields:
            raise InputError(f"{where}: unknown key {key!r}; {nearest(str(key), fields)}")
        group = fields[key].metadata.get("behind")
        place = f"{where}: {key}"
        values[key] = of_library(group, value, place) if group else _value(hints[key], value, place)
    if missing := [key for key in required(cls) if key not in values]:
        raise InputError(f"{where}: missing: {', '.join(missing)}")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of a file as the type `hint`. Raises InputError: "yes" is not true here, nor "8" a number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise InputError(f"{where}: expected one of {', '.join(map(str, arguments))}, found {value!r:.80}")
    if origin is list:
        if not isinstance(value, list):
            raise InputError(f"{where}: expected a list, found {value!r:.80}")
        return [_value(arguments[0], inner, f"{where}[{n}]") for n, inner in enumerate(value)]
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected a mapping, found {value!r:.80}")
        inner = arguments[1] if arguments else Any
        return {name: _value(inner, one, f"{where}.{name}") for name, one in value.items()}
    if hint is Any:
        return copy.deepcopy(value)
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):  # a whole number beyond what a float holds
            pass
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise InputError(f"{where}: expected {hint.__name__}, found {value!r:.80}")


def arguments(
    opener: Callable[..., Any], given: int, options: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Options of a function or class behind its first `given` parameters, of the types that it states. Raises
    InputError, naming `where`, for one that it does not take and for a value of another type."""
    parameters = list(inspect.signature(opener).parameters.values())
    known = [p.name for p in parameters[given:] if p.kind is not p.VAR_KEYWORD]
    first = [p.name for p in parameters[:given]]
    takes_any = len(known) < len(parameters) - given
    called: Any = opener
    if isinstance(opener, type):
        called = called.__init__
    elif not inspect.isroutine(opener):
        called = called.__call__
    hints = _hints(called)
    found = {}
    for key, value in options.items():
        if key in first or not (key in known or takes_any):
            raise InputError(f"{where}: unknown option {key!r}; known: {', '.join(known) or 'none'}")
        found[key] = _value(hints[key], value, f"{where}: {key}") if key in hints else value
    return found


def of_library(group: Behind, data: Any, where: str) -> dict[str, Any]:
    """Keys of a library's class, with the types that it says (jsonargparse)."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping, found {data!r:.80}")
    for key in data:
        if instead := group.instead(str(key)):
            raise InputError(f"{where}: {key!r} belongs to the run: {instead}")
    if not data:
        return {}
    parser = _behind_parser(group.path, tuple(group.owned.items()))
    names = {action.dest for action in parser._actions}
    for key in data:
        if key not in names:
            raise InputError(f"{where}: unknown key {key!r} of {group.path}; {nearest(str(key), names)}")
    try:
        return parser.parse_object(copy.deepcopy(data), defaults=False).as_dict()
    except ArgumentError as error:
        raise InputError(f"{where}: {message_of(error)}") from error


@functools.cache
def _behind_parser(path: str, owned: tuple[tuple[str, str], ...]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_behind(parser, Behind(path, dict(owned)), None)
    return parser


def read(cls: type[T], name: str | Path, overrides: Sequence[str] = ()) -> T:
    """A dataclass from a YAML file (`shipped.configuration`, in the folder `cls.FOLDER`) and `--a.b value`
    pairs. Raises InputError."""
    options, rest = split(cls, overrides)
    if rest:
        raise InputError(f"{name}: unknown option {rest[0]}; {nearest(rest[0][2:], fields_of(cls))}")
    return build(cls, merged(cls, name, options), str(name))


def split(
    cls: type, arguments: Sequence[str], owned: Sequence[str] = (), others: Sequence[str] = ()
) -> tuple[list[tuple[str, str]], list[str]]:
    """(options that set keys of `cls`, as pairs, in their order; all other arguments, the flags `others`
    among them)."""
    known = set(fields_of(cls)) - set(owned)
    options: list[tuple[str, str]] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, value = argument.partition("=")
        if flag.startswith("--") and flag not in others and flag[2:].partition(".")[0] in known:
            given = value if equals else next(waiting, None)
            if given is None:
                raise InputError(f"{flag} has no value")
            options.append((flag, given))
        else:
            rest.append(argument)
    return options, rest


def merged(
    cls: type, name: str | Path | None, options: Sequence[tuple[str, str]], owned: Sequence[str] = ()
) -> dict[str, Any]:
    """The keys of a file, those that are `owned` left out, with options put into them: wherever they stand on
    the command line, they win. `--stages.0.name x` reaches into a list. Raises InputError."""
    data = read_yaml(configuration(name, getattr(cls, "FOLDER", ""))) if name is not None else {}
    data = {key: value for key, value in data.items() if key not in owned}
    for flag, text in options:
        _put(cls, data, flag, text)
    return data


def _put(cls: type, data: dict[str, Any], flag: str, text: str) -> None:
    """Set what `flag`, --a.0.b, names in nested mappings and lists."""
    parts, hint, node = flag[2:].split("."), typing.cast(Any, cls), typing.cast(Any, data)
    while True:
        part = parts.pop(0)
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(
                    f"{flag}: there is no {part!r}: expected 0 to {len(node) - 1}, a member's number"
                )
            part = int(part)  # type: ignore[assignment]
        elif not isinstance(node, dict):
            raise InputError(f"{flag}: {part!r} is below a value that has no keys")
        hint, library = _below(hint, part)
        if hint is float and parts:  # keys of a mapping to numbers may hold dots (rewards)
            part, parts = ".".join([part, *parts]), []
        if not parts:
            node[part] = text if library or hint is str else _of_text(text, flag)
            return
        if isinstance(node, dict) and node.get(part) is None:
            if typing.get_origin(hint) is list:
                raise InputError(f"{flag}: {part} has no members yet")
            node[part] = {}
        node = node[part]


def _below(hint: Any, part: Any) -> tuple[Any, bool]:
    """The type of what a key (or number) names in a value of type `hint`, without None; and whether a
    library's class knows better. Any where nothing is known: `build` refuses what is wrong."""
    if dataclasses.is_dataclass(hint):
        found, library = _hints(typing.cast(type, hint)).get(part, Any), False
        f = fields_of(typing.cast(type, hint)).get(part)
        if f is not None and f.metadata.get("behind"):
            return Behind, False
    elif hint is Behind:
        found, library = Any, True
    else:
        arguments = typing.get_args(hint)
        found, library = (arguments[-1] if arguments else Any), False
    if typing.get_origin(found) in (typing.Union, types.UnionType):
        found = next(a for a in typing.get_args(found) if a is not type(None))
    return found, library


def _of_text(text: str, flag: str) -> Any:
    """What a word of the command line means as YAML."""
    try:
        return yaml_of(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{flag}: {text!r:.80} is not YAML") from error


def mapping_of(text: str, flag: str) -> dict:
    """A mapping as a word of the command line, {a: b}, or the path of a YAML file that holds it. Raises
    InputError."""
    if not text.lstrip().startswith("{"):
        return read_yaml(text)
    found = _of_text(text, flag)
    if not isinstance(found, dict):
        raise InputError(f"{flag}: {text!r:.80} is no mapping")
    return found


def add_keys(parser: ArgumentParser, cls: type, option: str, owned: Sequence[str] = ()) -> None:
    """Add the keys of a dataclass to a parser, for its help and for shells, but for the `owned` ones; and
    `option`, which names a file of them."""
    names = list(configurations(cls.FOLDER)) if hasattr(cls, "FOLDER") else []
    text = "YAML file" + (f", or the name of a shipped one: {', '.join(names)}" if names else "")
    parser.add_argument(option, help=text, metavar="FILE")
    parser.add_argument("--print_config", action="store_true", help="Print the configuration and end.")
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


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """What arguments give, without defaults. Raises InputError."""
    try:
        return parser.parse_args(arguments, defaults=False)
    except ArgumentError as error:
        raise InputError(message_of(error)) from error


def required(cls: type) -> list[str]:
    """Keys that must be given."""
    return [
        name
        for name, f in fields_of(cls).items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]


def fields_of(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
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


def nearest(key: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known keys: {', '.join(names)}" if len(names) <= 40 else "see --help for those that are known"


def message_of(error: Exception) -> str:
    """jsonargparse's message in this project's words, on one line."""
    text = " ".join(str(error).split())
    text = re.sub(r"Parser key \"([^\"]+)\": ", r"\1: ", text)
    text = re.sub(r"[Tt]he following arguments are required: ", "missing: ", text)
    text = re.sub(r"Does not validate against any of the Union subtypes.*?Errors: - ", "", text)
    expected = (
        r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\]|(.+?))\. Got value: (.*?)( - Exp.*)?$"
    )
    return re.sub(
        expected, lambda m: f"expected {m[1] or (m[2] and f'one of {m[2]}') or m[3]}, found {m[4]!r}", text
    )


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
