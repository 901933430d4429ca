"""What AHD and RAE cost at 7B, against the backbone alone on the same clip: operations of a forward pass,
memory, and a training step's memory per tensor group. Counted on the meta device (tvad/model/cost.py), so it
runs anywhere; a GPU's time is measured elsewhere.

    python tests/perf/cost.py --frames 16 --size 392
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=392, help="pixels, height and width")
    parser.add_argument("--text", type=int, default=340, help="text tokens")
    known = parser.parse_args()

    from transformers import Qwen2_5_VLConfig

    from rft.studies.step_memory import SIZES
    from tvad.model.cost import GIB, Account

    account = Account(Qwen2_5_VLConfig(**SIZES["7b"]), known.frames, known.size, known.size, known.text)
    flops, weights = account.flops(), account.weights()
    base = flops["vision"] + flops["language"]
    print(
        f"Qwen2.5-VL-7B, {known.frames} frames of {known.size} x {known.size}: {account.video_tokens} video"
        f" tokens, {account.prompts} prompts"
    )
    for name in ("vision", "language", "ahd", "rae", "prompts"):
        print(f"  {name:10s} {flops[name] / 1e12:8.3f} TFLOP  {flops[name] / base:7.2%} of the backbone's")
    print(
        f"  AHD + RAE {(flops['ahd'] + flops['rae']) / base:.2%}; with the soft prompts' way through the"
        f" language model {(flops['ahd'] + flops['rae'] + flops['prompts']) / base:.2%}"
    )
    added = account.anomaly_memory()
    print(
        f"  memory of a forward pass: + {added / GIB:.3f} GiB, {added / weights['backbone']:.2%} of the"
        " backbone's weights"
    )
    for stage in (1, 2):
        parts = account.training(stage)
        print(f"stage {stage}, one step, batch 1: {sum(parts.values()) / GIB:.1f} GiB")
        for name, size in parts.items():
            print(f"  {name:58s} {size / GIB:7.3f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
