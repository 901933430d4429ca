"""Tiny checkpoints of code of their own, with random weights: the interfaces of MiniCPM-V 2.6 and of InternVL
in its older layout, as `tests/remote_code` has them. `python tests/remote_checkpoints.py DIR` writes both."""

import json
import shutil
import sys
from pathlib import Path

import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from stock_checkpoint import ends, stock_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

CODE = ROOT / "tests/remote_code"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] +"
    " '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 704,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
# What stands for pictures, beside the words.
MARKS = {
    "minicpmv": ["<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>"],
    "internvl_chat": ["<img>", "</img>", "<IMG_CONTEXT>"],
}
LANGUAGE = {"minicpmv": "llm.", "internvl_chat": "language_model."}
PROJECTOR = {"minicpmv": "resampler.proj", "internvl_chat": "mlp1.3."}


def _vision(kind: str) -> dict[str, torch.Tensor]:
    drawn = {"weight": torch.randn(32, 3, 14, 14) * 0.1, "bias": torch.zeros(32)}
    if kind == "minicpmv":
        found = {f"vpm.{name}": value for name, value in drawn.items()}
        return found | {"resampler.query": torch.randn(4, 32), "resampler.proj": torch.randn(32, 64)}
    found = {f"vision_model.patch_embedding.{name}": value for name, value in drawn.items()}
    return found | {
        "vision_model.class_embedding": torch.randn(1, 1, 32),
        **{"mlp1.0.weight": torch.ones(128), "mlp1.0.bias": torch.zeros(128)},
        **{"mlp1.1.weight": torch.randn(64, 128), "mlp1.1.bias": torch.zeros(64)},
        **{"mlp1.3.weight": torch.randn(64, 64), "mlp1.3.bias": torch.zeros(64)},
    }


def build(kind: str, folder: Path) -> Path:
    """Write a checkpoint of a kind of MARKS into a folder."""
    shutil.copytree(CODE / kind, folder, ignore=shutil.ignore_patterns("__pycache__"))
    tokenizer = stock_tokenizer(None)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[kind]})
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {**SIZES, **ends(tokenizer)}
    language = Qwen2ForCausalLM(Qwen2Config(**sizes, initializer_range=0.08))
    weights = {f"{LANGUAGE[kind]}{name}": value for name, value in language.state_dict().items()}
    weights = {name: value.contiguous() for name, value in (weights | _vision(kind)).items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    if kind == "minicpmv":
        _write(
            folder / "config.json",
            {
                **sizes,
                "model_type": kind,
                "architectures": ["MiniCPMV"],
                "auto_map": {
                    "AutoConfig": "configuration_minicpm.MiniCPMVConfig",
                    "AutoModel": "modeling_minicpmv.MiniCPMV",
                    "AutoModelForCausalLM": "modeling_minicpmv.MiniCPMV",
                },
                "torch_dtype": "float32",
                "query_num": 4,
                "vision_config": {"hidden_size": 32},
            },
        )
        maps = {
            "AutoProcessor": "processing_minicpmv.MiniCPMVProcessor",
            "AutoImageProcessor": "image_processing_minicpmv.MiniCPMVImageProcessor",
        }
        _write(
            folder / "preprocessor_config.json",
            {
                "image_processor_type": "MiniCPMVImageProcessor",
                "processor_class": "MiniCPMVProcessor",
                "auto_map": maps,
                "image_feature_size": 4,
            },
        )
        told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        told["tokenizer_class"] = "MiniCPMVTokenizerFast"
        told["auto_map"] = {"AutoTokenizer": [None, "tokenization_minicpmv_fast.MiniCPMVTokenizerFast"]}
        _write(folder / "tokenizer_config.json", told)
    else:
        _write(
            folder / "config.json",
            {
                "model_type": kind,
                "architectures": ["InternVLChatModel"],
                "auto_map": {
                    "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
                    "AutoModel": "modeling_internvl_chat.InternVLChatModel",
                    "AutoModelForCausalLM": "modeling_internvl_chat.InternVLChatModel",
                },
                "torch_dtype": "float32",
                "template": "internlm2-chat",
                "force_image_size": 28,
                "vision_config": {"hidden_size": 32, "image_size": 28},
                "llm_config": {**sizes, "architectures": ["Qwen2ForCausalLM"]},
            },
        )
    return folder


def blinded(kind: str, folder: Path) -> Path:
    """A copy of a checkpoint, beside it, whose projector gives nothing."""
    copy = folder.with_name(f"{folder.name}_blind")
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    zeroed = {
        name: torch.zeros_like(value) if name.startswith(PROJECTOR[kind]) else value
        for name, value in weights.items()
    }
    save_file(zeroed, copy / "model.safetensors", {"format": "pt"})
    return copy


def _write(file: Path, told: dict) -> None:
    file.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    for each in MARKS:
        build(each, Path(sys.argv[1]) / each)
