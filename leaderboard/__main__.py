"""The command `leaderboard`: pack a model's runs for submission, and check a submission as the server does."""

import argparse
import sys
from pathlib import Path

from tvad import cli
from tvad.errors import InputError
from tvad.files import write_whole

EXAMPLES = """examples:
  leaderboard card --out card.yaml
  leaderboard pack scenes=runs/tiny-greedy --card card.yaml --out submission.zip
  leaderboard verify submission.zip
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leaderboard", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    lines = [line.strip() for line in EXAMPLES.splitlines()[1:]]

    def add(name, text, example):
        return commands.add_parser(
            name, help=text, description=text, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )

    card = add("card", "write a model card to fill in", lines[0])
    card.add_argument("--out", required=True)
    pack = add("pack", "pack finished benchmark runs and a model card into a submission", lines[1])
    pack.add_argument("runs", nargs="+", help="SUITE=RUN, one for every suite")
    pack.add_argument("--card", required=True, help="YAML file; `leaderboard card` writes one to fill in")
    pack.add_argument("--out", required=True, help="a .zip, or a folder")
    verify = add("verify", "check a submission; exit status 1 where lines of it would not be scored", lines[2])
    verify.add_argument("submission", help="folder or .zip")
    return parser


def main(arguments: list[str] | None = None) -> int:
    known = build_parser().parse_args(arguments)
    from leaderboard import submission

    if known.command == "card":
        if Path(known.out).exists():
            raise InputError(f"--out: {known.out} exists already")
        print(write_whole(known.out, submission.card_template()))
        return 0
    if known.command == "pack":
        runs = {}
        for given in known.runs:
            suite, equals, run = given.partition("=")
            if not equals or not suite or suite in runs:
                raise InputError(f"{given!r}: expected SUITE=RUN, every suite once")
            runs[suite] = Path(run)
        found = submission.pack(runs, Path(known.card), Path(known.out))
        print(f"{known.out}: {found.card.name}, {', '.join(found.suites)}, {found.hash}")
        return 0
    with submission.opened(Path(known.submission)) as folder:
        found = submission.verify(folder)
    for problem in found.rejected:
        print(f"would not be scored: {problem}")
    print(f"{found.card.name} by {found.card.organisation}: {', '.join(found.suites)}, {found.hash}")
    return 1 if found.rejected else 0


def entry() -> None:
    """Console script."""
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
