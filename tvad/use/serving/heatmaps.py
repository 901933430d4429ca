"""Heatmaps beside answers: the worker computes them with the engine's weights over the very frames that the
answer is about, a client gets their statistics."""

import asyncio
from contextvars import ContextVar
from typing import Any

import numpy as np

from tvad.common.errors import InputError
from tvad.data.video import Frames
from tvad.detections import objects_of
from tvad.use.serving.pool import DECODING

# The clips of the request that is being answered, kept by whoever decodes them (`media`): a list where a
# heatmap is wanted, else None. vLLM renders a request in the task that received it, or in tasks of that one.
SEEN: ContextVar[list[Frames] | None] = ContextVar("seen", default=None)
AT_ONCE = 2  # heatmaps that the engine computes at a time, between its own steps


class HeatmapWorker:
    """Mixed into vLLM's workers (`--worker-extension-cls`)."""

    model_runner: Any  # the worker's own

    def tvad_takes(self) -> dict[str, bool] | None:
        """How this model's heatmaps are asked for: {"raw": pixels stay 0..255}; None without AHD."""
        model = self.model_runner.model
        return None if getattr(model, "ahd", None) is None else {"raw": bool(model.raw_pixels)}

    def tvad_heatmap(self, pixels: bytes, dtype: str, grid: list[int]) -> dict[str, Any]:
        """Heatmap of one clip, given as the processor's patches, `grid` (t, h, w) of them:
        {"shape": (t, h, w), "values": [...]}."""
        import torch

        patches = np.frombuffer(bytearray(pixels), dtype).reshape(int(np.prod(grid)), -1)
        heat = self.model_runner.model.heatmap_of(torch.from_numpy(patches), grid).float().cpu()
        return {"shape": list(heat.shape), "values": heat.flatten().tolist()}


class Heatmaps:
    """Asks the workers of a server. `state`: of vLLM's application."""

    def __init__(self, state: Any):
        self._state, self._turn = state, asyncio.Semaphore(AT_ONCE)
        self._processor: Any = None
        self._takes: dict[str, bool] | None = None

    async def of(self, clip: Frames) -> dict[str, Any]:
        """Statistics of a clip's heatmap. Raises InputError for a model without AHD."""
        await self.ready()
        async with self._turn:
            arguments = await DECODING.run(self._patches, clip)
            found = (await self._ask("tvad_heatmap", arguments))[0]
        return statistics(np.array(found["values"], np.float32).reshape(found["shape"]), clip)

    async def ready(self) -> None:
        """Raises InputError for a model without AHD."""
        if self._takes is None:
            self._takes = (await self._ask("tvad_takes", ()))[0]
        if self._takes is None:
            raise InputError("heatmap: this model has no heatmap decoder")

    async def _ask(self, method: str, arguments: tuple) -> list:
        return await self._state.engine_client.collective_rpc(method, args=arguments)

    def _patches(self, clip: Frames) -> tuple[bytes, str, list[int]]:
        """What the worker gets: bytes and lists, as the engine's workers are other processes and only plain
        values travel there; patches, as frames can be a hundred times as large."""
        if self._processor is None:
            from transformers import AutoProcessor

            from tvad.model.budget import set_fields

            self._processor = AutoProcessor.from_pretrained(self._state.args.model)
            told = getattr(self._state.args, "mm_processor_kwargs", None) or {}
            fields = {k: told[k] for k in ("size", "cap_pixels_per_frame", "max_video_tokens") if k in told}
            set_fields(self._processor.video_processor, fields)
        assert self._takes is not None
        vision = self._processor.vision_inputs([clip], raw=self._takes["raw"])
        pixels = vision["pixel_values_videos"].numpy()
        return pixels.tobytes(), pixels.dtype.str, vision["video_grid_thw"][0].tolist()


def statistics(heat: np.ndarray, clip: Frames) -> dict[str, Any]:
    """What a client gets: per step its time, score and share of hot patches; the objects with their boxes in
    the video's pixels; the frames that the model saw, `times` in the video's seconds."""
    height, width = clip.images.shape[1:3]
    per_step = -(-len(clip.moments) // len(heat))
    parts = (clip.moments[i * per_step : (i + 1) * per_step] for i in range(len(heat)))
    times = [round(float(part.mean()), 3) for part in parts]
    objects = [
        {
            "score": round(path.score, 4),
            "boxes": [{"t": times[s], "box": [int(c) for c in box[:4]]} for s, box in path.boxes.items()],
        }
        for path in objects_of(heat, height, width)
    ]
    steps = [
        {"t": t, "score": round(float(m.max()), 4), "hot": round(float((m >= 0.5).mean()), 4)}
        for t, m in zip(times, heat, strict=True)
    ]
    return {
        "peak": round(float(heat.max()), 4),
        "steps": steps,
        "objects": objects,
        "width": width,
        "height": height,
        "times": [round(float(t), 3) for t in clip.moments],
    }
