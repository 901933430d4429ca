"""The worker of ms-swift's GRPO, in an environment of its own: its template, mp4 clips by its reader,
completions by transformers. Changed for the measurement: exact lengths, no tokens that stand for pixels, the
numbers of the stock checkpoint's tokens, this project's rewards."""

import json
import os
from pathlib import Path

from tests.perf.peer_steps.turns import RATE, Gate, Plan, rewards


def run(way: str, plan: Plan, gate: Gate) -> None:
    side = 112 // 28  # of a frame, in tokens
    os.environ |= {
        "FPS": str(RATE),
        "FPS_MAX_FRAMES": str(plan.shape.frames),
        "VIDEO_MIN_TOKEN_NUM": str(side**2),
        "VIDEO_MAX_TOKEN_NUM": str(side**2),
    }
    import swift
    from swift.rewards import orms
    from swift.template.templates import qwen
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
    from transformers.trainer_callback import CallbackHandler

    tokenizer = AutoTokenizer.from_pretrained(plan.stock)
    never = [tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")]
    qwen.Qwen2VLTemplate.image_token_id, qwen.Qwen2VLTemplate.video_token_id = never
    step_end = CallbackHandler.on_step_end

    def gated(self, args, state, control):
        found = step_end(self, args, state, control)
        gate.turn(state.global_step)
        return found

    generate = Qwen2_5_VLForConditionalGeneration.generate

    def exact(self, *args, **kwargs):
        settings = kwargs["generation_config"]
        settings.min_new_tokens, settings.suppress_tokens = gate.shape.tokens, never
        return generate(self, *args, **kwargs)

    tower = modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel
    inner = tower.forward

    def counted(self, pixels, grid_thw, *args, **kwargs):
        gate.counted["clips"] += len(grid_thw)
        return inner(self, pixels, grid_thw, *args, **kwargs)

    CallbackHandler.on_step_end = gated
    Qwen2_5_VLForConditionalGeneration.generate, tower.forward = exact, counted
    functions, weights = rewards()

    def reward_of(function):
        class Ours:
            def __init__(self, args=None, **kwargs):
                pass

            def __call__(self, completions, **columns):
                facts = [json.loads(row) for row in columns["facts"]]
                return function(completions, **{key: [row[key] for row in facts] for key in facts[0]})

        return Ours

    for number, function in enumerate(functions):
        orms[f"ours{number}"] = reward_of(function)
    path = Path(plan.out, f"swift-{plan.number}.jsonl")
    with path.open("w", encoding="utf-8") as out:
        for row in plan.rows():
            system, user = row.pop("prompt")
            messages = [
                {"role": "system", "content": system["content"][0]["text"]},
                {"role": "user", "content": "<video>" + user["content"][-1]["text"]},
            ]
            line = {"messages": messages, "videos": [row["video"]], "facts": json.dumps(row)}
            out.write(json.dumps(line) + "\n")
    options = plan.training | {
        "rlhf_type": "grpo",
        "model": plan.stock,
        "model_type": "qwen2_5_vl",
        "template": "qwen2_5_vl",
        "dataset": path,
        "torch_dtype": "float32",
        "tuner_type": "full",
        "freeze_vit": "true",
        "freeze_aligner": "true",
        "attn_impl": "sdpa",
        "max_length": 2048,
        "use_vllm": "false",
        "gradient_checkpointing": "false",
        "report_to": "none",
        "dataloader_num_workers": 0,
        "output_dir": f"{plan.out}/swift-{plan.number}",
        "bf16": "false",
        "fp16": "false",
        "seed": 0,
        "split_dataset_ratio": 0,
        "dataset_num_proc": 1,
        "load_from_cache_file": "false",
    }
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    names = [f"ours{n}" for n in range(len(functions))]
    swift.rlhf_main([*given, "--reward_funcs", *names, "--reward_weights", *map(str, weights)])
