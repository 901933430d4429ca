"""What a T-VAD model says about a video file: heatmaps, frame scores, objects, spans and a dialogue. Long
videos by sliding windows."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tvad import pictures
from tvad.answer import NONE, Answer, judged, parse
from tvad.common.errors import InputError
from tvad.common.files import write_whole
from tvad.data import video
from tvad.data.questions import ASKED, DIALOGUE
from tvad.data.sample import Sample
from tvad.detections import objects_of
from tvad.prompts import messages
from tvad.use import drawing
from tvad.use.analysis import Analysis

WHEN = ASKED["temporal"]
SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")
PER_STEP = 2  # frames of a temporal step (the vision encoder's temporal patch)


@torch.no_grad()
def ask(
    model, processor, clips: list[video.Frames], text: str, history=(), max_tokens: int = 96
) -> list[str]:
    """Greedy answers to `text` about each clip, after the turns of `history`."""
    prompt = processor.apply_chat_template(
        messages(text, "clip", tuple(history)), tokenize=False, add_generation_prompt=True
    )
    inputs = processor.encode([prompt] * len(clips), clips, padding=True, padding_side="left").to(
        model.device
    )
    out = model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
    return processor.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


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
    path: str,
    rate: float = video.RATE,
    max_frames: int = video.MAX_FRAMES,
    overlap: float = 0.5,
    batch: int = 8,
) -> Analysis:
    """Look at a whole video: windows of `max_frames` frames at `rate` a second that overlap by the share
    `overlap`.

    Raises InputError for a file that cannot be read, for one that has fewer than two frames at this rate, and
    for a rate or a number of frames that gives none.
    """
    video.check_sampling(rate, max_frames)
    per_step: dict[int, list] = {}  # first frame of a step -> [seconds, sum of maps, count, image]
    spans: list[tuple[float, float]] = []
    best: tuple[float, video.Frames] | None = None
    count, last = 0, None
    unread: dict[str, int] = {}
    stride = max(PER_STEP, round(max_frames * (1 - overlap) / PER_STEP) * PER_STEP)
    bar = tqdm(unit="window", desc=Path(path).name, disable=None, leave=False)
    for clips in _batched(video.windows(path, rate, max_frames, stride), batch):
        if count == 0 and len(clips[0].images) < 2:
            raise InputError(
                f"{path}: only {len(clips[0].images)} frame at {rate:g} frames a second; a clip needs two"
            )
        heats = heatmaps_of(model, processor, clips)
        replies = ask(model, processor, clips, WHEN)
        for n, (clip, reply) in enumerate(zip(clips, replies, strict=True)):
            answer = parse(reply)
            if reason := why_unread(answer):
                unread[reason] = unread.get(reason, 0) + 1
            start = float(clip.times[0])
            anomalous = isinstance(answer.span, tuple)
            if isinstance(answer.span, tuple):  # seconds from the window's start: shift them, cut at its end
                length = float(clip.times[-1] - clip.times[0]) + 1 / clip.sampled_fps
                a, b = (start + min(max(t, 0.0), length) for t in answer.span)
                if a < b:
                    spans.append((a, b))
            # The window to talk about: an answered anomaly weighs more than any heat, which lies in 0..1.
            heat = None if heats is None else heats[n]
            score = (1.0 if anomalous else 0.0) + (0.0 if heat is None else float(heat.max()))
            if best is None or score > best[0]:
                best = (score, clip)
            # Windows overlap, so that a step is seen several times: its map is the mean over them.
            for step in range(-(-len(clip.images) // PER_STEP)):
                at = slice(step * PER_STEP, (step + 1) * PER_STEP)
                held = per_step.setdefault(
                    int(clip.indices[at][0]),
                    [float(clip.times[at].mean()), 0.0, 0, pictures.pack(clip.images[at][0])],
                )
                if heat is not None:
                    held[1], held[2] = held[1] + heat[step], held[2] + 1
            count, last = count + 1, clip
        bar.update(len(clips))
    bar.close()
    assert best is not None and last is not None
    ordered = [per_step[first] for first in sorted(per_step)]
    maps = np.stack([held[1] / held[2] for held in ordered]) if ordered[0][2] else None
    height, width = last.images.shape[1:3]
    return Analysis(
        path=str(path),
        fps=last.fps,
        frames=last.total,
        width=width,
        height=height,
        windows=count,
        centres=np.array([held[0] for held in ordered]),
        maps=maps,
        jpegs=[held[3] for held in ordered],
        objects=[] if maps is None else objects_of(maps, height, width),
        spans=merged(spans, 1 / rate),
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


def _batched(items: Iterator, size: int) -> Iterator[list]:
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
    """A conversation about one clip: the protocol's turns first (`standard`), then whatever is asked."""

    def __init__(self, model, processor, clip: video.Frames):
        self.model, self.processor, self.clip = model, processor, clip
        self.turns: list[tuple[str, str]] = []

    def ask(self, text: str) -> str:
        reply = ask(self.model, self.processor, [self.clip], text, self.turns)[0]
        self.turns.append((text, reply))
        return reply

    def standard(self) -> Iterator[tuple[str, str]]:
        """Judgement, target, motion, trajectory, time and cause, one after the other; only the judgement
        where that says no."""
        for asked in DIALOGUE.values():
            reply = self.ask(asked)
            yield asked, reply
            if asked == DIALOGUE["judgement"] and judged(reply) is False:
                return


def as_json(analysis: Analysis, dialogue: Dialogue) -> dict:
    """What result.json holds."""
    scores = analysis.frame_scores()
    turns = []
    for asked, text in dialogue.turns:
        answer = parse(text)
        boxes = [list(b.xyxy) for b in answer.boxes]
        turns.append(
            {
                "question": asked,
                "response": text,
                "answer": answer.answer,
                "span": answer.span,
                "boxes": boxes,
            }
        )
    return {
        "video": analysis.path,
        "fps": analysis.fps,
        "frames": analysis.frames,
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
        "dialogue": {
            "from": round(float(dialogue.clip.times[0]), 3),
            "to": round(float(dialogue.clip.times[-1]), 3),
            "turns": turns,
        },
    }


def write(analysis: Analysis, dialogue: Dialogue, out: str | Path, truth: Sample | None = None) -> dict:
    """result.json, overlay.mp4, heatmap.jpg, trajectory.jpg and timeline.jpg below `out`; returns the JSON.
    `truth`: the sample of this video, for its boxes and spans."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    result = as_json(analysis, dialogue)
    pictures.save(folder / "heatmap.jpg", drawing.sheet(analysis))
    pictures.save(folder / "trajectory.jpg", drawing.trajectory(analysis, truth))
    pictures.save(folder / "timeline.jpg", drawing.timeline(analysis, truth))
    video.write(folder / "overlay.mp4", drawing.overlay_frames(analysis), analysis.fps, crf=23)
    write_whole(folder / "result.json", json.dumps(result, indent=1, ensure_ascii=False))
    return result


def videos_in(path: str) -> list[Path]:
    """The video files of a folder, in order, or the one file. Raises InputError where there is none."""
    given = Path(path)
    if not given.is_dir():
        return [given]
    found = sorted(p for p in given.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise InputError(f"{given}: no video in this folder (expected {', '.join(SUFFIXES)})")
    return found
