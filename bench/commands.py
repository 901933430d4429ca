"""The commands of `bench`: each takes what was typed, calls what does the work, prints."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.exchange_commands import UNASKED, Form
from bench.suite import Loaded, Suite
from bench.tasks import UNSCORED
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.data.sample import Sample
from tvad.data.video import Budget


def run(
    model: str,
    suite: Suite,
    out: Annotated[str, cli.FOLDER],
    video: Literal["file", "frames", "images"] | None = None,
    concurrency: int | None = None,
    cache: Annotated[str | None, cli.FILE] = None,
) -> int:
    """Ask a model the questions of a suite, score its answers and write RUN/report.html; exit status 1 where
    questions are left unscored.

    Args:
        model: KIND:PATH, KIND one of hf, vllm (a folder, or ORG/NAME or ORG/NAME@REVISION of the hub),
            openai (NAME@URL), baseline. How it is opened: --model.KEY VALUE.
        out: Folder of the run; a run that ended early goes on where it stopped.
        video: The same as --model.video.
        concurrency: The same as --model.concurrency.
        cache: SQLite file of answers that runs share: what a model was asked before is not asked again.

    Example:
        bench run --model vllm:tvad-tiny --suite scenes --out runs/tiny-greedy
        bench run --model hf:tvad-tiny --suite scenes --out runs/hf --decode.n 4 --decode.temperature 1
    """
    return _asked(model, suite, out, video, concurrency, cache)


def _asked(
    model: str,
    suite: Suite,
    out: str,
    video: Literal["file", "frames", "images"] | None,
    concurrency: int | None,
    cache: str | None,
    again: bool = False,
) -> int:
    """What `run` does, and with `again` also `retry`."""
    from bench import models
    from bench import suite as suites
    from bench.cache import ResponseCache
    from bench.models.families import known
    from bench.models.lengths import room_for
    from bench.models.options import FREE
    from bench.run import run as run_suite
    from tvad.common import hub

    samples, items = suites.load(suite)
    _say_tasks(suite, samples)  # bad data is refused before a model is loaded
    pixels = Budget.of(suite).given
    for key, value in (("video", video), ("concurrency", concurrency)):
        if value is not None:
            setattr(suite.model, key, value)
    told = suite.model.given
    models.check(model, told)
    options: dict[str, Any] = dict(told)
    revision: dict[str, str] = {}
    if models.is_checkpoint(model):
        options |= pixels
        if commit := hub.commit(hub.folder(model.partition(":")[2])):
            revision["revision"] = commit
    if model.startswith("vllm:"):
        options = room_for(model, suite, items) | options
    record = {"opened": {**options, **revision}}
    # What a model is opened with draws other answers; clips sent as its family takes them are not said.
    usual = "video", known(told.get("family")).family.sent_as
    asked = {key: value for key, value in told.items() if key not in FREE and (key, value) != usual}
    answers = ResponseCache(cache, model, {**pixels, **asked}) if cache else None
    if metrics := run_suite(
        lambda: models.load(model, **options),
        model,
        suite,
        out,
        answers,
        opened=record,
        again=again,
        loaded=(samples, items),
    ):
        _print(metrics, out, (samples, items))
    return int(any(name.endswith(UNSCORED) for name in metrics))


def retry(run: str, /, concurrency: int | None = None, cache: Annotated[str | None, cli.FILE] = None) -> int:
    """Ask again what a run has left unscored, as it was asked before; exit status 1 where some still are.

    Args:
        run: Folder of a run.
        concurrency: Of openai: requests in flight (default 8).
        cache: As `bench run` has it.

    Example:
        bench retry runs/tiny-greedy
    """
    from bench import suite as suites
    from bench.run_folder import read_record
    from bench.score import PREDICTIONS

    record = read_record(run)
    suite = suites.suite_of(run, record)
    if (model := record["model"]).startswith(PREDICTIONS):
        raise InputError(
            f"{run}: holds no run of a model ({model}); what is missing is asked where it was made"
        )
    # How a model was opened stands in the suite; runs before that say only how clips were sent.
    video = None if "opened" in record else record.get("clips_as")
    return _asked(model, suite, run, video, concurrency, cache, again=True)


def score(
    predictions: str,
    /,
    suite: Annotated[Suite, cli.FromFile(unused=UNASKED)],
    out: Annotated[str, cli.FOLDER],
    format: Form | None = None,
    task: str | None = None,
) -> int:
    """Score answers made elsewhere: lines of id, task, response, or another tool's log. Writes
    RUN/report.html; exit status 1 where lines were rejected.

    Args:
        predictions: JSONL file, or with --format the log of another tool.
        out: Folder of the run.
        format: Whose log it is. An answer belongs to the question that its video and words name.
        task: Of a log: the suite's task that was asked (vau-r1: told by its column).

    Example:
        bench score answers.jsonl --suite scenes --out runs/scored
        bench score samples_mcq.jsonl --format lmms-eval --task mcq --suite scenes --out runs/theirs
    """
    from bench import logs
    from bench import suite as suites
    from bench.score import score as score_file
    from bench.score import uncollected

    if task is not None and format is None:
        raise InputError("--task is of another tool's log: give its --format")
    if format is not None:
        suite = replace(suite, tasks=[logs.task_of(predictions, format, task)])
    with uncollected():
        loaded = suites.load(suite)
        _say_tasks(suite, loaded[0])
        metrics, rejected = score_file(predictions, suite, out, loaded, format, task)
    for problem in rejected:
        print(f"rejected {problem}", file=sys.stderr)
    _print(metrics, out, loaded)
    return 1 if rejected else 0


def pool(
    runs: list[str],
    /,
    suite: Annotated[Suite, cli.FromFile(unused=UNASKED)],
    out: Annotated[str, cli.FOLDER],
) -> int:
    """Join the runs of a cross-validation's folds: every video answered once, by the model that saw no clip
    of it. Writes RUN/report.html.

    Args:
        runs: Folders of finished runs, one a fold, on the suite with the fold's data.
        out: Folder of the joined run, which compares with any run on the whole data.

    Example:
        bench pool runs/fold-0 runs/fold-1 --suite ucsd --data data/ucsd/folds/all --out runs/folds
    """
    from bench import suite as suites
    from bench.pool import pool as join

    loaded = suites.load(suite)
    _say_tasks(suite, loaded[0])
    _print(join(runs, suite, loaded, out), out, loaded)
    return 0


def compare(
    before: str,
    after: str,
    /,
    gate: str | None = None,
    junit: Annotated[str | None, cli.FILE] = None,
    markdown: Annotated[str | None, cli.FILE] = None,
    json: Annotated[str | None, cli.FILE] = None,
) -> int:
    """Paired differences of two runs on one suite, p-values adjusted within the suite's families of metrics.

    Args:
        before: Folder of a run.
        after: Folder of another run on the same suite.
        gate: YAML file of tolerated drops, or the name of a shipped one; exit status 1 on a regression.
        junit: With --gate: write the verdicts as JUnit XML.
        markdown: Write the table as Markdown, for a CI summary.
        json: Write the rows as JSON.

    Example:
        bench compare runs/before runs/after
        bench compare runs/before runs/after --gate reasoning --junit gate.xml
    """
    from bench.gate import compare_runs

    return compare_runs(before, after, gate, junit, markdown, json)


def sight(models: list[str], /, trust_remote_code: bool = False) -> int:
    """Whether models see: how each is given a clip, how much the log-probs of an answer's first token change
    when the frames are noise (nats; and when it is asked again), whether two questions together are answered
    as each alone, the first words. Exit status 1 where one cannot be asked or does not see.

    Args:
        models: hf:PATH, vllm:PATH, openai:NAME@URL.
        trust_remote_code: Run the Python files that a checkpoint brings.

    Example:
        bench sight hf:tvad-tiny hf:models/llava-1.5-7b
    """
    from bench import sight as sights

    rows = sights.rows(models, trust_remote_code)
    print(sights.table(rows))
    return int(any("refused" in row for row in rows))


def audit(
    data: str | None = None,
    suite: str | None = None,
    train: str | None = None,
    out: Annotated[str | None, cli.FILE] = None,
) -> int:
    """What a suite can be answered with without looking; exit status 1 where it is flagged.

    Args:
        data: Data set folder or VAU-Bench CSV.
        suite: In place of --data: YAML file or name of a suite, whose data is audited.
        train: The training data, for the prior, the text-only baseline and leaks.
        out: Write the audit as a page.

    Example:
        bench audit --data data/core/test --train data/core/train
    """
    from bench import audit as audits
    from bench import suite as suites

    if (data is None) == (suite is None):
        raise InputError("audit: give either --data or --suite")
    found = audits.audit(data or suites.read(str(suite)).data, train)
    print(audits.table(found))
    if out:
        print(audits.write_page(found, out))
    return 1 if found.flagged else 0


def coverage(
    runs: int = 1000,
    videos: list[str] | None = None,
    value: list[str] | None = None,
    figure: list[str] | None = None,
    seed: int = 0,
) -> int:
    """How often intervals hold and tests cry wolf, on made-up runs whose truth is known (some five minutes; a
    tenth of the runs take a tenth).

    Args:
        runs: Made-up runs a scenario.
        videos: Videos of a run; may be repeated, default 4, 8, 12, 30, 60 and 240.
        value: True value of a figure, 0.5 to 0.99; may be repeated.
        figure: mean, score, auc, frames, f1, change, auc-change; may be repeated, default all.
        seed: Of the made-up runs.

    Example:
        bench coverage --runs 200 --videos 60 --figure mean --figure change
    """
    from bench import coverage as simulation

    print(simulation.table(simulation.asked(runs, videos or [], value or [], figure or [], seed)))
    return 0


def power(
    what: str,
    /,
    data: str | None = None,
    accuracy: float | None = None,
    correlation: float | None = None,
) -> int:
    """The smallest change of every metric that 80 % of comparisons on a suite would tell from none.

    Args:
        what: Folder of a finished run, or a suite (YAML file or name) that nobody has run yet.
        data: Of a suite: data set folder in place of its own.
        accuracy: Of a suite: for models that are right so often (default 0.8).
        correlation: Of a suite: of the questions of one video (default 0.3).

    Example:
        bench power runs/tiny-greedy
        bench power scenes --data data/mine --accuracy 0.6
    """
    from bench import power as powers
    from bench import suite as suites
    from bench.run_folder import RECORD

    if (Path(what) / RECORD).exists():
        for name, value in (("data", data), ("accuracy", accuracy), ("correlation", correlation)):
            if value is not None:
                raise InputError(f"--{name} is for a suite; {what} is a run, which says so itself")
        rows = powers.of_run(what)
    else:
        suite = suites.read(what, ["--data", data] if data else [])
        chance = 0.8 if accuracy is None else accuracy
        rows = powers.of_suite(suite, chance, 0.3 if correlation is None else correlation)
    print(powers.table(rows))
    return 0


def report(run: str, /, against: str | None = None) -> int:
    """Write RUN/report.html.

    Args:
        run: Folder of a finished run.
        against: An earlier run on the same suite, for the comparison.

    Example:
        bench report runs/tiny-greedy
    """
    from bench.report import write_report

    print(write_report(run, against))
    return 0


def names(what: Literal["tasks", "metrics", "models", "suites", "configs"], /) -> int:
    """Names that suites and commands take.

    Args:
        what: Of which kind.

    Example:
        bench list models
    """
    from bench import models, tasks
    from tvad.common.shipped import configurations

    found = {
        "tasks": lambda: tasks.NAMES,
        "models": lambda: [f"{kind}:{entry.takes}" for kind, entry in models.KINDS.items()],
        "metrics": lambda: sorted(p.stem for p in (Path(__file__).parent / "metrics").glob("[a-z]*.py")),
        "suites": lambda: configurations("bench"),
        "configs": lambda: [f"{k}/{name}" for k in ("bench", "gate") for name in configurations(k)],
    }
    print("\n".join(found[what]()))
    return 0


def _say_tasks(suite: Suite, samples: list[Sample]) -> None:
    """One line where a suite names no tasks."""
    from bench.suite import AGAIN, tasks_of

    if not suite.tasks:
        asked, again = ", ".join(tasks_of(suite, samples)), ", ".join(AGAIN)
        print(
            f"suite {suite.name} asks what {suite.data} can answer: {asked} (not {again}, unless named)",
            flush=True,
        )


def _print(metrics: dict[str, Any], folder: str, loaded: Loaded) -> None:
    """A run's table, what stands below it, and where its report is; loaded: its suite's samples and items."""
    from bench import below
    from bench.intervals import table
    from bench.report import write_report

    print("\n".join([table(metrics), *below.lines(folder)]))
    print(write_report(folder, loaded=loaded))
