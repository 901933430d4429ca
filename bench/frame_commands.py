"""The commands of `bench` about frame scores: alarms against the truth, thresholds that are carried."""

import math
import os
from typing import Annotated

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import json_text, write_whole
from tvad.common.quiet import note


def alarms(
    found: list[str],
    /,
    data: str,
    threshold: float | None = None,
    validation: list[str] | None = None,
    validation_data: str | None = None,
    counters: str | None = None,
    json: Annotated[str | None, cli.FILE] = None,
) -> int:
    """Score timelines of `tvad timeline` and alarms of `tvad watch`: ranking and calibration of frames, F1 at
    a threshold from elsewhere, false alarms an hour, delay from onset to alarm.

    Args:
        found: Folders of timelines (or their timeline.json), and .jsonl files of alarms.
        data: Data set folder that knows their videos, by name or id.
        threshold: For the frames' F1; by default the one at which the timelines' own spans begin.
        validation: In place of --threshold: timeline whose best threshold is carried here; may be repeated.
        validation_data: Data set folder that knows the videos of --validation (default: --data).
        counters: Of alarms, the file of --counters of their watch: sources that raised none count as well.
        json: Write the figures as JSON.

    Example:
        bench alarms runs/camera --data data/long --validation runs/val --validation-data data/val
    """
    from bench import alarms as control_room

    if threshold is not None:
        check_threshold("threshold", threshold)
    if threshold is not None and validation:
        raise InputError("give --threshold or --validation, not both")
    if validation_data is not None and not validation:
        raise InputError("--validation-data is of --validation, which is missing")
    if validation:
        threshold = control_room.threshold_of(control_room.read(validation, validation_data or data))
        if both := len({*map(os.path.realpath, found)} & {*map(os.path.realpath, validation)}):
            note(
                f"--validation: {both} of the {len(found)} timelines are scored here, too: a threshold has to"
                " be chosen on other videos"
            )
    rows = control_room.read(found, data, counters)
    if threshold is not None and not any(row.scores is not None for row in rows):
        raise InputError("a threshold is for timelines; alarms have theirs already")
    result = control_room.figures(rows, threshold)
    print(control_room.table(result))
    if counters is None and any(one.endswith(".jsonl") for one in found):
        note("sources without an alarm are in no file of alarms: --counters FILE of the watch names them")
    if json:
        write_whole(json, json_text(result, json, indent=1) + "\n")
    return 0


def check_threshold(name: str, value: float) -> None:
    """Raise InputError for a threshold that is no number."""
    if not math.isfinite(value):
        raise InputError(f"--{name} must be a finite number, found {value:g}")


def threshold(
    run: str,
    /,
    validation: str | None = None,
    frame: float | None = None,
    video: float | None = None,
    json: Annotated[str | None, cli.FILE] = None,
) -> int:
    """F1, precision and recall of frames and of whole videos at a threshold from elsewhere, with ROC-AUC and
    AP.

    Args:
        run: Folder of a finished run with heatmaps or frame scores.
        validation: Run whose thresholds of the best F1 are carried here.
        frame: In place of --validation: threshold of a frame's score (default 0.5) ...
        video: ... and of a video's, the highest of its frames' (default --frame).
        json: Write the figures as JSON.

    Example:
        bench threshold runs/xd --validation runs/ucf-val
    """
    from bench import threshold as carried

    if validation is not None and (frame is not None or video is not None):
        raise InputError("give --validation, or --frame and --video, not both")
    if validation is not None:
        carried.check_alike(run, validation)
        at = carried.thresholds(carried.read(validation))
    else:
        at = {"frame": 0.5 if frame is None else frame}
        at["video"] = at["frame"] if video is None else video
        for level, value in at.items():
            check_threshold(level, value)
    found = carried.figures(carried.read(run), at)
    print(carried.table(found, at))
    if json:
        rows = {name: value.row() for name, value in found.items()}
        write_whole(json, json_text({"thresholds": at, "figures": rows}, json, indent=1) + "\n")
    return 0
