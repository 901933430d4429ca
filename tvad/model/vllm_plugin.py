"""T-VAD as out-of-tree vLLM models (entry point `vllm.general_plugins`): AHD and RAE run inside the engine.

One video item embeds as its video tokens and anomaly prompts, in the checkpoint's `prompt_order`. Same
modules as the transformers models; what ties them to vLLM's Qwen-VL classes is in `vllm_model`.
`sync_weights` replaces the weights of an engine in this process; those of a server come by `vllm_weights`.
"""

import os
from collections.abc import Iterable

import torch

TRANSFER = "shared_files"  # of weights, to a server on this machine (`vllm_weights`)
FOLDER = "TVAD_WEIGHTS"  # environment: where they come
NAMES = ("TvadForConditionalGeneration", "TvadQwen3ForConditionalGeneration")


def register() -> None:
    """Entry point: called by vLLM in every process. Registers the models, the loaders of clips, the transfer
    of weights and, with transformers, the configurations."""
    from vllm import ModelRegistry
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    import tvad.model  # noqa: F401  registers the configurations with AutoConfig
    from tvad.data.vllm_clips import register_loader

    register_loader()
    for name in NAMES:
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, f"tvad.model.vllm_model:{name}")
    if TRANSFER not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(TRANSFER, "tvad.model.vllm_weights", "SharedFiles")


def compiling_on_cpu() -> dict[str, str]:
    """Environment of an engine that may be compiled on a CPU. What vLLM keeps ahead of time cannot be read
    again there ("no attribute 'finalize_loading'"); what TorchInductor keeps can, and lies beside it, not
    where a restart of the machine removes it."""
    root = os.environ.get("VLLM_CACHE_ROOT") or os.path.expanduser("~/.cache/vllm")
    return {"VLLM_USE_AOT_COMPILE": "0", "TORCHINDUCTOR_CACHE_DIR": os.path.join(root, "torchinductor")}


def sync_weights(llm, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Load `weights` (transformers' names) into every worker of a `vllm.LLM` and drop what it had computed
    with the old ones.

    On the CPU vLLM packs linear weights and leaves the originals empty, so plain `load_weights` fails there;
    the layerwise reload unpacks and packs again. Prefix and vision-encoder caches hold results of the old
    weights and are emptied.
    """
    llm.collective_rpc(
        _load,
        args=([(name, tensor.detach()) for name, tensor in weights], llm.llm_engine.vllm_config.model_config),
    )
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()


def _load(worker, weights: list[tuple[str, torch.Tensor]], model_config) -> None:
    replace_weights(worker.model_runner.model, weights, model_config)


@torch.no_grad()
def replace_weights(model, weights: list[tuple[str, torch.Tensor]], model_config) -> None:
    """Replace some or all weights of vLLM's model in place; of a layer that vLLM fuses all parts are
    needed."""
    from vllm.model_executor.model_loader import reload

    # First every parameter goes back to the shape that checkpoints have, then loading fills it, then it is
    # packed again, in place: graphs that were captured keep their addresses.
    reload.initialize_layerwise_reload(model)
    model.load_weights(iter(weights))
    reload.finalize_layerwise_reload(model, model_config)
    # The reload rebuilds parameters only, and puts the old buffers back; AHD's text features are one.
    model.load_buffers(weights)
