"""Serving with vLLM's OpenAI-compatible server: `tvad serve`, or `vllm serve` with the options that `command`
gives.

What is added to vLLM: clips are sampled as in training and come from where the server allows (`media`), a
worker gives heatmaps (`heatmaps`), and every request is looked at before it costs anything (`requests`,
`middleware`).
"""

import json
from typing import Any

from tvad.data.video import check_sampling
from tvad.data.vllm_clips import LOADER
from tvad.use.serving.heatmaps import HeatmapWorker
from tvad.use.serving.middleware import ServingMiddleware
from tvad.use.serving.options import refuse

__all__ = ["HeatmapWorker", "ServingMiddleware", "command"]

MIDDLEWARE, WORKER = "tvad.use.serving.ServingMiddleware", "tvad.use.serving.HeatmapWorker"
DRAINING = 60  # seconds that running requests may take after SIGTERM
# Options of vLLM's that would undo what this server promises.
TAKEN = {
    "--media-io-kwargs": "the frames are chosen by --rate and --max-frames",
    "--worker-extension-cls": "the worker is the one that gives heatmaps",
    "--allowed-local-media-path": "the server reads no file for a client; send it as a data: URL",
    "--config": "its options would not be looked at; give them here",
}


def command(
    model: str,
    host: str,
    port: int,
    rate: float,
    max_frames: int,
    extra: list[str],
    pixels: dict[str, Any] | None = None,
) -> list[str]:
    """Options of vLLM's server for a checkpoint folder with all of it (after `vllm serve MODEL` they are the
    same). Clips: `rate` frames a second, longer videos thinned out evenly to `max_frames`; a request may ask
    for fewer. pixels: fields of the video processor (`tvad.model.budget.fields_of`) where not the
    checkpoint's. Raises InputError for a rate or a number of frames that gives none, and for an option of
    vLLM's in `extra` that cannot be honoured."""
    check_sampling(rate, max_frames)
    refuse(extra, TAKEN)
    sampling = {"video": {"video_backend": LOADER, "fps": rate, "num_frames": max_frames}}
    return [
        "--model",
        model,
        "--host",
        host,
        "--port",
        str(port),
        "--limit-mm-per-prompt",
        '{"video": 1, "image": 0}',
        "--media-io-kwargs",
        json.dumps(sampling),
        "--middleware",
        MIDDLEWARE,
        "--worker-extension-cls",
        WORKER,
        "--shutdown-timeout",
        str(DRAINING),
        # A chat is answered as it asks to be: the checkpoint's own sampling (a repetition penalty, say) would
        # be applied to every request in silence.
        "--generation-config",
        "vllm",
        *(["--mm-processor-kwargs", json.dumps(pixels)] if pixels else []),
        *extra,
    ]
