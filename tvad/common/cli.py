"""Command lines: functions become commands by their signatures (jsonargparse); errors are one line, exit
statuses the same everywhere.

Of a command's function, a parameter before `/` is a positional argument and every other one an option; a
`bool` is a switch, a `list[str]` an option that may be repeated; a dataclass brings all of its keys, and the
option of the parameter's name takes a YAML file of them (`FromFile`); `*rest` takes what is not known; a
path that is written to (`Written`) is looked at before the command begins. The
docstring's first part is the help, its `Args:` that of the options, `Example:` an example. Options may be
written with dashes or underscores.
"""

import dataclasses
import errno
import inspect
import io
import logging
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import yaml
from docstring_parser import Docstring
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from tvad.common import config
from tvad.common.errors import InputError, Stopped
from tvad.common.files import check_file, check_folder
from tvad.common.leaving import leave
from tvad.common.quiet import first

Command = Callable[..., int | None]
Commands = Mapping[str, "Command | Commands"]
WIDTH = 110
PRINT = "--print_config"


@dataclasses.dataclass(frozen=True)
class FromFile:
    """Of a parameter, by Annotated: `default`, the shipped file that is read where none is named. With `cls`
    the parameter is a mapping of the keys of that dataclass, not yet built, without those that are `owned`:
    the command adds them. unused: keys that a file may hold, for other commands, and no option sets."""

    default: str | None = None
    cls: type | None = None
    owned: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def without(self, place: str) -> bool:
        """Whether a key by its place (decode.n), or a group that it is in, is no option."""
        return re.split(r"[.\[]", place)[0] in (*self.owned, *self.unused)


@dataclasses.dataclass(frozen=True)
class Written:
    """Of a parameter, by Annotated: a path that the command writes to. `check` raises InputError where it
    cannot, before the command begins."""

    check: Callable[[str], None]


FOLDER, FILE = Written(check_folder), Written(check_file)


# What keeps any file from being written: no fault of the program's.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def guard(main: Callable[..., int], *args) -> int:
    """Run a command: its exit status; one line on stderr and 2 for bad input, 130 when interrupted, and for a
    training that stopped early what it says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # half an emoji in somebody's text ends no command
    if not first():  # what it would say of its work is the first one's line too; errors are its own
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends
    # It says at every start which faster kernels are not there.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # ours look themselves
    try:
        status = main(*args)
        leave()
        return status
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(stop, file=sys.stderr)
        leave()
        return stop.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        return 2


def run(prog: str, commands: Command | Commands, text: str, arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments (default: the process's), call the command that they name; its exit status. `text`,
    a module's docstring, says what the program is. Raises InputError, and SystemExit after --help."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    names: list[str] = []
    while not callable(commands):
        if not given or given[0] not in commands:
            return _group(" ".join([prog, *names]), commands, text, given)
        names.append(given.pop(0))
        commands = commands[names[-1]]
    title, about = " ".join([prog, *names]), "" if names else text
    if {"-h", "--help"} & set(given) or any(a.startswith("--print_completion") for a in given):
        config.parse(parser_of(title, commands, about), given)  # prints and ends
    own = parser_of(title, commands, about, keys=False)
    known, rest = _split(commands, own, given)
    values: dict[str, Any] = {}
    for name, (_, cls, source) in parameters(commands).items():
        if dataclasses.is_dataclass(cls):
            values[name], known = _configuration(name, typing.cast(type, cls), source, known, own)
            if PRINT in known:
                shown = values[name] if source.cls else dataclasses.asdict(values[name])
                print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), end="")
                return 0
    found = config.parse(own, known)
    places, options = [], {}
    hints = typing.get_type_hints(commands, include_extras=True)
    for name, (parameter, _, _) in parameters(commands).items():
        if name in found and name not in values:
            for extra in getattr(hints.get(name), "__metadata__", ()):
                if isinstance(extra, Written) and found[name] is not None:
                    extra.check(found[name])
            if parameter.kind is parameter.POSITIONAL_ONLY:
                places.append(found[name])
            else:
                options[name] = found[name]
    return commands(*places, *rest, **options, **values) or 0


def _configuration(
    name: str, cls: type, source: FromFile, given: list[str], own: ArgumentParser
) -> tuple[Any, list[str]]:
    """What `--name FILE` and options of its keys come to, and the other arguments; an option of the command's
    `own` is no key, those below it (--model.dtype) are. Raises InputError."""
    options, others = config.split(cls, given, source.owned, list(own._option_string_actions))
    for flag, _ in options:
        if source.without(flag[2:]):
            raise InputError(f"{flag}: {own.prog} does nothing by it")
    file, rest = source.default, []
    waiting = iter(others)
    for argument in waiting:
        flag, equals, value = argument.partition("=")
        if flag == f"--{name}":
            file = value if equals else next(waiting, None)
            if file is None:
                raise InputError(f"--{name} has no value")
        else:
            rest.append(argument)
    needed = set(config.required(cls)) - set(source.owned) - {flag[2:] for flag, _ in options}
    if file is None and needed:
        raise InputError(f"--{name} is missing: a YAML file, or the name of a shipped one")
    data = config.merged(cls, file, options, source.owned)
    return (data if source.cls else config.build(cls, data, file or f"--{name}")), rest


def _group(prog: str, commands: Commands, text: str, given: list[str]) -> int:
    """Help of a group of commands, or a refusal that names the nearest."""
    if given and given[0].startswith("-"):
        examples = "\n".join(line for command in _leaves(commands) for line in _examples(command)[:1])
        parser = _parser(prog, description=text, epilog=f"examples:\n{textwrap.indent(examples, '  ')}")
        _add_commands(parser, prog, commands)
        config.parse(parser, given)
    if given:
        raise InputError(f"{prog}: unknown command {given[0]!r}; {config.nearest(given[0], commands)}")
    raise InputError(f"{prog}: which command? One of {', '.join(commands)}; see {prog} --help")


def _parser(prog: str, **options: Any) -> ArgumentParser:
    return ArgumentParser(
        prog=prog, formatter_class=_Help, exit_on_error=False, allow_abbrev=False, **options
    )


def _add_commands(parser: ArgumentParser, prog: str, commands: Commands) -> None:
    """A group's commands with their options: for its help, and for the completion of shells."""
    inner = parser.add_subcommands(dest="command", metavar="COMMAND", title="commands", required=True)
    for name, command in commands.items():
        below = f"{prog} {name}"
        if callable(command):
            inner.add_subcommand(name, parser_of(below, command), help=_docs(command).short_description or "")
        else:
            listed = _parser(below, description=f"Commands: {', '.join(command)}.")
            inner.add_subcommand(name, listed, help=", ".join(command))
            _add_commands(listed, below, command)


class _Help(DefaultHelpFormatter):
    """Descriptions keep their lines."""

    def __init__(self, prog, **options):
        super().__init__(prog, width=WIDTH, max_help_position=34, **options)

    def _fill_text(self, text, width, indent):
        return "".join(indent + line for line in text.splitlines(keepends=True))


def _leaves(commands: Command | Commands) -> Iterator[Command]:
    """All commands of a program."""
    if callable(commands):
        yield commands
    else:
        for command in commands.values():
            yield from _leaves(command)


def _examples(command: Command) -> list[str]:
    return [line for e in _docs(command).examples for line in (e.description or "").splitlines()]


def _docs(command: Command) -> Docstring:
    return parse_docstring(inspect.getdoc(command) or "")


def parameters(command: Command) -> dict[str, tuple[inspect.Parameter, Any, FromFile]]:
    """name -> (parameter, its type, what `FromFile` says)."""
    hints = typing.get_type_hints(command, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(command).parameters.items():
        hint, source = hints.get(name, str), FromFile()
        if typing.get_origin(hint) is Annotated:
            hint, *extras = typing.get_args(hint)
            source = next((e for e in extras if isinstance(e, FromFile)), source)
            hint = source.cls or hint
        found[name] = (parameter, hint, source)
    return found


def parser_of(prog: str, command: Command, text: str = "", keys: bool = True) -> ArgumentParser:
    """The parser of a command; `text` is its description, where not its docstring's first part. With `keys`,
    those of its configuration are in it, for help; they are read by `config`."""
    docs = _docs(command)
    help_of = {p.arg_name: " ".join((p.description or "").split()) for p in docs.params}
    text = text or "\n\n".join(filter(None, [docs.short_description, docs.long_description]))
    examples = "\n".join(_examples(command))
    taken = parameters(command)
    places = [n.upper() for n, (p, _, _) in taken.items() if p.kind is p.POSITIONAL_ONLY]
    handed_on = [n for n, (p, _, _) in taken.items() if p.kind is p.VAR_POSITIONAL]
    parser = _parser(
        prog,
        usage=" ".join([prog, *places, "[options]"]),
        description=text,
        epilog=f"example:\n{textwrap.indent(examples, '  ')}" if examples else None,
    )
    inside: list[config.Key] = []
    for name, (parameter, hint, source) in taken.items():
        about: dict[str, Any] = {"help": help_of.get(name, "")}
        if name in handed_on:
            continue
        if dataclasses.is_dataclass(hint):
            if keys:
                # Those below an option of the command's own: a list.
                hidden_keys = (*source.owned, *source.unused, *taken)
                config.add_keys(parser, typing.cast(type, hint), f"--{name}", hidden_keys)
                inside += [
                    key for key in config.keys(typing.cast(type, hint)) if not source.without(key.place)
                ]
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            many = typing.get_origin(hint) is list
            count = "+" if many else None if parameter.default is parameter.empty else "?"
            about |= {} if count is None else {"nargs": count}
            parser.add_argument(name, type=str if many else hint, **about)
        elif hint is bool:
            parser.add_argument(f"--{name}", action="store_true", **about)
        else:
            required = parameter.default is parameter.empty
            about |= {"required": True} if required else {"default": parameter.default}
            repeated = hint in (list[str], list[str] | None)
            about |= {"action": "append"} if repeated else {"type": hint}
            parser.add_argument(f"--{name}", **about)
    options = parser._option_string_actions
    if hidden := [
        key for key in inside if f"--{key.place}" not in options and ("[" in key.place or "." in key.place)
    ]:
        parser.add_argument_group(
            "keys inside the above, in a file or by --a.b", "\n".join(map(_line, hidden))
        )
    if handed_on:
        parser.add_argument_group("further options", help_of.get(handed_on[0], ""))
    return parser


def _line(key: config.Key) -> str:
    """A key as a line of --help."""
    text = f"{key.text} ({key.kind}{f', default: {key.default}' if key.default else ''})"
    lines = textwrap.wrap(text, WIDTH - 34, initial_indent=" " * 32, subsequent_indent=" " * 32)
    if len(key.place) < 31:
        lines[0] = key.place.ljust(32) + lines[0][32:]
        return "\n".join(lines)
    return "\n".join([key.place, *lines])


def _split(command: Command, own: ArgumentParser, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments with their options spelt with underscores, and what `*rest` takes as it is: options that are
    not known, with their values. Raises InputError for an unknown option where nothing takes it."""
    taken = parameters(command)
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p, _, _ in taken.values())
    names = {option for option in own._option_string_actions}
    for name, (_, hint, source) in taken.items():
        if dataclasses.is_dataclass(hint):
            fields = set(config.fields_of(typing.cast(type, hint))) - set(source.owned)
            names |= {f"--{name}", PRINT} | {f"--{key}" for key in fields}
    known: list[str] = []
    rest: list[str] = []
    target = known
    for n, argument in enumerate(given):
        if argument.startswith("-") and argument != "-" and not _is_value(given, n, target, known):
            flag, equals, value = argument.partition("=")
            first, dot, below = flag.partition(".")
            spelt = f"--{first[2:].replace('-', '_')}" if first.startswith("--") else first
            target = known if spelt in names else rest
            if target is rest and not takes_rest:
                raise InputError(f"unknown option {flag}; {config.nearest(spelt, names)}")
            argument = argument if target is rest else spelt + dot + below + equals + value
        target.append(argument)
    return known, rest


def _is_value(given: Sequence[str], n: int, target: list[str], known: list[str]) -> bool:
    """Whether what begins with one dash is the value of the option before it, such as -1."""
    before = given[n - 1] if n else ""
    return not given[n].startswith("--") and target is known and before.startswith("--") and "=" not in before
