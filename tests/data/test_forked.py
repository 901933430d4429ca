"""Forked processes, as data loaders start them, beside what was decoded before."""

import subprocess
import sys

import numpy as np

from tvad.data import video

LOADS = """
import gc, sys
from torch.utils.data import DataLoader
from tvad.data import video

gc.disable()
before = video.decode(sys.argv[1], 10.0, 8)  # leaves pictures that hold each other
def collected(rows):
    gc.collect()
    return [float(video.decode(sys.argv[1], 10.0, 8).images.mean()) for _ in rows]
for found in DataLoader(range(4), batch_size=2, num_workers=2, collate_fn=collected):
    assert found == [float(before.images.mean())] * 2
print("done")
"""


def test_a_loaders_workers_do_not_wait_for_the_decoders_of_their_parent(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), np.uint8)
    video.write(tmp_path / "v.mp4", images, 10.0)
    ended = subprocess.run(
        [sys.executable, "-c", LOADS, str(tmp_path / "v.mp4")], capture_output=True, text=True, timeout=120
    )
    assert ended.stdout == "done\n", ended.stderr[-2000:]
