"""The command `tvad`: data sets, their annotation, checks, inference, serving."""

import os
import sys

from tvad.annotate import commands as annotate
from tvad.common import cli
from tvad.data import commands as data
from tvad.use import commands as use
from tvad.use import timeline_commands

COMMANDS: cli.Commands = {
    "data": data.COMMANDS,
    "annotate": annotate.COMMANDS,
    "infer": use.infer,
    "timeline": timeline_commands.timeline,
    "watch": timeline_commands.watch,
    "demo": use.demo,
    "serve": use.serve,
    "start": use.start,
    "convert": use.convert,
    "plain": use.plain,
    "list": use.names,
}


def main(arguments: list[str] | None = None) -> int:
    return cli.run("tvad", COMMANDS, __doc__ or "", arguments)


def entry() -> None:
    """Console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
