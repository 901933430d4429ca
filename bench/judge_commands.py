"""The commands of `bench` that ask a judge model."""

from typing import Annotated

from bench.models.options import ModelOptions
from tvad.common import cli
from tvad.common.errors import InputError

# Of a model's options what a judge, an endpoint that is sent texts, has.
ASKED = ("concurrency", "timeout", "retries", "max_completion_tokens", "extra_body")
OTHERS = tuple(name for name in vars(ModelOptions()) if name not in ASKED)
Options = Annotated[ModelOptions, cli.FromFile(unused=OTHERS)]


def judge(run: str, /, judge: list[str], options: Options) -> int:
    """Rate a run's rationales by one or two language models (VAU-Eval); exit status 1 where a reply held no
    rating.

    Args:
        run: Folder of a finished run.
        judge: openai:NAME@URL; twice for their agreement.
        options: How they are asked, as a file of the keys below.

    Example:
        bench judge runs/tiny-greedy --judge openai:NAME@http://127.0.0.1:8000/v1
    """
    from bench import judge as judges
    from bench.replies import opened

    if len(judge) > 2:
        raise InputError("--judge: one or two judges")
    print(judges.table(judges.judge_run(run, [opened(spec, options) for spec in judge])))
    return 0


def read(run: str, /, options: Options, judge: str | None = None) -> int:
    """Have a language model read the answers that rules could not, and make the run's figures anew, its share
    beside them; exit status 1 where replies could not be used and are asked once more by another call.

    Args:
        run: Folder of a finished run.
        options: How it is asked, as a file of the keys below.
        judge: openai:NAME@URL; without one what a judge has read is read by rules again.

    Example:
        bench read runs/tiny-greedy --judge openai:NAME@http://127.0.0.1:8000/v1
    """
    from bench import below
    from bench import read as reader
    from bench.intervals import table
    from bench.replies import opened
    from bench.report import write_report

    if judge is None and options.given:
        raise InputError(f"--{next(iter(options.given))}: of a judge, which --judge names")
    told, metrics = reader.read_run(run, opened(judge, options) if judge else None)
    print("\n".join([table(metrics), *below.lines(run), reader.table(told)]))
    print(write_report(run))
    return int(bool(told.get("again")))
