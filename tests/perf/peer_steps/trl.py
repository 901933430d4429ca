"""The worker of TRL's own GRPOTrainer: frames as images (its rows take no video), completions by transformers
or by vLLM in its process."""

import functools
from typing import Any

from tests.perf.peer_steps.turns import RATE, Gate, Plan, rewards


def on_cpu() -> None:
    """What TRL's vLLM lacks on vLLM's CPU build, which packs linear weights once they are loaded: they are
    loaded anew instead of in place, and nothing is compiled, as in this project."""
    import torch
    from trl.generation import vllm_generation
    from vllm.model_executor.model_loader import reload

    @torch.no_grad()
    def sync_weights(self):
        engine = self.llm.llm_engine
        model = engine.model_executor.driver_worker.model_runner.model
        reload.initialize_layerwise_reload(model)
        model.load_weights(iter([(n, p.detach()) for n, p in self.model.named_parameters()]))
        reload.finalize_layerwise_reload(model, engine.vllm_config.model_config)
        self.llm.reset_prefix_cache()

    vllm_generation.VLLMGeneration.sync_weights = sync_weights
    vllm_generation.LLM = functools.partial(vllm_generation.LLM, enforce_eager=True, dtype="float32")


def run(way: str, plan: Plan, gate: Gate) -> None:
    import torch
    from datasets import Dataset
    from PIL import Image
    from transformers import (
        AutoProcessor,
        PrinterCallback,
        Qwen2_5_VLForConditionalGeneration,
        TrainerCallback,
    )
    from trl import GRPOConfig, GRPOTrainer

    from rft.common.trainable import select_trainable
    from tvad.data.dataset import ClipStore

    fast = way == "trl, vLLM"
    if fast:
        on_cpu()

    class Turns(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            gate.turn(state.global_step)

    functions, weights = rewards()
    shape = plan.shape
    rows = plan.rows()
    for row in rows:
        system, user = row["prompt"]
        row["prompt"] = [
            {"role": "system", "content": system["content"][0]["text"]},
            {"role": "user", "content": user["content"][-1]["text"]},
        ]
    store, pictures = ClipStore(RATE, shape.frames), {}

    def with_images(batch):
        """Decoded once and kept, as this project's store does."""
        for video in batch["video"]:
            if video not in pictures:
                pictures[video] = [Image.fromarray(image) for image in store.load(video).images]
        return {**batch, "images": [pictures[video] for video in batch["video"]]}

    data = Dataset.from_list(rows)
    data.set_transform(with_images)
    processor = AutoProcessor.from_pretrained(plan.stock)
    never = [processor.tokenizer.convert_tokens_to_ids(f"<|{n}_pad|>") for n in ("image", "video")]
    exact: dict[str, Any] = {"min_tokens" if fast else "min_new_tokens": shape.tokens}
    # A sampled token that stands for pixels ends TRL's log-prob pass.
    exact |= {"logit_bias": dict.fromkeys(never, -100)} if fast else {"suppress_tokens": never}
    engine = {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 2048,
        "vllm_gpu_memory_utilization": 0.3,
    }
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(plan.stock, dtype="float32")
    select_trainable(model, ["model.language_model.*", "lm_head.*"])
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=GRPOConfig(
            **plan.training,
            output_dir=f"{plan.out}/trl-{plan.number}",
            scale_rewards="group",
            reward_weights=weights,
            report_to="none",
            remove_unused_columns=False,
            use_cpu=True,
            seed=0,
            disable_tqdm=True,
            gradient_checkpointing=False,
            bf16=False,
            generation_kwargs=exact,
            **(engine if fast else {}),
        ),
        train_dataset=data,
        processing_class=processor,
        callbacks=[Turns()],
    )
    trainer.remove_callback(PrinterCallback)
    gate.watch(model.model.visual, frames_apart=True)
    if fast:
        torch.set_num_threads(2)  # the CPU worker sets its own number
        worker = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker
        gate.watch(worker.model_runner.model.visual, frames_apart=True)
    trainer.train()
