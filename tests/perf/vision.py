"""The vision side two ways, in one run on the same clips: attention over all windows of a batch at once
against transformers' loop over windows (eager both), and the patch embedding as a matrix product against its
convolution; without gradients and with, in float32 and bfloat16.

    python tests/perf/vision.py --model assets/tvad-tiny --clips 16
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.perf.rollouts import timed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="assets/tvad-tiny")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    known = parser.parse_args()

    import copy

    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
    from tvad.data.dataset import ClipStore
    from tvad.data.scenes.dataset import ScenesConfig, generate
    from tvad.model.vision_attention import CLASSES

    with tempfile.TemporaryDirectory() as folder:
        samples = generate(ScenesConfig(clips=known.clips, seed=11), folder)
        store = ClipStore(4.0, 16)
        clips = [store.frames(sample) for sample in samples]
    ours = AutoModelForImageTextToText.from_pretrained(known.model, attn_implementation="eager").model
    vision = AutoProcessor.from_pretrained(known.model).vision_inputs(clips)
    loop, convolution = copy.deepcopy(ours), copy.deepcopy(ours)
    backbones = {own: backbone for backbone, own in CLASSES.items()}
    embedding = convolution.visual.patch_embed.proj
    for part in (embedding, *(block.attn for block in loop.visual.blocks)):
        part.__class__ = backbones[type(part)]

    def encode(model, dtype, learn):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), torch.set_grad_enabled(learn):
            found = model.encode_clips(vision["pixel_values_videos"], vision["video_grid_thw"])
            if learn:
                sum(clip.heat_logits.float().mean() + clip.video.float().mean() for clip in found).backward()
                model.zero_grad()

    print(
        f"{torch.get_num_threads()} threads, {known.clips} clips of {len(clips[0].images)} frames,"
        f" {tuple(clips[0].images.shape[1:3])} pixels"
    )
    print(f"{'':34s} {'as it is, s':>12s} {'attention by piece':>19s} {'convolution':>12s}")
    for learn in (False, True):
        for dtype in (torch.float32, torch.bfloat16):
            one, *others = (
                timed(partial(encode, model, dtype, learn), known.repeats)
                for model in (ours, loop, convolution)
            )
            print(
                f"{'with gradients' if learn else 'heatmaps only':16s} {dtype!s:17s} {one:12.3f}"
                f" {others[0] / one:18.2f}x {others[1] / one:11.2f}x"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
