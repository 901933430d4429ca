"""The command `bench`: score models, compare runs, make reports."""

import os
import sys

from bench import commands, exchange_commands, frame_commands, judge_commands
from tvad.common import cli

COMMANDS: cli.Commands = {
    "run": commands.run,
    "retry": commands.retry,
    "score": commands.score,
    "pool": commands.pool,
    "compare": commands.compare,
    "sight": commands.sight,
    "audit": commands.audit,
    "coverage": commands.coverage,
    "power": commands.power,
    "alarms": frame_commands.alarms,
    "threshold": frame_commands.threshold,
    "report": commands.report,
    "judge": judge_commands.judge,
    "read": judge_commands.read,
    "export": exchange_commands.export,
    "handout": exchange_commands.handout,
    "import": exchange_commands.import_log,
    "list": commands.names,
}


def main(arguments: list[str] | None = None) -> int:
    return cli.run("bench", COMMANDS, __doc__ or "", arguments)


def entry() -> None:
    """Console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
