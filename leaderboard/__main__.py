"""The command `leaderboard`: pack a model's runs, check them as the server does, send them; the server and
its accounts."""

import sys

from leaderboard import commands, gating, operation
from tvad.common import cli

COMMANDS: cli.Commands = {
    "card": commands.card,
    "pack": commands.pack,
    "verify": commands.verify,
    "submit": commands.submit,
    "withdraw": commands.withdraw,
    "gate": gating.gate,
    "serve": commands.serve,
    "build": commands.build,
    "account": commands.account,
    "admin": commands.admin,
    "backup": operation.backup,
    "restore": operation.restore,
    "move": operation.move,
    "list": commands.names,
}


def main(arguments: list[str] | None = None) -> int:
    return cli.run("leaderboard", COMMANDS, __doc__ or "", arguments)


def entry() -> None:
    """Console script."""
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
