"""What a T-VAD model says about a video file: heatmaps, frame scores, objects, spans and a dialogue. Long
videos by sliding windows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tvad import pictures
from tvad.answer import NONE, Answer, Span, Timing, ends_open, judged, parse
from tvad.common.errors import InputError
from tvad.common.files import json_text, made, write_whole
from tvad.control import chat
from tvad.data import video
from tvad.data.questions import ASKED, FORMS
from tvad.data.sample import Sample
from tvad.detections import objects_of
from tvad.model.generation import plain_generation
from tvad.prompts import messages
from tvad.scores import PER_STEP
from tvad.use import drawing
from tvad.use.analysis import Analysis
from tvad.use.replies import Reply, moments, moved, read

WHEN, WHERE = ASKED["temporal"], ASKED["spatial"].partition("{")[0]


@torch.no_grad()
def ask(
    model, processor, clips: list[video.Frames], text: str, history=(), max_tokens: int = 96
) -> tuple[list[str], bool]:
    """Greedy answers to `text` about each clip, after the turns of `history`; and whether the prompt has
    opened their reasoning, as some chat templates do."""
    prompt = chat(processor, messages(text, "clip", tuple(history)))
    inputs = processor.encode([prompt] * len(clips), clips, padding=True, padding_side="left").to(
        model.device
    )
    with plain_generation(model, processor.tokenizer):
        out = model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
    new = out[:, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.batch_decode(new, skip_special_tokens=True), ends_open(prompt)


@torch.no_grad()
def heatmaps_of(model, processor, clips: list[video.Frames]) -> list[np.ndarray] | None:
    """Heatmap (T', h, w) of every clip; None for a model without AHD."""
    if model.model.ahd is None:
        return None
    vision = processor.vision_inputs(clips)
    encoded = model.model.encode_clips(
        vision["pixel_values_videos"].to(model.device), vision["video_grid_thw"].to(model.device)
    )
    return [clip.heat.float().cpu().numpy() for clip in encoded]


def length_of(clip: video.Frames) -> float:
    """Seconds that a window stands for, its last frame's included: by its moments, as one frame may stay for
    all of them."""
    return float(clip.moments[-1] - clip.moments[0]) + 1 / clip.sampled_fps


def steps_in(clip: video.Frames) -> list[tuple[float, float]]:
    """(first moment, centre), in seconds of the video, of a window's temporal steps."""
    parts = (clip.moments[n : n + PER_STEP] for n in range(0, len(clip.moments), PER_STEP))
    return [(float(part[0]), float(part.mean())) for part in parts]


def check_length(clip: video.Frames, rate: float) -> None:
    """Raises InputError for a window with one frame."""
    check_count(clip.name, len(clip.images), rate)


def check_count(name: str, count: int, rate: float) -> None:
    """Raises InputError for a video of which there is one frame at this rate."""
    if count < PER_STEP:
        raise InputError(f"{name}: only {count} frame at {rate:g} frames a second; a clip needs two")


def merged(spans: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Union of spans; those that lie at most `gap` seconds apart become one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def analyse(
    model,
    processor,
    source: str,
    rate: float = video.RATE,
    max_frames: int = video.MAX_FRAMES,
    overlap: float = 0.5,
    batch: int = 8,
    told: Callable[[float], None] = lambda seconds: None,
) -> Analysis:
    """Look at a whole video, a file or pictures (`video.as_text`): windows of `max_frames` frames at `rate` a
    second that overlap by the share `overlap`. `told`: called with the seconds of the video that have been
    looked at.

    Raises InputError for a file that cannot be read, for one that has fewer than two frames at this rate, and
    for a rate or a number of frames that gives none.
    """
    video.check_sampling(rate, max_frames)
    per_step: dict[float, list] = {}  # a step's first moment -> [seconds, sum of maps, count, image]
    spans: list[tuple[float, float]] = []
    best: tuple[float, video.Frames] | None = None
    count, last = 0, None
    unread: dict[str, int] = {}
    stride = max(PER_STEP, round(max_frames * (1 - overlap) / PER_STEP) * PER_STEP)
    bar = tqdm(unit="window", disable=None, leave=False)
    for clips in batched(video.windows(source, rate, max_frames, stride), batch):
        if count == 0:
            bar.set_description(Path(clips[0].name).name)
            check_length(clips[0], rate)
        heats = heatmaps_of(model, processor, clips)
        replies, opened = ask(model, processor, clips, WHEN)
        for n, (clip, reply) in enumerate(zip(clips, replies, strict=True)):
            start, length = float(clip.moments[0]), length_of(clip)
            answer = parse(reply, opened=opened, timing=Timing(length))
            if reason := why_unread(answer):
                unread[reason] = unread.get(reason, 0) + 1
            anomalous = isinstance(answer.spans, tuple)
            if isinstance(answer.spans, tuple):  # seconds from the window's start: shift them, cut at its end
                for span in answer.spans:
                    a, b = (start + min(max(t, 0.0), length) for t in span)
                    if a < b:
                        spans.append((a, b))
            # The window to talk about: an answered anomaly weighs more than any heat, which lies in 0..1; of
            # several that see it, the one that sees it longest.
            heat = None if heats is None else heats[n]
            hot = 0.0 if heat is None else float(heat.reshape(len(heat), -1).max(1).mean())
            score = (1.0 if anomalous else 0.0) + hot
            if best is None or score > best[0]:
                best = (score, clip)
            # Windows overlap, so that a step is seen several times: its map is the mean over them.
            for step, (first, centre) in enumerate(steps_in(clip)):
                image = clip.images[step * PER_STEP]
                held = per_step.setdefault(first, [centre, 0.0, 0, pictures.pack(image)])
                if heat is not None:
                    held[1], held[2] = held[1] + heat[step], held[2] + 1
            count, last = count + 1, clip
        bar.update(len(clips))
        told(float(clips[-1].times[-1]))
    bar.close()
    assert best is not None and last is not None
    ordered = [per_step[first] for first in sorted(per_step)]
    maps = np.stack([held[1] / held[2] for held in ordered]) if ordered[0][2] else None
    height, width = last.images.shape[1:3]
    return Analysis(
        source=str(source),
        path=last.name,
        clock=last.clock,
        width=width,
        height=height,
        windows=count,
        centres=np.array([held[0] for held in ordered]),
        maps=maps,
        jpegs=[held[3] for held in ordered],
        objects=[] if maps is None else objects_of(maps, height, width),
        spans=[(a, min(b, last.duration)) for a, b in merged(spans, 1 / rate) if a < last.duration],
        clip=best[1],
        unread=unread,
    )


def why_unread(answer: Answer) -> str | None:
    """Why an answer to "when" says neither when nor that there is nothing; None where it says one of them."""
    timed = isinstance(answer.span, tuple) and answer.span[0] < answer.span[1]
    if timed or answer.span == NONE or (answer.span is None and judged(answer.answer) is False):
        return None
    unsaid = answer.missing if answer.answer is None else "no_span"
    return next((defect for defect in answer.defects if "span" in defect or "glue" in defect), unsaid)


def in_short(analysis: Analysis) -> str:
    """One line about a video, what matters most first."""
    scores, windows = analysis.frame_scores(), analysis.windows
    parts = [
        f"anomaly: {analysis.anomaly()}",
        "no heatmap" if scores is None else f"highest frame score {scores.max():.3f}",
        f"{len(analysis.objects)} object{'s' * (len(analysis.objects) != 1)}",
        f"{analysis.duration:.1f} s of video in {windows} window{'s' * (windows != 1)}",
    ]
    return "; ".join(parts)


def batched(items: Iterator, size: int) -> Iterator[list]:
    held: list = []
    for item in items:
        # Only windows of one length go together: a short last one would be padded with prompts of another
        # number of steps.
        if held and (len(held) == size or len(item.images) != len(held[0].images)):
            yield held
            held = []
        held.append(item)
    if held:
        yield held


class Dialogue:
    """A conversation about one clip: the protocol's turns first (`standard`), then whatever is asked. People
    ask, and are answered, on the video's clock; the model has the clip's, which begins at 0. `turns`:
    (question, reply) as the model had and gave them."""

    def __init__(self, model, processor, clip: video.Frames):
        self.model, self.processor, self.clip = model, processor, clip
        self.turns: list[tuple[str, str]] = []
        self.opened = False  # does the prompt open the replies' reasoning?
        self.start, self.end = float(clip.moments[0]), float(clip.moments[-1])

    @property
    def about(self) -> str:
        """Which part of the video this is about, in words."""
        return f"about {self.start:.1f} to {self.end:.1f} s of the video"

    def ask(self, text: str) -> Reply:
        """Ask, moments in seconds of the video. A question of the benchmark's own words is asked by itself,
        as in training. Raises InputError for a moment that the clip does not show."""
        slack = 1 / self.clip.sampled_fps
        for moment in moments(text):
            if not self.start - slack <= moment <= self.end + slack:
                raise InputError(f"{moment:g} s: the dialogue is {self.about}")
        mine = moved(text, -self.start)
        history = () if text in ASKED.values() or text.startswith(WHERE) else self.turns
        replies, self.opened = ask(self.model, self.processor, [self.clip], mine, history)
        self.turns.append((mine, replies[0]))
        return self._read(replies[0])

    def standard(self) -> Iterator[tuple[str, Reply]]:
        """The turns of the form that the model has learned (the paper's protocol: judgement, target, motion,
        trajectory, time and cause), one after the other; only the judgement where that says no. A model that
        has learned questions and no dialogue is asked those of judgement, class, time and place."""
        if (learned := getattr(self.model.config, "questions", None)) is not None:
            asks = {k: ASKED[k] for k in ("judgement", "classification", "temporal") if k in learned}
        else:
            asks = FORMS[getattr(self.model.config, "dialogue", "protocol")]
        said: Span | str | None = None
        for topic, asked in asks.items():
            reply = self.ask(asked)
            said = reply.span or said
            yield asked, reply
            if topic == "judgement" and judged(reply.answer) is False:
                return
        # Asked by itself where it has learned that, and where no heatmap tells it.
        if "spatial" in (learned or ()) or (learned is None and self.model.model.ahd is None):
            yield self.where(said)

    def where(self, span: Span | str | None = None) -> tuple[str, Reply]:
        """Ask where the anomaly is, in the middle of a span in seconds of the video, where the clip shows
        that, else of the clip."""
        middle = (self.start + self.end) / 2
        if isinstance(span, tuple) and self.start <= (inside := sum(span) / 2) <= self.end:
            middle = inside
        asked = ASKED["spatial"].format(seconds=middle)
        return asked, self.ask(asked)

    def shown(self) -> Iterator[tuple[str, Reply]]:
        """(question, reply) of every turn, on the video's clock."""
        for asked, reply in self.turns:
            yield moved(asked, self.start), self._read(reply)

    def _read(self, reply: str) -> Reply:
        return read(reply, self.start, Timing(length_of(self.clip)), self.opened)


def dialogue_json(dialogue: Dialogue) -> dict:
    """A dialogue's JSON form: all times are the video's, but those in "raw", the model's own words."""
    turns = [
        {
            "question": asked,
            "response": reply.words,
            "reasoning": reply.reasoning,
            "answer": reply.answer,
            "span": reply.span,  # the first of them
            "spans": reply.spans,
            "boxes": [list(box) for box in reply.boxes],
            "raw": raw,
        }
        for (asked, reply), (_, raw) in zip(dialogue.shown(), dialogue.turns, strict=True)
    ]
    return {"from": round(dialogue.start, 3), "to": round(dialogue.end, 3), "turns": turns}


def as_json(analysis: Analysis, dialogue: Dialogue) -> dict:
    """What result.json holds: all times are the video's, but those in "raw", the model's own words."""
    scores = analysis.frame_scores()
    return {
        "video": analysis.path,
        "fps": analysis.fps,
        "frames": analysis.frames,
        "seconds": round(analysis.duration, 3),
        # Where the rate varies: when each frame appears, to which frame_scores belong.
        "times": None
        if analysis.clock.rate is not None
        else [round(float(t), 3) for t in analysis.clock.times],
        "notes": list(analysis.clock.notes),
        "width": analysis.width,
        "height": analysis.height,
        "windows": analysis.windows,
        "spans": [[round(a, 3), round(b, 3)] for a, b in analysis.spans],
        "unread": analysis.unread,
        "frame_scores": None if scores is None else [round(float(s), 4) for s in scores],
        "objects": [
            {
                "id": n,
                "score": round(found.score, 4),
                "boxes": [
                    {
                        "t": round(float(analysis.centres[s]), 3),
                        "box": [int(c) for c in box[:4]],
                        "score": round(float(box[4]), 4),
                    }
                    for s, box in found.boxes.items()
                ],
            }
            for n, found in enumerate(analysis.objects)
        ],
        "dialogue": dialogue_json(dialogue),
    }


def write(analysis: Analysis, dialogue: Dialogue, out: str | Path, truth: Sample | None = None) -> dict:
    """result.json, overlay.mp4, heatmap.jpg, trajectory.jpg and timeline.jpg below `out`; returns the JSON.
    `truth`: the sample of this video, for its boxes and spans."""
    folder = made(out)
    result = as_json(analysis, dialogue)
    pictures.save(folder / "heatmap.jpg", drawing.sheet(analysis))
    pictures.save(folder / "trajectory.jpg", drawing.trajectory(analysis, truth))
    pictures.save(folder / "timeline.jpg", drawing.timeline(analysis, truth))
    video.write(folder / "overlay.mp4", drawing.overlay_frames(analysis), analysis.clock, crf=23)
    write_whole(folder / "result.json", json_text(result, "result.json", indent=1, ensure_ascii=False))
    return result


def videos_in(path: str) -> list[Path]:
    """The video files of a folder, in order, or the one file. Raises InputError where there is none."""
    given = Path(path)
    if not given.is_dir():
        return [given]
    found = sorted(
        p for p in given.iterdir() if p.suffix.lower() in video.SUFFIXES and not p.name.startswith(".")
    )
    if not found:
        raise InputError(
            f"{given}: no video in this folder (expected {', '.join(video.SUFFIXES)}, or pictures)"
        )
    return found


def sources_in(path: str, fps: float | None = None) -> list[str]:
    """What `analyse` reads below `path`: `videos_in`, or a folder of pictures as one video, `fps` of them a
    second. Raises InputError for a rate where there are no pictures: a file has its own."""
    given = Path(path)
    films = given.is_dir() and any(p.suffix.lower() in video.SUFFIXES for p in given.iterdir())
    if given.is_dir() and not films and video.pictures_in(given):
        return [path if fps is None else video.as_text(path, fps)]
    found = videos_in(path)
    if fps is not None:
        raise InputError(f"--fps {fps:g}: is for a folder of pictures, {found[0]} has times of its own")
    return [str(p) for p in found]
