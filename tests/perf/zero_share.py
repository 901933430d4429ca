"""What one of several processes holds between two steps under DeepSpeed (weights, masters, moments): bytes a
parameter; tiny T-VAD, everything trains, bfloat16, gloo.

    python tests/perf/zero_share.py --processes 1 2 4

The bytes are those of the tensors that are alive after a step. At tiny size DeepSpeed's buckets weigh more
than at full size; they are kept small here.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
BUCKET = 50_000  # numbers


def held() -> int:
    """Bytes of the storages of all tensors alive."""
    import torch

    gc.collect()
    found = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def worker(stage: int) -> None:
    import deepspeed
    import torch

    from tvad.model import TvadForConditionalGeneration

    before = held()
    deepspeed.init_distributed("gloo")
    model = TvadForConditionalGeneration.from_pretrained(ROOT / "assets/tvad-tiny", dtype=torch.bfloat16)
    numbers = sum(p.numel() for p in model.parameters())
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": BUCKET}
    zero |= {"allgather_bucket_size": BUCKET, "stage3_prefetch_bucket_size": BUCKET}
    zero |= {"stage3_max_live_parameters": BUCKET, "stage3_max_reuse_distance": BUCKET}
    plan = {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": True}, "zero_optimization": zero}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimiser, config=plan)
    ids = torch.arange(20, 60)[None]
    for _ in range(2):
        loss = engine(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float().mean()
        engine.backward(loss)
        engine.step()
    del loss
    if torch.distributed.get_rank() == 0:
        print(json.dumps({"bytes a parameter": (held() - before) / numbers}))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--stage", type=int, help=argparse.SUPPRESS)
    known = parser.parse_args()
    if known.stage is not None:
        worker(known.stage)
        return 0
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for stage in (0, 2, 3):
        for count in known.processes:
            launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
            command = [*launch, str(count), __file__, "--stage", str(stage)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            found = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
            print(
                f"ZeRO-{stage}, {count} processes: {found['bytes a parameter']:.2f} bytes a parameter",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
