"""`tvad annotate …`: data sets written by a teacher."""

from typing import Annotated, Any

import yaml

from tvad.annotate.construct import Construction
from tvad.annotate.engine import TOGETHER, Told
from tvad.annotate.trajectories import Trajectories
from tvad.common import cli
from tvad.common.errors import InputError


def run(
    source: str,
    /,
    teacher: str,
    out: Annotated[str, cli.FOLDER],
    config: Construction,
    option: list[str] | None = None,
    together: int = TOGETHER,
    stages: bool = False,
    workers: int = 1,
    gpus: float = 0.0,
) -> int:
    """T-VAU's construction: a teacher tells the targets of every frame, they are joined to timelines, looked
    at again with the rest blurred, verified in both directions, and become a data set. A killed run goes on
    with the same command; no request that was answered is asked again.

    Args:
        source: Data set folder (masks in it guide the refinement), or any folder of videos.
        teacher: openai:NAME@URL, vllm:PATH, hf:PATH, or scripted:FOLDER for generated scenes.
        out: Folder of the data set.
        option: NAME=VALUE of the teacher (concurrency=16, video=frames, noise=0.1); may be given several
            times.
        together: Videos whose requests are asked together.
        stages: Keep in annotations.jsonl what each stage left, for measurements.
        workers: More than 1: so many of Ray's (extra ray), each with the teacher opened for itself, on this
            machine or of the cluster at RAY_ADDRESS, where every host sees --out.
        gpus: Of each worker.

    Example:
        tvad annotate run data/ped2/test --teacher openai:qwen@http://127.0.0.1:8000/v1 --out data/ped2/told
    """
    from tvad.annotate.engine import run as annotate
    from tvad.annotate.spread import Spread
    from tvad.annotate.teacher import opened

    if together < 1 or workers < 1 or not 0 <= gpus < float("inf"):
        raise InputError(
            "--together and --workers must be at least 1 and --gpus 0, found"
            f" {together}, {workers} and {gpus:g}"
        )
    if gpus and workers == 1:
        raise InputError("--gpus: of Ray's workers; one process takes what it sees")
    config.check()
    own = options(option)
    # Workers open the teacher for themselves: this process needs none beside them.
    spread = Spread(teacher, own, workers, gpus) if workers > 1 else None
    one = opened(teacher, own) if spread is None else None
    return _say(out, annotate(source, out, one, config, together, stages, spread))


def _say(out: str, told: Told) -> int:
    samples, problems, spent, counts = told
    for problem in problems:
        print(f"set aside {problem}")
    for what, count in sorted(counts.items()):
        print(f"{count:6d} {what}")
    print(spent)
    print(f"{len(samples)} videos in {out}; {len(problems)} set aside")
    return 1 if problems else 0


def reason(
    source: str,
    /,
    teacher: str,
    out: Annotated[str, cli.FOLDER],
    config: Trajectories,
    option: list[str] | None = None,
    detector: str | None = None,
    threshold: float = 0.25,
    text_threshold: float = 0.25,
    together: int = TOGETHER,
) -> int:
    """VANGUARD's annotation: a teacher writes observation, evidence, reasoning and conclusion of every
    sub-clip, a detector gives boxes, and what contradicts labels or captions is left out. A killed run goes
    on with the same command.

    Args:
        source: Data set folder of sub-clips (`tvad data windows` cuts them, with their captions).
        teacher: openai:NAME@URL, vllm:PATH, hf:PATH, or scripted:FOLDER for generated scenes.
        out: Folder of the data set.
        option: NAME=VALUE of the teacher; may be given several times.
        detector: A checkpoint that finds what words name (GroundingDINO, OWLv2); without, no boxes are added.
        threshold: Least score of a box.
        text_threshold: Least score of a word of it (GroundingDINO).
        together: Sub-clips whose requests are asked together.

    Example:
        tvad data windows data/ucf/train --seconds 8 --stride 8 --out data/ucf/sub
        tvad annotate reason data/ucf/sub --teacher vllm:Qwen/Qwen3-VL-4B-Instruct --out data/ucf/told
    """
    from tvad.annotate.detector import Detector
    from tvad.annotate.engine import reason as annotate
    from tvad.annotate.teacher import opened

    if together < 1:
        raise InputError(f"--together must be at least 1, found {together}")
    config.check()
    finds = None if detector is None else Detector(detector, threshold, text_threshold)
    return _say(out, annotate(source, out, opened(teacher, options(option)), config, finds, together))


def options(given: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE, the value as YAML. Raises InputError for what is none."""
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--option {text!r}: expected NAME=VALUE")
        if name in found:
            raise InputError(f"--option {text!r}: {name} is given twice")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--option {text!r}: {value!r} is no value") from error
    return found


def review(
    folder: str, /, reviewer: str, host: str = "127.0.0.1", port: int = 7861, names: list[str] | None = None
) -> int:
    """A page on which a person accepts, edits or rejects what verification contradicted. Each decision is a
    line of FOLDER/review.jsonl; when the page ends the data set is written anew.

    Args:
        folder: Folder of `tvad annotate run`.
        reviewer: Who decides, as the audit trail names them.
        host: Address to listen on; 0.0.0.0 (all of this machine's) with --names.
        port: Port to listen on.
        names: Host names and addresses by which the page is opened from elsewhere; it answers to no others.

    Example:
        tvad annotate review data/ped2/told --reviewer alice
    """
    from pathlib import Path

    from tvad.annotate.engine import check_reviewed, finish, waiting
    from tvad.annotate.page import answers_to, serve
    from tvad.common.lock import locked

    if not reviewer.strip():
        raise InputError("--reviewer: a name for the audit trail")
    if not 0 < port < 1 << 16:
        raise InputError(f"--port is {port}, expected 1 to 65535")
    answers_to(host, names or ())
    check_reviewed(Path(folder))  # a folder that is not there would be made by its lock
    with locked(folder):
        print(f"http://{host}:{port}", flush=True)
        count = serve(Path(folder), reviewer, host, port, names or ())
        samples = finish(Path(folder))
    for problem in waiting(Path(folder)):
        print(f"set aside {problem}")
    print(f"{count} decisions in the trail; {len(samples)} videos written to {folder}")
    return 0


COMMANDS: cli.Commands = {"run": run, "reason": reason, "review": review}
