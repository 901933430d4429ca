"""The commands of `tvad` for long videos and live sources."""

from typing import Annotated, Literal

from tvad.common import cli
from tvad.common.hub import folder
from tvad.data.video import Budget, Reader
from tvad.use.commands import sampling, say_what_is_known


def timeline(
    video: str,
    /,
    model: str,
    out: Annotated[str, cli.FOLDER],
    rate: float | None = None,
    max_frames: int | None = None,
    window: float | None = None,
    stride: float | None = None,
    by: Literal["heat", "judgement", "mean"] | None = None,
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
        rate: Frames a second; by default what the checkpoint was trained on, else 2.
        max_frames: Frames of a sub-clip where --window is not given; by default what the checkpoint was
            trained on, else 8.
        window: Seconds of a sub-clip, as whole steps of two frames.
        stride: Seconds from one sub-clip to the next; by default half of them.
        by: What a score is: the heatmap's highest value (the default of a model that has one), whether the
            model says that there is an anomaly, or the mean of both.
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
    from tvad.model.budget import keep
    from tvad.model.start import load
    from tvad.scores import Rule
    from tvad.use import timeline_page
    from tvad.use.infer import sources_in
    from tvad.use.timeline import RESULT, plan_of
    from tvad.use.timeline import run as score

    rate, most = sampling(model, rate, max_frames)
    pixels = Budget(min_pixels, max_pixels, total_pixels)
    rule = Rule(threshold, off, least)
    plan = plan_of(
        rate, most, window, stride, by=by, batch=batch, smooth=smooth, rule=rule, explain=not without_words
    )
    source = only(sources_in(video, fps), video)
    with Reader(source):  # a bad file is refused before a model is loaded
        pass
    path = folder(model)
    network, processor = load(path)
    keep(processor, pixels)
    say_what_is_known(model)
    found = score(network, processor, path, source, plan, out, pixels.given)
    for note in found["notes"]:
        print(f"note: {note}")
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
    from tvad.common.errors import InputError

    if len(sources) > 1:
        raise InputError(f"{given}: {len(sources)} videos, expected one; each has a timeline of its own")
    return sources[0]
