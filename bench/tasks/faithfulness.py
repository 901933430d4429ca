"""Does the answer rest on the video? The judgement is asked again with the anomalous span masked out (the
frames of its seconds made grey).

changes: the masked video is called normal. A model that says "anomaly" without the anomaly looks elsewhere,
or nowhere.
"""

from dataclasses import replace

import numpy as np

from bench.tasks.judgement import read as read
from tvad.answer import Answer
from tvad.data.sample import Question, Sample
from tvad.data.truth import inside
from tvad.data.video import Frames

PRIMARY, LOWER, BINARY = "changes", ("parse_failure",), ()


def masked(clip: Frames, spans: tuple[tuple[float, float], ...]) -> Frames:
    """The clip with every frame inside a span (seconds) replaced by its own mean colour."""
    images = clip.images.copy()
    for n in np.flatnonzero(inside(clip.moments, spans)):
        images[n] = images[n].mean((0, 1)).round().astype(np.uint8)
    return replace(clip, images=images)


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    found = read(answer, question).keys
    return {"changes": float(found == ("no",)), "parse_failure": float(not found)}
