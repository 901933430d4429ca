"""What a frozen vision tower makes of a clip, kept on disk across epochs and runs: memory-mapped, bounded,
shared by processes."""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rft.grpo.rollout import Rollout
from tvad.common.files import made
from tvad.data.video import Frames
from tvad.model.clips import SeenClip
from tvad.model.modeling import TvadForConditionalGeneration


def weights_hash(module: torch.nn.Module) -> str:
    """Hash of a module's weights and buffers, by name and value."""
    found = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()[:24]


def clip_hash(clip: Frames) -> str:
    """Hash of the sampled frames."""
    found = hashlib.sha256(f"{clip.images.shape}".encode())
    found.update(np.ascontiguousarray(clip.images).data)
    return found.hexdigest()[:32]


class FeatureCache:
    """`folder`/WEIGHTS/CLIP.safetensors, at most `gigabytes` (10^9 bytes) in all; the longest unused go
    first.

    A file that cannot be read (cut by a full disk, say) counts as missing and is written again. Writers use a
    temporary name, so that several processes may share a folder.
    """

    def __init__(self, folder: str | Path, gigabytes: float, weights: str):
        self.folder = made(Path(folder) / weights)
        self.most = int(gigabytes * 1e9)
        self.hits = self.misses = 0
        self._size = sum(f.stat().st_size for f in self._files())

    def _files(self) -> Iterable[Path]:
        return self.folder.parent.glob("*/*.safetensors")

    def get(self, key: str, device: torch.device | str = "cpu") -> SeenClip | None:
        path = self.folder / f"{key}.safetensors"
        try:
            tensors = load_file(path, device=str(device))  # safetensors maps the file
            os.utime(path)
        except (OSError, SafetensorError):
            self.misses += 1
            return None
        self.hits += 1
        layers, deep = (
            [tensors[f"{kind}.{i}"] for i in range(sum(name.startswith(f"{kind}.") for name in tensors))]
            for kind in ("layer", "deep")
        )
        t, h, w = tensors["grid"].tolist()
        return SeenClip(tensors["video"], layers, (t, h, w), deep)

    def put(self, key: str, clip: SeenClip) -> None:
        """Keep a clip; one that is larger than the whole bound is not kept."""
        tensors = {"video": clip.video, "grid": torch.tensor(clip.grid)}
        tensors |= {f"layer.{i}": layer for i, layer in enumerate(clip.layers)} | {
            f"deep.{i}": level for i, level in enumerate(clip.deep)
        }
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self.most:
            return
        path = self.folder / f"{key}.safetensors"
        temporary = path.with_name(f"{key}.{os.getpid()}.tmp")
        try:
            save_file(tensors, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._size += size
        if self._size > self.most:
            self._shrink()

    def _shrink(self) -> None:
        """Down to nine tenths of the bound, the longest unused first."""
        known = []
        for file in self._files():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                stat = file.stat()
                known.append((stat.st_mtime_ns, stat.st_size, file))
        self._size = sum(size for _, size, _ in known)
        for _, size, file in sorted(known):
            if self._size <= 0.9 * self.most:
                break
            file.unlink(missing_ok=True)
            self._size -= size


def seen_clips(
    cache: FeatureCache, core: TvadForConditionalGeneration, rollout: Rollout, groups: list[int]
) -> list[SeenClip]:
    """What the frozen tower makes of the clips of `groups`: from the cache as far as it goes, the rest anew
    and kept."""
    device = core.device
    found = {g: cache.get(rollout.keys[g], device) for g in dict.fromkeys(groups)}
    missing = [g for g, clip in found.items() if clip is None]
    if missing:
        vision = rollout.clips(missing)
        with torch.no_grad():
            fresh = core.model.see_clips(
                vision["pixel_values_videos"].to(device), vision["video_grid_thw"].to(device)
            )
        for g, seen in zip(missing, fresh, strict=True):
            cache.put(rollout.keys[g], seen)
            found[g] = seen
    return [clip for g in groups if (clip := found[g]) is not None]
