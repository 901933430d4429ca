"""The commands of `bench` that write for other tools, and read what these wrote."""

import sys
from typing import Annotated, Literal

from bench.suite import Suite
from tvad.common import cli
from tvad.common.errors import InputError

Form = Literal["lmms-eval", "vlmevalkit", "inspect", "vau-r1"]  # bench.logs.FORMATS
UNASKED = ("model", "decode", "odds")  # of a suite: how a model is asked


def export(
    run: str,
    /,
    out: Annotated[str, cli.FILE],
    format: Literal["inspect", "hub"] = "inspect",
    dataset: str | None = None,
    source: str | None = None,
) -> int:
    """Write a run as a log for Inspect's viewer, or its first metrics as results of a model at the hub.

    Args:
        run: Folder of a finished run.
        out: File: .json; of the hub, .yaml, for the folder .eval_results of the model's repository.
        format: For whom.
        dataset: Of the hub: the benchmark's data set there, ORG/NAME.
        source: Of the hub: address where the run can be looked at.

    Example:
        bench export runs/tiny-greedy --out runs/tiny-greedy/inspect.json
        bench export runs/mine --format hub --dataset my-lab/vau --out .eval_results/vau.yaml
    """
    from bench import exchange

    if format == "inspect":
        for name, value in (("dataset", dataset), ("source", source)):
            if value is not None:
                raise InputError(f"--{name} is of --format hub")
        print(exchange.to_inspect(run, out))
        return 0
    if dataset is None:
        raise InputError("--format hub: expected --dataset ORG/NAME, the benchmark's data set at the hub")
    file, left = exchange.to_hub(run, out, dataset, source)
    for name in left:
        print(f"left out: {name} has no value", file=sys.stderr)
    print(file)
    return 0


def handout(
    suite: Annotated[Suite, cli.FromFile(unused=("model", "odds"))],
    task: str,
    out: Annotated[str, cli.FOLDER],
    format: Literal["lmms-eval", "inspect"],
) -> int:
    """Write a suite's questions as a task of another harness, whose log `bench score --format` reads.

    Args:
        task: The suite's task.
        out: Folder of the harness's task.
        format: Which harness.

    Example:
        bench handout --suite scenes --task mcq --format lmms-eval --out tasks/scenes
    """
    from bench.handout import hand_out

    file, count = hand_out(suite, task, format, out)
    print(f"{count} questions in {file}")
    return 0


def import_log(
    log: str,
    /,
    suite: Annotated[Suite, cli.FromFile(unused=UNASKED)],
    out: Annotated[str, cli.FILE],
    format: Form = "lmms-eval",
    task: str | None = None,
) -> int:
    """Turn another tool's log into predictions for `bench score`; exit status 1 where answers were left out.

    Args:
        log: lmms-eval's samples_*.jsonl, Inspect's .json or .eval, VLMEvalKit's or VAU-R1's table.
        out: File of predictions, .jsonl.
        format: Whose log it is. An answer belongs to the question that its video and words name.
        task: The suite's task that was asked (vau-r1: told by its column).

    Example:
        bench import samples_mcq.jsonl --suite scenes --task mcq --out answers.jsonl
    """
    from bench.exchange import from_log

    count, problems = from_log(log, suite, format, task, out)
    for problem in problems:
        print(f"left out {problem}", file=sys.stderr)
    print(f"{count} answers in {out}; {len(problems)} left out")
    return 1 if problems else 0
