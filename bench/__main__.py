"""The command `bench`: score models, compare runs, make reports."""

import argparse
import json
import os
import sys
from pathlib import Path

from tvad.common import cli
from tvad.common.errors import InputError

EXAMPLES = """examples:
  bench run --model vllm:assets/tvad-tiny --suite configs/bench/scenes.yaml --out runs/tiny-greedy
  bench run --model hf:assets/tvad-tiny --suite configs/bench/scenes.yaml --out runs/hf --decode.n 4
  bench score answers.jsonl --suite configs/bench/scenes.yaml --out runs/scored
  bench compare runs/before runs/after
  bench report runs/tiny-greedy
  bench audit --data data/core/test --train data/core/train
  bench compare runs/before runs/after --gate configs/gate/reasoning.yaml --junit gate.xml
  bench list models
  bench judge runs/tiny-greedy --judge openai:NAME@http://127.0.0.1:8000/v1
  bench export runs/tiny-greedy --out runs/tiny-greedy/inspect.json
  bench import samples_mcq.jsonl --suite configs/bench/scenes.yaml --task mcq --out answers.jsonl
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name, text, example):
        return commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    run = add(
        "run", "ask a model the questions of a suite and score its answers", EXAMPLES.splitlines()[1].strip()
    )
    run.add_argument(
        "--model", required=True, help="KIND:PATH, KIND one of hf, vllm, openai (NAME@URL), baseline"
    )
    run.add_argument("--suite", required=True, help="YAML file, e.g. configs/bench/scenes.yaml")
    run.add_argument("--out", required=True, help="folder of the run")
    run.add_argument(
        "--video",
        choices=("file", "frames"),
        help="openai: how clips travel, as mp4 (default) or as pictures",
    )
    run.add_argument("--concurrency", type=int, help="openai: requests in flight (default 8)")
    run.add_argument(
        "--cache",
        help=(
            "SQLite file of answers that runs share: what the same model was asked before is not asked again"
        ),
    )
    score = add(
        "score", "score answers made elsewhere: lines of id, task, response", EXAMPLES.splitlines()[3].strip()
    )
    score.add_argument("predictions", help="JSONL file")
    score.add_argument("--suite", required=True)
    score.add_argument("--out", required=True)
    compare = add("compare", "paired differences of two runs on one suite", EXAMPLES.splitlines()[4].strip())
    compare.add_argument("before")
    compare.add_argument("after")
    compare.add_argument("--gate", help="YAML file of tolerated drops; exit status 1 on a regression")
    compare.add_argument("--junit", help="with --gate: write the verdicts as JUnit XML")
    compare.add_argument("--markdown", help="write the table as Markdown, for a CI summary")
    audit = add(
        "audit",
        "what a suite can be answered with without looking; exit status 1 where it is flagged",
        EXAMPLES.splitlines()[6].strip(),
    )
    source = audit.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="data set folder or VAU-Bench CSV")
    source.add_argument("--suite", help="YAML file; its data is audited")
    audit.add_argument("--train", help="the training data, for the prior, the text-only baseline and leaks")
    audit.add_argument("--out", help="write the audit as a page")
    report = add("report", "write RUN/report.html", EXAMPLES.splitlines()[5].strip())
    report.add_argument("run")
    report.add_argument("--against", help="an earlier run on the same suite, for the comparison")
    judge = add(
        "judge",
        "rate a run's rationales by one or two language models (VAU-Eval)",
        EXAMPLES.splitlines()[9].strip(),
    )
    judge.add_argument("run")
    judge.add_argument(
        "--judge", action="append", required=True, help="openai:NAME@URL; twice for their agreement"
    )
    export = add("export", "write a run as a log for Inspect's viewer", EXAMPLES.splitlines()[10].strip())
    export.add_argument("run")
    export.add_argument("--out", required=True, help="file, .json")
    taken = add(
        "import",
        "turn lmms-eval's sample log into predictions for `bench score`",
        EXAMPLES.splitlines()[11].strip(),
    )
    taken.add_argument("log", help="samples_*.jsonl")
    taken.add_argument("--suite", required=True)
    taken.add_argument("--task", required=True, help="the suite's task that was asked")
    taken.add_argument(
        "--key",
        default="doc_id",
        help="field that names the question: doc_id counts the suite's questions of the task",
    )
    taken.add_argument("--out", required=True)
    names = add("list", "names that suites and commands take", EXAMPLES.splitlines()[8].strip())
    names.add_argument("what", choices=("tasks", "metrics", "models", "suites"))
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = build_parser()
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command not in ("run", "score", "import"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if known.command == "run":
        from bench import models, suite
        from bench.cache import ResponseCache
        from bench.intervals import table
        from bench.run import run

        plan = suite.read(known.suite, rest)
        suite.load(plan)  # bad data is refused before a model is loaded
        options = {
            k: v for k, v in (("video", known.video), ("concurrency", known.concurrency)) if v is not None
        }
        if options and not known.model.startswith("openai:"):
            raise InputError(f"--{next(iter(options))} is for openai: models")
        cache = ResponseCache(known.cache, known.model) if known.cache else None
        if metrics := run(models.load(known.model, **options), known.model, plan, known.out, cache):
            print(table(metrics))
            _warn_of_blind_baselines(known.out)
    elif known.command == "score":
        from bench import suite
        from bench.intervals import table
        from bench.score import score

        metrics, rejected = score(known.predictions, suite.read(known.suite, rest), known.out)
        for problem in rejected:
            print(f"rejected {problem}", file=sys.stderr)
        print(table(metrics))
        _warn_of_blind_baselines(known.out)
    elif known.command == "compare":
        from bench.gate import compare_runs

        return compare_runs(known.before, known.after, known.gate, known.junit, known.markdown)
    elif known.command == "audit":
        from bench import audit, suite

        found = audit.audit(known.data or suite.read(known.suite).data, known.train)
        print(audit.table(found))
        if known.out:
            print(audit.write_page(found, known.out))
        return 1 if found.flagged else 0
    elif known.command == "report":
        from bench.report import write_report

        print(write_report(known.run, known.against))
    elif known.command == "judge":
        from bench import judge

        if len(known.judge) > 2:
            raise InputError("--judge: one or two judges")
        print(judge.table(judge.judge_run(known.run, known.judge)))
    elif known.command == "export":
        from bench.exchange import to_inspect

        print(to_inspect(known.run, known.out))
    elif known.command == "import":
        from bench import suite
        from bench.exchange import from_lmms_eval

        count, problems = from_lmms_eval(
            known.log, suite.read(known.suite, rest), known.task, known.out, known.key
        )
        for problem in problems:
            print(f"left out {problem}", file=sys.stderr)
        print(f"{count} answers in {known.out}; {len(problems)} lines left out")
    elif known.command == "list":
        print("\n".join(_names(known.what)))
    return 0


def _warn_of_blind_baselines(run: str) -> None:
    from bench import blind

    for line in blind.warnings(json.loads(Path(run, "run.json").read_text())["blind"]):
        print(line)


def _names(what: str) -> list[str]:
    from bench import models, tasks

    if what == "tasks":
        return list(tasks.NAMES)
    if what == "models":
        return [f"{kind}:{entry.takes}" for kind, entry in models.KINDS.items()]
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
