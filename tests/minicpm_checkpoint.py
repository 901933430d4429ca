"""MiniCPM-V 4.6 as transformers has it, at a small size, with random weights and a chat template of the
published structure. What came before it is code of its own: `tests/remote_code`."""

import sys
from pathlib import Path

import torch
from conftest import SHIPPED
from tokenizers import AddedToken, Tokenizer
from transformers import (
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_6ImageProcessor,
    MiniCPMV4_6Processor,
    MiniCPMV4_6VideoProcessor,
    PreTrainedTokenizerFast,
)

NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<|image_pad|>\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<|video_pad|>\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LANGUAGE = {
    "model_type": "qwen3_5_text",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,  # every fourth attends to all tokens
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 704,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "max_position_embeddings": 8192,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 112,
    "patch_size": 14,
}


def build_minicpm(folder: Path) -> Path:
    """Write such a checkpoint into a folder."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(SHIPPED / "tokenizer.json")),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=NAMED,
    )
    marks = [AddedToken(token, special=True) for token in NAMED.values()]
    tokenizer.add_tokens(marks, special_tokens=True)
    config = MiniCPMV4_6Config(
        text_config=LANGUAGE,
        vision_config=VISION,
        insert_layer_id=1,
        image_token_id=tokenizer.convert_tokens_to_ids(NAMED["image_token"]),
        video_token_id=tokenizer.convert_tokens_to_ids(NAMED["video_token"]),
    )
    torch.manual_seed(0)
    model = MiniCPMV4_6ForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    model.save_pretrained(folder)
    sizes = {"scale_resolution": 112, "max_slice_nums": 1}
    MiniCPMV4_6Processor(
        MiniCPMV4_6ImageProcessor(**sizes),
        MiniCPMV4_6VideoProcessor(**sizes),
        tokenizer,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    build_minicpm(Path(sys.argv[1]))
