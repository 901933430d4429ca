"""Ask a T-VAD model about one video file: answers with parsed tags, detections, a frame score, and pictures of the heatmap."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from tvad.answer import parse
from tvad.data import video
from tvad.data.sample import Question
from tvad.detections import boxes_of, resize, steps_of
from tvad.errors import InputError
from tvad.prompts import messages, question_text

QUESTIONS = (
    Question("judgement", "Is there an anomaly in this video?", "-"),
    Question("classification", "Which class of anomaly appears?", "-"),
    Question("temporal", "When does the anomaly happen?", "-"),
)


@torch.no_grad()
def ask(model, processor, frames: video.Frames, text: str, history=(), max_tokens: int = 96) -> str:
    """Greedy answer to `text` about sampled frames, after the turns of `history`."""
    prompt = processor.apply_chat_template(messages(text, "clip", tuple(history)), tokenize=False, add_generation_prompt=True)
    inputs = processor.encode([prompt], [frames]).to(model.device)
    out = model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
    return processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@torch.no_grad()
def heatmap_of(model, processor, frames: video.Frames) -> np.ndarray:
    """Heatmap (T', h, w) of sampled frames."""
    vision = processor.vision_inputs([frames])
    clip = model.model.encode_clips(vision["pixel_values_videos"].to(model.device), vision["video_grid_thw"].to(model.device))[0]
    return clip.heat.cpu().numpy()


def overlay(image: np.ndarray, heat: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Frame (H, W, 3) RGB with its heatmap (H, W) in 0..1 and boxes (n, 5) drawn over it."""
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = (0.15 + 0.6 * heat)[..., None]
    mixed = np.ascontiguousarray((image * (1 - alpha) + colours * alpha).astype(np.uint8))
    for x1, y1, x2, y2, _ in boxes:
        cv2.rectangle(mixed, (int(x1), int(y1)), (int(x2), int(y2)), (255, 60, 60), max(1, image.shape[1] // 320))
    return mixed


def infer(model, processor, path: str, questions: list[str], out: str | None, rate: float = 2.0, max_frames: int = 8) -> dict:
    """Everything the model says about a video; with `out`, result.json and heatmap pictures are written there.

    `questions`: asked in turn after the standard ones. `rate` frames a second, evenly thinned to `max_frames`.
    """
    frames = video.decode(path, rate, max_frames)
    if len(frames.images) < 2:
        raise InputError(f"{path}: only {len(frames.images)} frame at {rate:g} frames a second; a clip needs two")
    heat = heatmap_of(model, processor, frames)
    height, width = frames.images.shape[1:3]
    steps = np.arange(len(frames.images)) // 2
    maps = resize(heat, steps, height, width)
    detections = [boxes_of(m, min_pixels=max(4, height * width // 3000)) for m in maps]
    replies = []
    for asked in [*(question_text(q) for q in QUESTIONS), *questions]:
        text = ask(model, processor, frames, asked)
        answer = parse(text)
        replies.append(
            {"question": asked, "response": text, "answer": answer.answer, "rationale": answer.think, "span": answer.span,
             "boxes": [list(b.xyxy) for b in answer.boxes], "defects": list(answer.defects)}
        )  # fmt: skip
    result = {
        "video": str(path), "fps": frames.fps, "frames": frames.total, "width": width, "height": height,
        "sampled_seconds": [round(float(t), 3) for t in frames.times],
        "frame_scores": [round(float(heat[s].max()), 4) for s in steps_of(frames.total, frames.fps, frames.times)],
        "detections": [
            {"t": round(float(t), 3), "box": [int(c) for c in row[:4]], "score": round(float(row[4]), 4)}
            for t, rows in zip(frames.times, detections) for row in rows
        ],
        "dialogue": replies,
    }  # fmt: skip
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [overlay(image, m, boxes) for image, m, boxes in zip(frames.images, maps, detections)]
        scale = min(1.0, 320 / width)
        small = [cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for p in pictures]
        rows = [np.concatenate(small[i : i + 4], 1) for i in range(0, len(small) - len(small) % 4, 4)] or [np.concatenate(small, 1)]
        for name, picture in (("heatmap.png", np.concatenate(rows, 0)), ("strongest.png", pictures[int(maps.max((1, 2)).argmax())])):
            if not cv2.imwrite(str(folder / name), picture[..., ::-1]):
                raise InputError(f"{folder / name}: cannot be written")
        temporary = folder / "result.tmp"
        temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
        temporary.replace(folder / "result.json")
    return result
