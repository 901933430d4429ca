from copy import deepcopy

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2ForCausalLM, Qwen2PreTrainedModel

from .configuration_minicpm import MiniCPMVConfig


class Resampler(torch.nn.Module):
    """A clip's patches to as many tokens a picture as there are queries."""

    def __init__(self, num_queries, embed_dim, kv_dim):
        super().__init__()
        self.query = torch.nn.Parameter(torch.randn(num_queries, kv_dim))
        self.proj = torch.nn.Parameter(embed_dim**-0.5 * torch.randn(kv_dim, embed_dim))
        grid = np.linspace(0, 1, 4 * kv_dim).reshape(4, kv_dim)
        self.register_buffer("pos_embed", torch.from_numpy(grid).float(), persistent=False)

    def forward(self, x):
        keys = x + self.pos_embed
        return (self.query @ keys.transpose(1, 2)).softmax(-1) @ keys @ self.proj


class MiniCPMVPreTrainedModel(Qwen2PreTrainedModel):
    config_class = MiniCPMVConfig


class MiniCPMV(MiniCPMVPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.llm = Qwen2ForCausalLM(config)
        self.vpm = torch.nn.Conv2d(3, config.vision_config.hidden_size, 14, 14)
        self.resampler = Resampler(config.query_num, config.hidden_size, config.vision_config.hidden_size)
        self.processor = AutoProcessor.from_pretrained(self.config._name_or_path, trust_remote_code=True)
        self.terminators = ["<|im_end|>", "<|endoftext|>"]

    def get_input_embeddings(self):
        return self.llm.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.llm.embed_tokens = value

    def get_output_embeddings(self):
        return self.llm.lm_head

    def set_output_embeddings(self, new_embeddings):
        self.llm.lm_head = new_embeddings

    def get_vllm_embedding(self, data):
        embeds = self.llm.model.embed_tokens(data["input_ids"])
        for row, pictures, bounds in zip(embeds, data["pixel_values"], data["image_bound"], strict=True):
            patches = self.vpm(torch.stack(pictures).to(embeds.dtype)).flatten(2).transpose(1, 2)
            places = torch.cat([torch.arange(int(start), int(end)) for start, end in bounds])
            row[places] = self.resampler(patches).flatten(0, 1)
        return embeds

    def _decode_text(self, result_ids, tokenizer):
        terminators = [tokenizer.convert_tokens_to_ids(i) for i in self.terminators]
        result_text = []
        for result in result_ids:
            result = result[result != 0]
            if result[0] == tokenizer.bos_id:
                result = result[1:]
            if result[-1] in terminators:
                result = result[:-1]
            result_text.append(tokenizer.decode(result).strip())
        return result_text

    def generate(self, input_ids=None, pixel_values=None, image_bound=None, attention_mask=None,
                 tokenizer=None, vision_hidden_states=None, stream=False, decode_text=False,
                 **kwargs):  # fmt: skip
        data = {"input_ids": input_ids, "pixel_values": pixel_values, "image_bound": image_bound}
        with torch.inference_mode():
            result = self.llm.generate(
                inputs_embeds=self.get_vllm_embedding(data),
                pad_token_id=0,
                eos_token_id=[tokenizer.convert_tokens_to_ids(i) for i in self.terminators],
                attention_mask=attention_mask,
                **kwargs,
            )
        return self._decode_text(result, tokenizer) if decode_text else result

    def chat(self, image, msgs, tokenizer, processor=None, vision_hidden_states=None, max_new_tokens=2048,
             min_new_tokens=0, sampling=True, max_inp_length=8192, system_prompt="", stream=False,
             max_slice_nums=None, use_image_id=None, **kwargs):  # fmt: skip
        processor = processor or self.processor
        assert self.config.query_num == processor.image_processor.image_feature_size
        copy_msgs, images = deepcopy(msgs), []
        for number, msg in enumerate(copy_msgs):
            assert msg["role"] in ["user", "assistant"]
            assert number or msg["role"] == "user", "The role of first msg should be user"
            content = [msg["content"]] if isinstance(msg["content"], str) else msg["content"]
            texts = []
            for part in content:
                if isinstance(part, Image.Image):
                    images.append(part)
                    texts.append("(<image>./</image>)")
                elif isinstance(part, str):
                    texts.append(part)
            msg["content"] = "\n".join(texts)
        if system_prompt:
            copy_msgs = [{"role": "system", "content": system_prompt}, *copy_msgs]
        prompt = processor.tokenizer.apply_chat_template(
            copy_msgs, tokenize=False, add_generation_prompt=True
        )
        inputs = processor(
            [prompt],
            [images],
            max_slice_nums=max_slice_nums,
            use_image_id=use_image_id,
            return_tensors="pt",
            max_length=max_inp_length,
        ).to(self.device)
        if sampling:
            generation_config = {
                "top_p": 0.8,
                "top_k": 100,
                "temperature": 0.7,
                "do_sample": True,
                "repetition_penalty": 1.05,
            }
        else:
            generation_config = {"num_beams": 3, "repetition_penalty": 1.2}
        generation_config.update((k, kwargs[k]) for k in generation_config.keys() & kwargs.keys())
        inputs.pop("image_sizes")
        answers = self.generate(
            **inputs,
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            vision_hidden_states=vision_hidden_states,
            stream=stream,
            decode_text=True,
            **generation_config,
        )
        return answers[0]
