"""The commands of `tvad` for long videos and live sources."""

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.hub import folder
from tvad.common.quiet import note
from tvad.data.video import Budget, Reader
from tvad.scores import Rule
from tvad.use.commands import sampling, say_what_is_known

WEBHOOK_TIMEOUT = 5.0  # seconds that one try may take


def timeline(
    video: str,
    /,
    model: str,
    out: Annotated[str, cli.FOLDER],
    rate: float | None = None,
    max_frames: int | None = None,
    window: float | None = None,
    stride: float | None = None,
    by: Literal["heat", "judgement", "mean", "classifier"] | None = None,
    smooth: float = 1.0,
    threshold: float = 0.5,
    off: float | None = None,
    least: float = 0.0,
    batch: int = 8,
    without_words: bool = False,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
    fps: float | None = None,
) -> int:
    """Scores of a long video over time, and what is flagged: timeline.json and a page with a player.

    The same command goes on where it was killed. With another threshold, smoothing or --without-words what
    was scored is used again.

    Args:
        video: A video file, or a folder of pictures.
        model: Checkpoint folder, the name of a shipped one, or ORG/NAME or ORG/NAME@REVISION of the hub.
        out: Folder for timeline.json, timeline.html and progress.jsonl.
        rate: Frames a second; by default what the checkpoint was trained on, else 2. Of a video that has
            fewer all.
        max_frames: Frames of a sub-clip where --window is not given, as whole steps of two; by default what
            the checkpoint was trained on, else 8.
        window: Seconds of a sub-clip, as whole steps of two frames.
        stride: Seconds from one sub-clip to the next; by default half of them.
        by: What a score is: the heatmap's highest value (the default of a model that has one), whether the
            model says that there is an anomaly, the mean of both, or the probability of VANGUARD's
            classifier (the default of a model that has one and no heatmaps).
        smooth: Seconds: standard deviation of a Gaussian over time; 0 for none.
        threshold: A span begins at this score ...
        off: ... and ends below this one; by default three quarters of it.
        least: Seconds that a span lasts at least.
        batch: Sub-clips that are scored together.
        without_words: Do not ask the model about what is flagged.
        min_pixels: At least so many pixels of a frame; by default as the checkpoint has it.
        max_pixels: At most so many pixels of a frame; by default as the checkpoint has it.
        total_pixels: At most so many pixels of a clip, each time step (two frames) counted once; by default
            as the checkpoint has it.
        fps: Pictures a second of a folder of pictures, unless its times.txt says when each appears.

    Example:
        tvad timeline camera.mp4 --model tvad-tiny-closed --rate 4 --max-frames 16 --out runs/camera
    """
    from tvad.data.timeline import RESULT
    from tvad.model.budget import keep
    from tvad.model.start import load
    from tvad.use import timeline_page
    from tvad.use.infer import sources_in
    from tvad.use.subclips import LEFT_OUT, unread_words
    from tvad.use.timeline import plan_of
    from tvad.use.timeline import run as score

    rate, most = sampling(model, rate, max_frames)
    pixels = Budget(min_pixels, max_pixels, total_pixels)
    rule = Rule(threshold, off, least)
    note_bounds(rule)
    source = only(sources_in(video, fps), video)
    with Reader(source) as reader:  # a bad file is refused before a model is loaded
        own = note_rate(reader, rate)  # seconds of a sub-clip are of frames that are there
    plan = plan_of(
        own, most, window, stride, by=by, batch=batch, smooth=smooth, rule=rule, explain=not without_words
    )
    path = folder(model)
    network, processor = load(path)
    keep(processor, pixels)
    say_what_is_known(model)
    found = score(network, processor, path, source, plan, out, pixels.given)
    for text in found["notes"]:
        print(f"note: {text}")
    if found["unread"]:
        print(f"note: {unread_words(found['unread'], len(found['subclips']))}: {LEFT_OUT}")
    for span in found["spans"]:
        said = " ".join(turn["response"] for turn in (span["explanation"] or {}).get("turns", []))
        when = f"{span['start']:.1f} to {span['end']:.1f} s, highest score {span['peak']:.3f}"
        print(f"{when}: {said}" if said else when)
    count = len(found["spans"])
    print(f"{count} span{'s' * (count != 1)} in {found['seconds']:.1f} s, {len(found['subclips'])} sub-clips")
    print(f"written to {timeline_page.write(found, source, out).with_name(RESULT)} and {timeline_page.PAGE}")
    return 0


def only(sources: list[str], given: str) -> str:
    """The one source. Raises InputError for a folder of several videos."""
    if len(sources) > 1:
        raise InputError(f"{given}: {len(sources)} videos, expected one; each has a timeline of its own")
    return sources[0]


def check_apart(places: Mapping[str, str | None]) -> None:
    """Raise InputError where what is written would take the place of another file, or of a source. places:
    {what it is: path}."""
    taken: dict[str, str] = {}
    for what, place in places.items():
        if place is None or place == "-" or "://" in place:
            continue
        if (other := taken.setdefault(os.path.realpath(place), what)) != what and other.startswith("--"):
            raise InputError(f"{other} and {what} are one file: {place}")


def note_bounds(rule: Rule) -> None:
    """Say which thresholds scores, which lie in 0 to 1, never reach, or never fall below."""
    if rule.on > 1:
        note(f"--threshold {rule.on:g}: no score is above 1, so nothing is flagged")
    if rule.low <= 0:
        note(f"--off {rule.low:g}: no score is below 0, so what is flagged lasts to the end")


def note_rate(reader: Reader, rate: float) -> float:
    """Frames a second that a file gives of `rate`; said where it has fewer."""
    own = reader.clock.limited(rate)
    if own < rate:
        note(f"{reader.name}: has {own:g} frames a second, {rate:g} are asked for")
    return own


def watch(
    sources: list[str],
    /,
    model: str,
    alarms: Annotated[str | None, cli.FILE] = None,
    webhook: list[str] | None = None,
    counters: Annotated[str | None, cli.FILE] = None,
    rate: float | None = None,
    max_frames: int | None = None,
    window: float | None = None,
    stride: float | None = None,
    by: Literal["heat", "judgement", "mean", "classifier"] | None = None,
    smooth: float = 0.0,
    threshold: float = 0.5,
    off: float | None = None,
    least: float = 0.0,
    cooldown: float = 0.0,
    batch: int = 8,
    waiting: float | None = None,
    patience: float = 10.0,
    retries: int | None = None,
    listen: bool = False,
    speed: float = 1.0,
    seconds: float | None = None,
    webhook_timeout: float = WEBHOOK_TIMEOUT,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
) -> int:
    """Watch cameras, or files at their own speed, with one model, and tell alarms as they begin and end.

    Ends with its files, at SIGINT and SIGTERM. What cannot be kept up with is dropped and counted; a
    connection that is cut is taken up again. Exit status 1 where a source was given up.

    Args:
        sources: rtsp://..., tcp://HOST:PORT (MPEG-TS, FLV, ...), a device (/dev/video0) or a file;
            NAME=SOURCE gives it a name.
        model: Checkpoint folder, the name of a shipped one, or ORG/NAME or ORG/NAME@REVISION of the hub.
        alarms: File to which alarms are appended, a line of JSON each; - for standard output, which is the
            default where there is no --webhook.
        webhook: Address to which each alarm is sent (POST, JSON); may be given several times.
        counters: File for what is counted (JSON), written anew every five seconds and at the end.
        rate: Frames a second; by default what the checkpoint was trained on, else 2.
        max_frames: Frames of a window where --window is not given, as whole steps of two; by default what the
            checkpoint was trained on, else 8.
        window: Seconds of a window, as whole steps of two frames.
        stride: Seconds from one window to the next; by default half of them.
        by: What a score is, as of `tvad timeline`.
        smooth: Seconds: standard deviation of a Gaussian over the past; 0 for none.
        threshold: An alarm begins at this score ...
        off: ... and ends below this one; by default three quarters of it.
        least: Seconds for which a score must last before it is an alarm.
        cooldown: Seconds after an alarm in which none begins.
        batch: Windows of several sources that are scored together at most.
        waiting: Seconds of frames that may wait behind a window, before the oldest are dropped; by default a
            window's.
        patience: Seconds to wait for a source, and for what it sends.
        retries: How often in a row a source that fails is tried again; by default without end.
        listen: Of rtsp://, wait for the camera to call (ANNOUNCE) in place of calling it.
        speed: How many times as fast as they were made files are played.
        seconds: End after so many.
        webhook_timeout: Seconds that one try of a webhook may take.
        min_pixels: At least so many pixels of a frame; by default as the checkpoint has it.
        max_pixels: At most so many pixels of a frame; by default as the checkpoint has it.
        total_pixels: At most so many pixels of a clip, each time step (two frames) counted once; by default
            as the checkpoint has it.

    Example:
        tvad watch door=rtsp://10.0.0.5/stream1 --model tvad-tiny-closed --rate 4 --alarms runs/alarms.jsonl
    """
    from tvad.data.video.live import kind_of
    from tvad.model.budget import keep
    from tvad.model.start import load
    from tvad.use.timeline import frames_of, plan_of
    from tvad.use.watching.alarms import STANDARD, Lines, Sink, Webhook
    from tvad.use.watching.camera import View, named
    from tvad.use.watching.watch import Watch, Watcher, ending, table

    rate, most = sampling(model, rate, max_frames)
    plan = plan_of(rate, most, window, stride, by=by, batch=batch, smooth=smooth)
    behind = plan.window if waiting is None else frames_of(waiting, rate, plan.window, "waiting")
    if not 0 < patience < 86_400 or not 0 < webhook_timeout < 86_400 or not 0 < speed < float("inf"):
        raise InputError("--patience, --webhook-timeout and --speed must be positive")
    if (retries or 0) < 0 or (seconds is not None and not seconds > 0):
        raise InputError("--retries must be 0 or more, --seconds positive")
    rule = Rule(threshold, off, least, cooldown)
    note_bounds(rule)
    pairs = list(named(sources))
    check_apart({"--alarms": alarms, "--counters": counters} | {f"source {n}": s for n, s in pairs})
    for _, source in pairs:
        if kind_of(source) == "file":
            with Reader(source) as reader:  # a bad file is refused before a model is loaded
                note_rate(reader, rate)
    if webhook_timeout != WEBHOOK_TIMEOUT and not webhook:
        raise InputError("--webhook-timeout is of --webhook, there is none")
    if retries is not None and all(kind_of(source) == "file" for _, source in pairs):
        raise InputError("--retries is for cameras, there are only files")
    if listen and not any(kind_of(source) == "rtsp" for _, source in pairs):
        raise InputError("--listen is for rtsp:// sources, there is none")
    if speed != 1 and not any(kind_of(source) == "file" for _, source in pairs):
        raise InputError("--speed is for files, there is none")
    view = View(rate, plan.window, plan.stride, behind, patience, retries, listen, speed)
    path = folder(model)
    network, processor = load(path)
    keep(processor, Budget(min_pixels, max_pixels, total_pixels))
    say_what_is_known(model)
    place = alarms or (None if webhook else STANDARD)
    sinks: list[Sink] = [
        *([Lines(place)] if place else []),
        *(Webhook(w, webhook_timeout) for w in webhook or ()),
    ]
    with ending() as stop:
        watcher = Watcher(
            network, processor, pairs, view, Watch(rule, smooth, by, batch, counters, seconds), sinks, stop
        )
        print(f"watching {', '.join(name for name, _ in pairs)}", file=sys.stderr, flush=True)
        counted = watcher.run()
    print(table(counted), file=sys.stderr if place == STANDARD else sys.stdout)
    return int(any(camera.failed for camera in watcher.cameras))
