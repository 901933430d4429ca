"""T-VAD as out-of-tree vLLM models (entry point `vllm.general_plugins`): AHD and RAE run inside the engine.

One video item embeds as its video tokens and anomaly prompts, in the checkpoint's `prompt_order`. Same
modules as the transformers models; what ties them to vLLM's Qwen-VL classes is in `vllm_model`.
`sync_weights` replaces the weights of a running engine.
"""

from collections.abc import Iterable

import torch

NAMES = ("TvadForConditionalGeneration", "TvadQwen3ForConditionalGeneration")


def register() -> None:
    """Entry point: called by vLLM in every process. Registers the models, the sampling of clips and, with
    transformers, the configurations."""
    from vllm import ModelRegistry

    import tvad.model  # noqa: F401  registers the configurations with AutoConfig
    from tvad.data.vllm_clips import register_loader

    register_loader()
    for name in NAMES:
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, f"tvad.model.vllm_model:{name}")


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


@torch.no_grad()
def _load(worker, weights: list[tuple[str, torch.Tensor]], model_config) -> None:
    from vllm.model_executor.model_loader import reload

    # First every parameter goes back to the shape that checkpoints have, then loading fills it, then it is
    # packed again, in place: graphs that were captured keep their addresses.
    model = worker.model_runner.model
    reload.initialize_layerwise_reload(model)
    model.load_weights(iter(weights))
    reload.finalize_layerwise_reload(model, model_config)
    # The reload rebuilds parameters only; AHD's text features are a buffer and would be left empty.
    model.load_buffers(weights)
