"""Frame scores of whole videos from overlapping sub-clips, as VANGUARD and most of weakly supervised
detection report them; published numbers differ by window, stride and by how scores reach frames, so a suite
states them.

A step (two sampled frames) has the mean over the sub-clips that saw it, a frame the score of the step whose
centre is nearest, as `tvad timeline` has both. Frames come one after the other; a sub-clip's are in
memory."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from bench.models.base import Engine, RendersPrompts, Request, Sampling
from tvad.answer import ends_open, judged, parse
from tvad.common.errors import InputError
from tvad.common.quiet import note
from tvad.data import video
from tvad.data.questions import ASKED
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.detections import nearest
from tvad.prompts import messages
from tvad.scores import PER_STEP, By, frames_in, smoothed

BATCH = 8  # sub-clips that a model is given at a time
TOKENS = 64  # of a judgement, at most


@runtime_checkable
class Classifies(Protocol):
    """Has VANGUARD's classifier, or may have."""

    def probabilities(self, frames: list[Frames]) -> list[float] | None:
        """How probable it is that each clip is anomalous; None for a model without a classifier."""
        ...


@dataclass
class SubClips:
    """Frame scores from overlapping sub-clips, in place of heatmaps."""

    seconds: float = 4.0
    """Of a sub-clip, as whole steps of two frames."""
    stride: float = 2.0
    """Seconds from one sub-clip to the next."""
    by: By = "classifier"
    """What scores one: the probability of VANGUARD's classifier, the heatmap's highest value (heat), whether
    the model says that there is an anomaly (judgement; asked in every run, no cache of answers holds it), or
    the mean of the last two (mean)."""
    smooth: float = 0.0
    """Seconds: standard deviation of a Gaussian over time."""

    def check(self, rate: float) -> None:
        """Raises InputError."""
        if not 0 <= self.smooth < float("inf"):
            raise InputError(f"subclips.smooth is {self.smooth:g}, expected 0 or more")
        for name, seconds in (("seconds", self.seconds), ("stride", self.stride)):
            if not frames_in(seconds, rate):
                raise InputError(
                    f"subclips.{name} is {seconds:g}, expected at least {PER_STEP / rate:g}: a step of"
                    f" {PER_STEP} frames"
                )
        if self.stride > self.seconds:
            raise InputError(f"subclips.stride {self.stride:g} is longer than a sub-clip ({self.seconds:g})")


def check_scores(model: Engine, how: SubClips) -> None:
    """Raise InputError for a model that does not give what sub-clips are scored by."""
    if how.by in ("heat", "mean") and model.heatmaps([]) is None:
        raise InputError(f"subclips.by is {how.by}, but {model.name} gives no heatmaps")
    if how.by == "classifier" and (not isinstance(model, Classifies) or model.probabilities([]) is None):
        raise InputError(f"subclips.by is classifier, but {model.name} has none of VANGUARD's")


def frame_scores(model: Engine, sample: Sample, rate: float, how: SubClips) -> np.ndarray:
    """(T,) float32 scores of every frame of a video by a model that passed `check_scores`. Raises InputError
    for a video that cannot be read, and where no judgement of it can: that is no normal video. Of some it is
    said. A video that has fewer than `rate` frames a second is shown at its own, in sub-clips of a step at
    least."""
    # Here, so that whoever only reads a suite waits for no library of models.
    from tvad.use.infer import batched, check_length
    from tvad.use.subclips import LEFT_OUT, Steps, unread_words

    steps = Steps()
    with video.Reader(sample.clip()) as reader:
        rate = reader.clock.limited(rate)
    size, step = (max(PER_STEP, frames_in(seconds, rate)) for seconds in (how.seconds, how.stride))
    windows = video.windows(sample.clip(), rate, size, step)
    clip: Frames | None = None
    found, asked, unread = [], 0, 0
    for clips in batched(windows, BATCH):
        if clip is None:
            check_length(clips[0], rate)
        heats, said = _look(model, clips, how.by)
        if how.by in ("judgement", "mean"):
            asked, unread = asked + len(said), unread + said.count(None)
        for n, clip in enumerate(clips):
            steps.add(clip, None if heats is None else heats[n], said[n])
        assert clip is not None
        found += steps.final(float(clip.moments[0]))
    found += steps.final()
    if unread:
        told = f"{unread_words(unread, asked)}, of {TOKENS} tokens at most"
        if unread == asked:
            raise InputError(f"{sample.id}: {told}")
        note(f"{sample.id}: {told}: {LEFT_OUT}")
    assert clip is not None  # a video has a frame, so a window
    centres = np.array([step.centre for step in found])
    scores = np.array([step.score(how.by) for step in found], np.float32)
    return smoothed(scores, centres, how.smooth)[nearest(centres, clip.clock.times)]


def _look(model: Engine, clips: list[Frames], by: By) -> tuple[list[np.ndarray] | None, list[float | None]]:
    """Heatmaps of sub-clips, and what is judged of each, or how probable it is."""
    heats = model.heatmaps(clips) if by in ("heat", "mean") else None
    if by == "classifier":
        assert isinstance(model, Classifies)  # `check_scores`
        return None, [*(model.probabilities(clips) or ())]
    if by == "heat":
        return heats, [None] * len(clips)
    asked = [Request(messages(ASKED["judgement"], "clip"), clip) for clip in clips]
    replies = model.sample(asked, Sampling(max_tokens=TOKENS))
    opened = isinstance(model, RendersPrompts) and ends_open(model.rendered(asked[0]))
    return heats, [judged(parse(reply[0].text, opened=opened).answer) for reply in replies]
