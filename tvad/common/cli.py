"""Command lines: functions become commands by their signatures (jsonargparse); errors are one line, exit
statuses the same everywhere.

Of a command's function, a parameter before `/` is a positional argument and every other one an option; a
`bool` is a switch, a `list[str]` an option that may be repeated; a dataclass brings all of its keys, and the
option of the parameter's name takes a YAML file of them (`FromFile`); `*rest` takes what is not known. The
docstring's first part is the help, its `Args:` that of the options, `Example:` an example. Options may be
written with dashes or underscores.
"""

import dataclasses
import inspect
import os
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from docstring_parser import Docstring
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from tvad.common import config
from tvad.common.errors import InputError

Command = Callable[..., int | None]
Commands = Mapping[str, "Command | Commands"]
WIDTH = 110
PRINT = "--print_config"


@dataclasses.dataclass(frozen=True)
class FromFile:
    """Of a parameter, by Annotated: `default`, the shipped file that is read where none is named. With `cls`
    the parameter is a dict of the keys of that dataclass that were given, without those that are `owned`:
    the command sets them by itself."""

    default: str | None = None
    cls: type | None = None
    owned: tuple[str, ...] = ()


def guard(main: Callable[..., int], *args) -> int:
    """Run a command: its exit status, 2 and one line on stderr for bad input, 130 when interrupted."""
    try:
        return main(*args)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


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
    parser = parser_of(" ".join([prog, *names]), commands, "" if names else text)
    known, rest = _split(commands, parser, given)
    if any(argument.startswith(PRINT) for argument in known):
        _print_config(commands, known)
        return 0
    found = config.parse(parser, _with_file(commands, known))
    places, options = _values(commands, parser, found)
    return commands(*places, *rest, **options) or 0


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


def parser_of(prog: str, command: Command, text: str = "") -> ArgumentParser:
    """The parser of a command; `text` is its description, where not its docstring's first part."""
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
            config.add_keys(parser, typing.cast(type, hint), f"--{name}", source.owned)
            inside += config.keys(typing.cast(type, hint))
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


def _split(command: Command, parser: ArgumentParser, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments with their options spelt with underscores, and what `*rest` takes as it is: options that are
    not known, with their values."""
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p, _, _ in parameters(command).values())
    known: list[str] = []
    rest: list[str] = []
    target = known
    for argument in given:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            spelt = flag[:2] + flag[2:].replace("-", "_")
            target = rest if takes_rest and spelt not in parser._option_string_actions else known
            argument = argument if target is rest else spelt + equals + value
        elif argument.startswith("-") and takes_rest and argument not in parser._option_string_actions:
            target = rest
        target.append(argument)
    return known, rest


def _with_file(command: Command, given: list[str]) -> list[str]:
    """The arguments, with the file that a command reads where none is named. Raises InputError where there
    must be one."""
    for name, (_, hint, source) in parameters(command).items():
        asked = {"-h", "--help"} & set(given)
        if (
            not dataclasses.is_dataclass(hint)
            or asked
            or any(a.partition("=")[0] == f"--{name}" for a in given)
        ):
            continue
        if source.default:
            return [f"--{name}", source.default, *given]
        needed = [
            f.name for f in dataclasses.fields(hint) if f.default is f.default_factory is dataclasses.MISSING
        ]
        missing = [
            key
            for key in needed
            if key not in source.owned and not any(a.startswith(f"--{key}") for a in given)
        ]
        if missing:
            raise InputError(f"--{name} is missing: a YAML file, or the name of a shipped one")
    return given


def _print_config(command: Command, given: Sequence[str]) -> None:
    """Print what a file and options of its keys resolve to; the command's other options do not matter."""
    for name, (_, hint, source) in parameters(command).items():
        if dataclasses.is_dataclass(hint):
            parser = _parser(name)
            config.add_keys(parser, typing.cast(type, hint), f"--{name}", source.owned)
            chosen: list[str] = []
            taken = False
            for argument in _with_file(command, list(given)):
                if argument.startswith("--"):
                    first = argument.partition("=")[0].partition(".")[0]
                    taken = first in parser._option_string_actions and first != PRINT
                if taken:
                    chosen.append(argument)
            found = config.parse(parser, chosen, defaults=True)
            found.pop(name)  # the file's own name
            print(parser.dump(found, skip_default=f"{PRINT}=skip_default" in given), end="")


def _values(command: Command, parser: ArgumentParser, found: Namespace) -> tuple[list[Any], dict[str, Any]]:
    """What the command is called with: positional arguments, and options that were given."""
    places: list[Any] = []
    options: dict[str, Any] = {}
    for name, (parameter, hint, source) in parameters(command).items():
        if dataclasses.is_dataclass(hint):
            cls = typing.cast(type, hint)
            if source.cls:  # an owned key may be an option of the command: it is not among these
                keys = config.given(cls, parser, found)
                options[name] = {key: value for key, value in keys.items() if key not in source.owned}
            else:
                where = found[name][-1] if found.get(name) else f"--{name}"
                options[name] = config.made(cls, parser, found, str(where))
        elif name in found and parameter.kind is parameter.POSITIONAL_ONLY:
            places.append(found[name])
        elif name in found:
            options[name] = found[name]
    return places, options
