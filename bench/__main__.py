"""The command `bench`: score models, compare runs, make reports."""

import argparse
import os
import sys
from pathlib import Path

from tvad import cli

EXAMPLES = """examples:
  bench run --model vllm:assets/tvad-tiny --suite configs/bench/scenes.yaml --out runs/tiny-greedy
  bench run --model hf:assets/tvad-tiny --suite configs/bench/scenes.yaml --out runs/hf --decode.n 4 --decode.temperature 1
  bench score answers.jsonl --suite configs/bench/scenes.yaml --out runs/scored
  bench compare runs/before runs/after
  bench report runs/tiny-greedy
  bench list models
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name, text, example):
        return commands.add_parser(
            name, help=text, description=text, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )

    run = add("run", "ask a model the questions of a suite and score its answers", EXAMPLES.splitlines()[1].strip())
    run.add_argument("--model", required=True, help="KIND:PATH, KIND one of hf, vllm, baseline")
    run.add_argument("--suite", required=True, help="YAML file, e.g. configs/bench/scenes.yaml")
    run.add_argument("--out", required=True, help="folder of the run")
    score = add("score", "score answers made elsewhere: lines of id, task, response", EXAMPLES.splitlines()[3].strip())
    score.add_argument("predictions", help="JSONL file")
    score.add_argument("--suite", required=True)
    score.add_argument("--out", required=True)
    compare = add("compare", "paired differences of two runs on one suite", EXAMPLES.splitlines()[4].strip())
    compare.add_argument("before")
    compare.add_argument("after")
    report = add("report", "write RUN/report.html", EXAMPLES.splitlines()[5].strip())
    report.add_argument("run")
    report.add_argument("--against", help="an earlier run on the same suite, for the comparison")
    names = add("list", "names that suites and commands take", EXAMPLES.splitlines()[6].strip())
    names.add_argument("what", choices=("tasks", "metrics", "models", "suites"))
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = build_parser()
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command not in ("run", "score"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if known.command == "run":
        from bench import models, suite
        from bench.run import run, table

        plan = suite.read(known.suite, rest)
        suite.load(plan)  # bad data is refused before a model is loaded
        print(table(run(models.load(known.model), known.model, plan, known.out)))
    elif known.command == "score":
        from bench import suite
        from bench.run import table
        from bench.score import score

        print(table(score(known.predictions, suite.read(known.suite, rest), known.out)))
    elif known.command == "compare":
        from bench import compare

        print(compare.table(compare.compare(known.before, known.after)))
    elif known.command == "report":
        from bench.report import write_report

        print(write_report(known.run, known.against))
    elif known.command == "list":
        print("\n".join(_names(known.what)))
    return 0


def _names(what: str) -> list[str]:
    from bench import models, tasks

    if what == "tasks":
        return list(tasks.NAMES)
    if what == "models":
        return [f"{kind}:" + ("NAME" if kind == "baseline" else "PATH") for kind in models.KINDS]
    if what == "suites":
        folder = Path(__file__).resolve().parent.parent / "configs" / "bench"
        return [str(path) for path in sorted(folder.glob("*.yaml"))]
    return sorted(path.stem for path in (Path(__file__).parent / "metrics").glob("[a-z]*.py"))


def entry() -> None:
    """Console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
