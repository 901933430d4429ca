"""What a frozen vision tower makes of a clip, kept on disk across epochs and runs: memory-mapped, bounded,
shared by processes.

Found again by all that decides it: the tower's weights as the checkpoint's files have them (in memory they
may be sharded over processes, and empty), what the configuration says of it, the very patches that it is
given, the precision and attention that it runs in."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

from bench.models.base import Engine, SharesTower
from rft.grpo.passes import most
from rft.grpo.rollout import Rollout
from tvad.common.errors import InputError
from tvad.common.files import json_text, made, replacing
from tvad.data.video import Frames
from tvad.model.clips import SeenClip
from tvad.model.modeling import TvadForConditionalGeneration
from tvad.model.processing import TvadProcessor

TOWER = "visual."  # in the names of its weights, with or without `model.` before it


def _put(found: "hashlib._Hash", name: str, tensor: torch.Tensor) -> None:
    found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    found.update(tensor.contiguous().view(torch.uint8).numpy().data)


def tower_hash(checkpoint: str | Path) -> str:
    """Hash of a checkpoint's vision tower: its weights by name and value, its configuration, which layers are
    read off it. Raises InputError where the files hold no tower."""
    folder = Path(checkpoint)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    decided = {name: config.get(name) for name in ("vision_config", "ahd_layers", "use_ahd")}
    decided["quantization"] = config.get("quantization_config")
    found = hashlib.sha256(json_text(decided, str(folder / "config.json")).encode())
    places: dict[str, tuple[Path, str]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            names = [name for name in weights.keys() if TOWER in name]  # noqa: SIM118
            places |= {name.partition(TOWER)[2]: (file, name) for name in names}
    if not places:
        raise InputError(f"features: {folder} holds no weights of a vision tower in safetensors")
    for short, (file, name) in sorted(places.items()):
        with safe_open(file, "pt") as weights:
            _put(found, short, weights.get_tensor(name))
    return found.hexdigest()[:24]


def clip_keys(vision: dict[str, torch.Tensor]) -> list[str]:
    """Hashes of clips as the tower is given them: patches, resized and normalised, and their grids."""
    grids = vision["video_grid_thw"]
    parts = vision["pixel_values_videos"].split(grids.prod(-1).tolist())
    return [clip_key(patches, grid.tolist()) for patches, grid in zip(parts, grids, strict=True)]


def clip_key(patches: torch.Tensor, grid: list[int]) -> str:
    """Of one clip: patches (t*h*w, values), grid [t, h, w]."""
    found = hashlib.sha256()
    _put(found, str(grid), patches.cpu())
    return found.hexdigest()[:32]


def _types(core: TvadForConditionalGeneration) -> list[torch.dtype]:
    """Of the tower's weights and, behind it, of autocast, in which it computes then."""
    kind = core.device.type
    autocast = [torch.get_autocast_dtype(kind)] if torch.is_autocast_enabled(kind) else []
    return [core.model.visual.dtype, *autocast]


def _joined(types: Iterable[torch.dtype], way: str) -> str:
    return "-".join([*(str(t).removeprefix("torch.") for t in types), way])


def precision_of(core: TvadForConditionalGeneration) -> str:
    """In what the tower runs here and now: its weights' type, autocast's, which attention."""
    return _joined(_types(core), str(core.config.vision_config._attn_implementation))


class FeatureCache:
    """`folder`/TOWER/CLIP.safetensors, at most `gigabytes` (10^9 bytes) in all; the longest unused go
    first.

    A file that cannot be read (cut by a full disk, say) counts as missing and is written again. Writers use a
    temporary name, so that several processes may share a folder.
    """

    def __init__(self, folder: str | Path, gigabytes: float, tower: str):
        self.folder = made(Path(folder) / tower)
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
        with replacing(path) as temporary:
            save_file(tensors, temporary)
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


def shared_precision(engine: Engine, core: TvadForConditionalGeneration) -> str | None:
    """In what an engine in this process runs the tower that it and the policy have alike; None where there is
    no such engine, or it computes in another type."""
    about = engine.tower() if isinstance(engine, SharesTower) else None
    alike = about is not None and about[1] == _types(core)[-1]
    return _joined(about[1:], engine.name) if about is not None and alike else None


def kept_by(
    engine: SharesTower, cache: FeatureCache, clips: list[Frames], keys: list[str], processor: TvadProcessor
) -> AbstractContextManager[None]:
    """Within it the engine's tower is asked once for each of `clips`, known in the cache by `keys`."""
    about = engine.tower()
    assert about is not None
    raw, dtype = about
    vision = processor.vision_inputs(clips, raw)
    vision["pixel_values_videos"] = vision["pixel_values_videos"].to(torch.uint8 if raw else dtype)
    names = dict(zip(clip_keys(vision), keys, strict=True))

    def keep(patches: torch.Tensor, grid: list[int], tower: Callable[[], SeenClip]) -> SeenClip:
        name = names.get(clip_key(patches, grid))
        if name is None:  # of another rollout's clips: the engine may ask for them anew
            return tower()
        if (clip := cache.get(name, patches.device)) is None:
            cache.put(name, clip := tower())
        return clip

    return engine.keeping(keep)


def sees(core: TvadForConditionalGeneration) -> Callable[..., list[SeenClip]]:
    """`core.see_clips`; of a model that FSDP2 shares out it gathers first, as its forward does."""
    if isinstance(core, FSDPModule) and "see_clips" not in vars(core):
        register_fsdp_forward_method(core, "see_clips")
    return core.see_clips


def seen_clips(
    cache: FeatureCache,
    core: TvadForConditionalGeneration,
    rollout: Rollout,
    groups: list[int],
    accelerator: Any,
    shared: str | None = None,
) -> list[SeenClip]:
    """What the frozen tower makes of the clips of `groups`: from the cache as far as it goes, the rest anew
    and kept. shared: of an engine that keeps its own there (`shared_precision`)."""
    device, precision = core.device, precision_of(core)
    keys = {g: f"{rollout.keys[g]}-{precision}" for g in groups}
    found = {
        g: (cache.get(f"{rollout.keys[g]}-{shared}", device) if shared else None) or cache.get(key, device)
        for g, key in keys.items()
    }
    missing = [g for g, clip in found.items() if clip is None]
    # Sharded weights are gathered by all processes together: where one runs the tower, all do, one that lacks
    # nothing for a clip that it has.
    if most(accelerator, len(missing)):
        vision = rollout.clips(missing or groups[:1])
        with torch.no_grad():
            fresh = sees(core)(vision["pixel_values_videos"].to(device), vision["video_grid_thw"].to(device))
        for g, seen in zip(missing, fresh, strict=bool(missing)):
            cache.put(keys[g], seen)
            found[g] = seen
    return [clip for g in groups if (clip := found[g]) is not None]
