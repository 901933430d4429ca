"""Does the answer rest on the video? The judgement is asked again with the anomalous span masked out (the
frames of its seconds made grey).

changes: the masked video is called normal. A model that says "anomaly" without the anomaly looks elsewhere,
or nowhere.
"""

from dataclasses import replace

import numpy as np

from tvad.answer import Answer, judged
from tvad.data.sample import Question, Sample
from tvad.data.video import Frames

PRIMARY, LOWER, BINARY = "changes", ("parse_failure",), ()


def masked(clip: Frames, spans: tuple[tuple[float, float], ...]) -> Frames:
    """The clip with every frame inside a span (seconds) replaced by its own mean colour."""
    images = clip.images.copy()
    for n, t in enumerate(clip.moments):
        if any(start - 1e-6 <= t < end for start, end in spans):
            images[n] = images[n].mean((0, 1)).round().astype(np.uint8)
    return replace(clip, images=images)


def score(answer: Answer, question: Question, sample: Sample) -> dict[str, float | None]:
    found = judged(answer.answer)
    return {"changes": float(found is False), "parse_failure": float(found is None)}
