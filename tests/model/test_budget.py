"""The pixel budget of a clip: each bound changes the grid, as the published tool reckons it, and stays with
the checkpoint."""

import math
from dataclasses import replace

import numpy as np
import pytest
import transformers as T
from stock_checkpoint import TINY, build_stock

from tvad.common.errors import InputError
from tvad.data.video import Budget, Frames
from tvad.model.budget import clip_grid, keep
from tvad.model.start import load, start_from

VAU_R1 = Budget(min_pixels=16 * 28 * 28, total_pixels=3584 * 28 * 28)
SIZES = [(240, 320), (320, 240), (720, 1280), (1080, 1920), (480, 854), (64, 64), (123, 457)]


def published(frames: int, height: int, width: int, least: int, most: int, total: int, factor=28):
    """(h, w) pixels of a frame by qwen-vl-utils' rules (fetch_video, smart_resize), in our own words."""
    share = max(min(most, total / frames * 2), int(least * 1.05))
    h, w = (max(factor, round(x / factor) * factor) for x in (height, width))
    if h * w > share:
        by = math.sqrt(height * width / share)
        h, w = (max(factor, math.floor(x / by / factor) * factor) for x in (height, width))
    elif h * w < least:
        by = math.sqrt(least / (height * width))
        h, w = (math.ceil(x * by / factor) * factor for x in (height, width))
    return h, w


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_published_budget_gives_the_published_grid(size):
    processor = type(
        "Processor", (), {"video_processor": T.Qwen2VLVideoProcessor(cap_pixels_per_frame=False)}
    )
    keep(processor, VAU_R1)
    for frames in range(2, 65, 2):
        h, w = published(frames, *size, 16 * 784, 768 * 784, 3584 * 784)
        assert clip_grid(processor.video_processor, frames, *size) == (frames // 2, h // 14, w // 14), frames


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    "bound", [{"min_pixels": 300 * 1024}, {"max_pixels": 40 * 1024}, {"total_pixels": 200 * 1024}], ids=str
)
def test_each_bound_changes_the_grid_and_is_kept(family, bound, checkpoint, checkpoint_qwen3, tmp_path):
    model, processor = load(str(checkpoint if family == "qwen2_5_vl" else checkpoint_qwen3))
    wide = {"min_pixels": 1024, "max_pixels": 768 * 1024, "total_pixels": 16384 * 1024}
    keep(processor, Budget(**wide))
    size = (64, 64) if "min_pixels" in bound else (480, 640)
    before = clip_grid(processor.video_processor, 16, *size)
    keep(processor, Budget(**wide | bound))
    after = clip_grid(processor.video_processor, 16, *size)
    assert before != after
    # What the processor says of no pixels is what it makes of pixels; a saved checkpoint keeps it.
    images = np.zeros((16, *size, 3), np.uint8)
    clip = Frames(images, np.arange(16) / 2, np.arange(16), 2.0, 16)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for kept in (processor, load(str(tmp_path))[1], T.AutoProcessor.from_pretrained(tmp_path)):
        assert tuple(kept.vision_inputs([clip])["video_grid_thw"][0].tolist()) == after


def test_a_start_from_a_stock_checkpoint_takes_a_budget(tmp_path):
    _, processor = start_from(str(build_stock(tmp_path, TINY)))
    before = clip_grid(processor.video_processor, 64, 240, 320)
    keep(processor, replace(VAU_R1, max_pixels=768 * 28 * 28))
    assert clip_grid(processor.video_processor, 64, 240, 320) != before


def test_a_budget_that_cannot_be_is_refused(checkpoint):
    with pytest.raises(InputError, match="max_pixels: 0, expected at least 1"):
        Budget(max_pixels=0)
    with pytest.raises(InputError, match="min_pixels: 9 is above max_pixels, 8"):
        Budget(9, 8)
    _, processor = load(str(checkpoint))
    with pytest.raises(InputError, match="cannot be"):
        keep(processor, Budget(max_pixels=100))
    llava = type("Processor", (), {"video_processor": T.LlavaOnevisionVideoProcessor()})
    with pytest.raises(InputError, match="total_pixels: a LlavaOnevisionVideoProcessor has no such bound"):
        keep(llava, Budget(total_pixels=5))
