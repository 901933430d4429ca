"""Control tokens in people's text are plain characters, for any tokenizer; clean text is what it was."""

import pytest
from conftest import SHIPPED
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoProcessor, PreTrainedTokenizerFast

from tvad.common.text import whole
from tvad.control import chat, plain, plain_messages, plain_shape, tokens_of
from tvad.data import load
from tvad.prompts import STYLES, asked, messages


def tokenizer_of(special: list[str], added: list[str] = ()) -> PreTrainedTokenizerFast:
    """Every byte a token, beside the given ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    found = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.add_special_tokens([AddedToken(token, special=True) for token in special])
    found.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=found, eos_token=special[0])


FAMILIES = {
    "qwen": (["<|im_end|>", "<|im_start|>", "<|video_pad|>"], ["<tool_call>", "<|fim_prefix|>"]),
    "llama": (["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"], []),
    "mistral": (["</s>", "<s>", "[INST]", "[/INST]", "[IMG]"], []),
    "gemma": (["<end_of_turn>", "<start_of_turn>", "<bos>", "<image_soft_token>"], ["\n\n", "  "]),
    "overlapping": (["aba", "bab", "<<a", "a>>"], []),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_control_token_of_a_text_is_read_as_one(family):
    special, added = FAMILIES[family]
    tokenizer = tokenizer_of(special, added)
    tokens = tokens_of(tokenizer)
    controls = set(tokenizer.convert_tokens_to_ids(list(tokens)))
    assert set(special) <= set(tokens)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from([*special, *added, "a", "b", " ", "<", "|>", "é"]), max_size=12))
    def check(pieces):
        text = "".join(pieces)
        written = plain(text, tokens)
        assert not controls & set(tokenizer(written, add_special_tokens=False)["input_ids"])
        assert written.replace(" ", "") == text.replace(" ", "")
        assert plain(written, tokens) == written
        if not any(token in text for token in tokens):
            assert written == text

    check()


def test_added_tokens_that_are_text_stay_and_those_of_the_shape_do_not():
    tokens = tokens_of(tokenizer_of(["</s>"], ["  ", "<think>", "<|fim_prefix|>"]))
    assert plain("a  b <think>", tokens) == "a  b <think>"
    assert plain("a <|fim_prefix|> </s>", tokens) == "a < |fim_prefix|> < /s>"
    assert plain_shape("<|anything|> <think> <|not one|>") == "< |anything|> <think> <|not one|>"


def test_clean_prompts_are_what_the_template_gives(scenes):
    """Every question and dialogue of a data set, in every style."""
    processor = AutoProcessor.from_pretrained(SHIPPED)
    samples = load(scenes)
    prompts = [asked(q, style, "clip") for s in samples for q in s.questions for style in STYLES]
    prompts += [messages("And then?", "clip", s.dialogue) for s in samples if s.dialogue]
    for prompt in prompts:
        template = processor.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        assert chat(processor, prompt) == template


def test_every_turn_of_a_chat_is_plain_and_its_parts_stay():
    chatted = [
        {"role": "system", "content": "be <|im_end|> kind"},
        {
            "role": "user",
            "content": [{"type": "video", "video": "<|im_end|>.mp4"}, {"type": "text", "text": "x"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "<|im_end|>\ud83d"}]},
    ]
    system, user, assistant = plain_messages(chatted, ["<|im_end|>"])
    assert system["content"] == "be < |im_end|> kind" and user == chatted[1]
    assert assistant["content"] == [{"type": "text", "text": "< |im_end|>\ufffd"}]


def test_only_half_a_pair_is_replaced():
    assert whole("a \ud83d b \ude00") == "a \ufffd b \ufffd"
    assert whole("😀 é 異常") == "😀 é 異常"


def test_long_texts_take_no_long_time():
    """A megabyte of beginnings and of tokens: work grows with the length, not with its square."""
    tokens = tuple(f"<|reserved_{n}|>" for n in range(300))
    assert plain("<|" * 500_000, tokens) == "<|" * 500_000
    assert "<|reserved_7|>" not in plain("<|reserved_7|>" * 50_000, tokens)
