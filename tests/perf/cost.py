"""What AHD and RAE cost at 7B, against the backbone alone on the same clip: operations of a forward pass and
weights. Counted on the meta device (tvad/model/cost.py), so it runs anywhere; a GPU's time is measured
elsewhere, memory by `python -m rft.studies.step_memory`.

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
    from tvad.model.cost import Account

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
    print(f"  weights: {(weights['ahd'] + weights['rae']) / weights['backbone']:.2%} of the backbone's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
