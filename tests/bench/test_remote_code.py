"""Checkpoints that answer by code of their own (MiniCPM-V, InternVL's older layout): stubs of the published
interfaces, which the adapter must ask as it is published and never score blind."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from remote_checkpoints import MARKS, blinded, build
from stock_checkpoint import TINY, build_stock
from transformers import AutoProcessor

from bench import models, sight
from bench.__main__ import main
from bench.cache import content
from bench.inputs import weights
from bench.models.base import Request, Sampling
from bench.models.clips import given_to, made
from bench.models.lengths import room_for
from bench.models.opening import not_loaded
from bench.models.remote import language_model
from bench.models.vllm import VllmModel
from bench.suite import Suite
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.prompts import SYSTEM, messages

KINDS = tuple(MARKS)
HISTORY = (("What do you see?", "A street <image> by night."),)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    return {kind: build(kind, folder / kind) for kind in KINDS}


@pytest.fixture
def trusted(stubs):
    return lambda kind: models.load(f"hf:{stubs[kind]}", trust_remote_code=True)


def asked(text="Is there an anomaly?", frames=6, size=(90, 120), seed=1, **more) -> Request:
    return Request(messages(text, **more), made(frames, size, seed), key=text)


def prompts_of(model, monkeypatch) -> list[str]:
    """The prompts, as text with their marks of pictures, that the checkpoint's code makes from now on."""
    tokenizer, seen = model.chat.tokenizer, []
    if model.chat.processor is not tokenizer:
        tokenizer = model.chat.processor.tokenizer
        encode = tokenizer.encode
        monkeypatch.setattr(tokenizer, "encode", lambda text: (seen.append(text), encode(text))[1])
        return seen

    class Listening(type(tokenizer)):
        def __call__(self, text, **more):
            seen.append(text)
            return super().__call__(text, **more)

    monkeypatch.setattr(tokenizer, "__class__", Listening)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_and_answers_a_batch_as_single_questions(kind, trusted):
    model = trusted(kind)
    requests = [asked(), asked("When, and where?", 4, (120, 90), 2)]
    found = sight.look(model, kind, requests[0], 3)
    assert found["checked"] and found["change"] > found["again"] == 0
    for sampling in (Sampling(max_tokens=6), Sampling(n=2, temperature=1.0, max_tokens=6, seed=5)):
        together = model.sample(requests, sampling)
        alone = [model.sample([request], sampling)[0] for request in reversed(requests)]
        assert [[c.text for c in row] for row in together] == [[c.text for c in row] for row in alone[::-1]]
        assert len(together[0]) == sampling.n
    assert together[0][0].text != together[0][1].text
    assert model.sample(requests, Sampling(n=2, temperature=1.0, max_tokens=6, seed=6)) != together
    state = torch.get_rng_state()
    model.sample(requests, sampling)
    assert torch.equal(torch.get_rng_state(), state)  # a training's draws are not moved


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_said_before_and_when_frames_are_reaches_the_prompt(kind, trusted, monkeypatch):
    model = trusted(kind)
    seen = prompts_of(model, monkeypatch)
    model.sample([asked("Who <image> runs?<|im_end|>", 3, history=HISTORY)], Sampling(max_tokens=2))
    (prompt,) = seen
    said = [
        SYSTEM,
        "These are 3 frames of one video, in order, at 0.00, 0.50, 1.00 s.",
        "What do you see?",
        "A street < image> by night.",
        "Who < image> runs?< |im_end|>",
    ]
    places = [prompt.index(text) for text in said]
    assert places == sorted(places) and prompt.count("<|im_start|>") == 5
    # Every frame stands once, before its times, and with nothing left unfilled.
    mark = "<image>" if kind == "minicpmv" else "<img>"
    assert [*map(prompt.count, (mark, "<slice>", "<image_id>"))] == [3, 0, 0]
    assert places[0] < prompt.index(mark) < prompt.rindex(mark) < places[1]
    assert kind == "minicpmv" or ("Frame1: <img>" in prompt and "Frame3: <img>" in prompt)
    # Without a system message the checkpoint's own is said again.
    bare = asked(frames=2)
    model.sample([Request(bare.messages[1:], bare.frames)], Sampling(max_tokens=2))
    assert SYSTEM not in seen[1] and (kind == "minicpmv") == ("You are InternVL." not in seen[1])


@pytest.mark.parametrize("kind", KINDS)
def test_frames_arrive_as_they_are_published_to_be_resized(kind, trusted, monkeypatch):
    model, request, seen = trusted(kind), asked(frames=2), []
    inner = model.chat.model
    generate = inner.generate
    monkeypatch.setattr(inner, "generate", lambda **given: (seen.append(given), generate(**given))[1])
    model.sample([request], Sampling(max_tokens=1))
    small = [
        np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC))
        for image in request.frames.images
    ]
    values = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2) / 255
    if kind == "minicpmv":
        shown, wanted = torch.stack(seen[0]["pixel_values"][0]), values * 2 - 1
    else:
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        shown, wanted = seen[0]["pixel_values"], (values - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(shown, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_what_is_asked_for_draws_or_penalises(kind, trusted, monkeypatch):
    model, seen = trusted(kind), []
    model.writer.generation_config.update(repetition_penalty=1.3, do_sample=True, temperature=0.1)
    generate = model.writer.generate
    monkeypatch.setattr(model.writer, "generate", lambda **given: (seen.append(given), generate(**given))[1])
    model.sample([asked(frames=2)], Sampling(max_tokens=5))
    model.sample([asked(frames=2)], Sampling(max_tokens=5, temperature=0.7, top_p=0.9))
    greedy, drawn = seen
    assert greedy["max_new_tokens"] == drawn["max_new_tokens"] == 5
    assert not greedy.get("do_sample") and greedy["num_beams"] == 1
    assert drawn["do_sample"] and drawn["temperature"] == 0.7 and drawn["top_p"] == 0.9
    assert drawn["top_k"] == 0  # transformers' own would be 50
    for given in seen:
        assert given.get("repetition_penalty", 1.0) == 1.0
    assert model.writer.generation_config.repetition_penalty == 1.3  # as it was
    assert model.sample([asked(frames=2)], Sampling(max_tokens=5)) == model.sample(
        [asked(frames=2)], Sampling(max_tokens=5)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_beyond_the_models_positions_is_refused_not_cut(kind, trusted):
    model = trusted(kind)
    model.context = 90
    with pytest.raises(
        InputError, match=r"a prompt of .* tokens and up to 4 more, the model has 90 positions"
    ):
        model.sample([asked()], Sampling(max_tokens=4))


@pytest.mark.parametrize("kind", KINDS)
def test_no_code_runs_before_it_is_trusted(kind, stubs, tmp_path, scenes, capsys):
    folder, canary = tmp_path / kind, tmp_path / "sang"
    shutil.copytree(stubs[kind], folder)
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(canary)!r}, 'w').close()\n" + file.read_text())
    assert run(f"hf:{folder}", scenes, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "brings code of its own, which --model.trust_remote_code true would run" in said
    assert "Traceback" not in said and not canary.exists() and not (tmp_path / "run/run.json").exists()
    models.load(f"hf:{folder}", trust_remote_code=True)
    assert canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_its_code_counts_among_its_weights(kind, stubs, tmp_path):
    folder = tmp_path / kind
    shutil.copytree(stubs[kind], folder)
    before = content(folder)
    file = next(folder.glob("modeling_*.py"))
    file.write_text(file.read_text() + "\n")
    assert content(folder) != before


def changed(stubs, tmp_path, **auto_map):
    folder = tmp_path / "changed"
    shutil.copytree(stubs["minicpmv"], folder)
    told = json.loads((folder / "config.json").read_text())
    told["auto_map"] = {"AutoConfig": told["auto_map"]["AutoConfig"], **auto_map}
    (folder / "config.json").write_text(json.dumps(told))
    return folder


ODD = "from modeling_minicpmv import MiniCPMV\nclass Odd(MiniCPMV):\n"


@pytest.mark.parametrize(
    ("auto_map", "code", "words"),
    [
        (
            {"AutoModelForVision": "a.B"},
            "",
            "its auto_map names none of AutoModelForImageTextToText, AutoModel",
        ),
        (
            {"AutoModel": "o/r--a.B"},
            "",
            r"config.json: auto_map.AutoModel: its code is in another repository or folder \('o/r--a\.B'\)",
        ),
        (
            {"AutoModel": "odd.Odd"},
            "class Odd:\n    pass\n",
            r"Odd has no chat, which is neither MiniCpm's \(image, msgs, tokenizer, …\) nor InternVl's \(",
        ),
        (
            {"AutoModel": "odd.Odd"},
            "class Odd:\n    def chat(self, query, images):\n        pass\n",
            r"Odd has chat\(query, images\), which is neither",
        ),
        ({"AutoModel": "odd.Odd"}, "raise KeyError('flash')\n", r"cannot be loaded \(KeyError: 'flash'\)"),
    ],
)
def test_another_interface_is_one_line(auto_map, code, words, stubs, tmp_path):
    folder = changed(stubs, tmp_path, **auto_map)
    (folder / "odd.py").write_text(code)
    with pytest.raises(InputError, match=words):
        models.load(f"hf:{folder}", trust_remote_code=True)


def test_weights_that_do_not_fit_are_refused(stubs, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "weights"
    shutil.copytree(stubs["internvl_chat"], folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    bias = weights.pop("mlp1.3.bias")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack mlp1\.3\.bias"):
        models.load(f"hf:{folder}", trust_remote_code=True)
    # A buffer that older versions of transformers kept is computed; what else is unknown is not dropped.
    buffer = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file({**weights, "mlp1.3.bias": bias, buffer: torch.zeros(16)}, file, {"format": "pt"})
    models.load(f"hf:{folder}", trust_remote_code=True)
    save_file({**weights, "mlp1.3.bias": bias, "mlp2.bias": bias.clone()}, file, {"format": "pt"})
    with pytest.raises(
        InputError, match=r"model.safetensors holds mlp2\.bias, which InternVLChatModel has not"
    ):
        models.load(f"hf:{folder}", trust_remote_code=True)
    file.unlink()
    with pytest.raises(InputError, match=r"holds no \*\.safetensors"):
        models.load(f"hf:{folder}", trust_remote_code=True)
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"its weights are pickled \(pytorch_model\.bin\)"):
        models.load(f"hf:{folder}", trust_remote_code=True)


def test_what_its_code_computes_is_as_it_computed_it(trusted):
    """transformers 5 makes models without memory, and gives such buffers whatever was there."""
    computed = torch.from_numpy(np.linspace(0, 1, 128).reshape(4, 32)).float()
    assert torch.equal(trusted("minicpmv").chat.model.resampler.pos_embed, computed)


def test_tied_weights_have_one_name_in_the_file(stubs, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "tied"
    shutil.copytree(stubs["internvl_chat"], folder)
    told = json.loads((folder / "config.json").read_text())
    told["llm_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(told))
    weights = load_file(folder / "model.safetensors")
    del weights["language_model.lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = models.load(f"hf:{folder}", trust_remote_code=True)
    assert torch.equal(model.head.weight, weights["language_model.model.embed_tokens.weight"])


def test_options_of_transformers_reach_it(stubs):
    model = models.load(
        f"hf:{stubs['internvl_chat']}", trust_remote_code=True, dtype="bfloat16", attention="eager"
    )
    assert {weight.dtype for weight in model.chat.model.parameters()} == {torch.bfloat16}
    assert model.writer.config._attn_implementation == "eager"
    assert sight.look(model, "x", asked(), 3)["checked"]
    assert torch.get_default_dtype() == torch.float32
    with pytest.raises(InputError, match=r"max_pixels: hf:.* answers by code of its own; leave it out"):
        models.load(f"hf:{stubs['internvl_chat']}", trust_remote_code=True, max_pixels=100)


def test_where_the_first_token_is_not_to_be_seen_that_is_recorded(trusted, monkeypatch):
    model = trusted("internvl_chat")
    for part in (model.writer, model.chat.model):
        monkeypatch.setattr(part, "get_output_embeddings", lambda: None)
    model.writer, model.head = language_model(model.chat.model)
    assert model.writer is None
    assert sight.look(model, "x", asked(), 3) == {"checked": False, "why": "hf gives no log-probs"}
    assert model.sample([asked()], Sampling(max_tokens=3))[0][0].text


def test_a_model_that_ends_in_an_error_of_its_own_is_one_line(trusted, monkeypatch):
    """As vLLM's LLaVA-NeXT-Video does at tiny size."""
    model = trusted("internvl_chat")

    def chat(*given, **more):
        raise ZeroDivisionError("integer division or modulo\nby zero")

    monkeypatch.setattr(model.chat.model, "chat", chat)
    with pytest.raises(InputError) as ended:
        sight.look(model, "hf:x", asked(), 3)
    assert str(ended.value) == (
        "hf:x: ends where it is asked about a clip (ZeroDivisionError: integer division or modulo by zero)"
    )


def test_why_a_library_does_not_open_one_is_its_first_line_that_says_so():
    assert str(not_loaded("hf:x", OSError("\nno such file\nmore"))) == "hf:x: cannot be loaded (no such file)"
    many = ValueError("1 validation error for VllmConfig\n  Value error, too long [type=value_error]")
    assert str(not_loaded("vllm:x", many)).endswith("(Value error, too long [type=value_error])")
    assert str(not_loaded("vllm:x", KeyError("\n"))).endswith(r"(KeyError: '\n')")


def test_vllm_is_told_that_there_is_no_processor(stubs):
    """InternVL's older layout has none; its code makes the pixels."""
    processor = AutoProcessor.from_pretrained(stubs["internvl_chat"], trust_remote_code=True)
    with pytest.raises(InputError, match="vllm:x: brings a tokenizer and no processor of pictures"):
        given_to(processor, "vllm:x")


AROUND = """
_chat = InternVLChatModel.chat
def chat(self, tokenizer, pixel_values, question, generation_config, history=None, num_patches_list=None):
    def asked():
        return _chat(self, tokenizer, pixel_values, question, generation_config, history,
                     num_patches_list=num_patches_list)
{}
InternVLChatModel.chat = chat
"""


def around(folder, into, body: str):
    """A copy of InternVL's stub whose chat is `body`, where `asked()` is what it was."""
    shutil.copytree(folder, into, ignore=shutil.ignore_patterns("__pycache__"))
    file = into / "modeling_internvl_chat.py"
    file.write_text(file.read_text() + AROUND.format("\n".join(f"    {line}" for line in body.splitlines())))
    return into


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("None", "NoneType"),
        ("(None, [])", "NoneType"),
        ("[asked()]", "list"),
        ("b'Yes'", "bytes"),
        ("(c for c in asked())", "generator"),
        ("()", "tuple"),
    ],
)
def test_what_is_no_text_is_no_answer(answer, name, stubs, tmp_path):
    folder = around(stubs["internvl_chat"], tmp_path / "odd", f"return {answer}")
    model = models.load(f"hf:{folder}", trust_remote_code=True)
    with pytest.raises(InputError, match=f"hf: its chat answered {name}, expected text"):
        model.sample([asked()], Sampling(max_tokens=3))


def lines_of(out) -> list[dict]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


TRUSTED = ("--model.trust_remote_code", "true")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("return None", "hf: its chat answered NoneType, expected text"),
        (
            "import sys; sys.exit(0)",
            "the model's own code ends the program (SystemExit: 0)",
        ),
    ],
)
def test_a_question_without_an_answer_is_unscored_and_the_next_is_asked(
    wrong, reason, stubs, scenes, tmp_path
):
    body = f"if 'Where is' in question:\n    said = asked()\n    {wrong}\nreturn asked()"
    folder = around(stubs["internvl_chat"], tmp_path / "odd", body)
    assert run(f"hf:{folder}", scenes, tmp_path / "run", *TRUSTED) == 1
    lines = lines_of(tmp_path / "run")
    without = {line["task"]: line["unscored"] for line in lines if "unscored" in line}
    assert without == {"spatial": reason}
    assert any(line["task"] == "judgement" and line["response"] for line in lines)


def test_a_model_that_answers_no_text_at_all_ends_the_run(stubs, scenes, tmp_path, capsys):
    folder = around(stubs["internvl_chat"], tmp_path / "odd", "asked()\nreturn None")
    assert run(f"hf:{folder}", scenes, tmp_path / "run", *TRUSTED) == 2
    assert "error: hf: its chat answered NoneType, expected text" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["except Exception", "except BaseException", "except"])
def test_a_chat_that_catches_everything_is_looked_at_all_the_same(kind, stubs, scenes, tmp_path, capsys):
    body = f"try:\n    return asked()\n{kind}:\n    return 'error'"
    seeing = around(stubs["internvl_chat"], tmp_path / "sees", body)
    model = models.load(f"hf:{seeing}", trust_remote_code=True)
    assert sight.look(model, "x", asked(), 3)["change"] > 0
    model.context = 90  # its own `except` does not make an answer of the refusal
    with pytest.raises(InputError, match="up to 4 more, the model has 90 positions"):
        model.sample([asked()], Sampling(max_tokens=4))
    blind = blinded("internvl_chat", seeing)
    assert run(f"hf:{blind}", scenes, tmp_path / "run", *TRUSTED) == 2
    assert "does not see: with noise for frames the log-probs" in capsys.readouterr().err


def test_a_chat_that_does_not_use_its_layer_of_logits_is_told_from_one_without(stubs, tmp_path):
    folder = around(stubs["internvl_chat"], tmp_path / "odd", "return 'Yes'")
    model = models.load(f"hf:{folder}", trust_remote_code=True)
    why = "hf: its chat does not use the layer that gives log-probs"
    assert sight.look(model, "x", asked(), 3) == {"checked": False, "why": why}


def test_code_that_ends_the_program_is_one_line(stubs, scenes, tmp_path, capsys):
    folder = tmp_path / "import"
    shutil.copytree(stubs["internvl_chat"], folder)
    file = folder / "modeling_internvl_chat.py"
    file.write_text(file.read_text() + "\nimport sys; sys.exit(0)\n")
    assert run(f"hf:{folder}", scenes, tmp_path / "run", *TRUSTED) == 2
    assert f"hf:{folder}: cannot be loaded (SystemExit: 0)" in capsys.readouterr().err
    folder = around(stubs["internvl_chat"], tmp_path / "looked", "import sys; sys.exit(0)")
    assert run(f"hf:{folder}", scenes, tmp_path / "run", *TRUSTED) == 2
    assert "ends where it is asked about a clip (SystemExit: 0)" in capsys.readouterr().err
    folder = around(stubs["internvl_chat"], tmp_path / "answering", "asked()\nimport sys; sys.exit(0)")
    found = sight.examined(f"hf:{folder}", trust_remote_code=True)
    assert found["refused"] == "the model's own code ends the program (SystemExit: 0)"


def test_an_interrupt_while_it_answers_still_interrupts(stubs, scenes, tmp_path):
    folder = around(stubs["internvl_chat"], tmp_path / "odd", "asked()\nraise KeyboardInterrupt")
    assert run(f"hf:{folder}", scenes, tmp_path / "run", *TRUSTED) == 130


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return build_stock(tmp_path_factory.mktemp("stock") / "stock", TINY)


FAR = [
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "{far}--evil.Evil"]}}, "AutoTokenizer"),
    ("tokenizer_config.json", {"auto_map": [None, "{far}--evil.Evil"]}, "auto_map"),
    ("processor_config.json", {"auto_map": {"AutoProcessor": "{far}--evil.Evil"}}, "AutoProcessor"),
    (
        "processor_config.json",
        {"image_processor": {"auto_map": {"AutoImageProcessor": [["{far}--evil.Evil"], None]}}},
        "AutoImageProcessor",
    ),
    ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "{far}--evil.Evil"}}, "AutoImage"),
    ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": "o/r--evil.Evil"}}, "AutoVideo"),
    (
        "config.json",
        {"auto_map": {"AutoModelForImageTextToText": "{far}--evil.Evil"}},
        "AutoModelForImageTextToText",
    ),
    ("config.json", {"auto_map": {"AutoModelForImageTextToText": "{far}/evil.Evil"}}, "AutoModelFor"),
]


@pytest.mark.parametrize(("file", "told", "entry"), FAR)
@pytest.mark.parametrize("trusted", [True, False])
def test_code_of_another_place_is_refused_before_anything_is_loaded(
    file, told, entry, trusted, stock, scenes, tmp_path
):
    far, folder, ran = tmp_path / "far", tmp_path / "checkpoint", tmp_path / "ran"
    far.mkdir()
    (far / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Evil:\n    pass\n")
    (far / "config.json").write_text("{}")
    shutil.copytree(stock, folder)
    path = folder / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | json.loads(json.dumps(told).replace("{far}", str(far)))))
    words = rf" {file}: \S*{entry}\S*: its code is in another repository or folder"
    with pytest.raises(InputError, match=words):
        models.load(f"hf:{folder}", trust_remote_code=trusted)
    with pytest.raises(InputError, match=words):
        VllmModel(str(folder), trust_remote_code=trusted)
    suite = Suite("own", str(scenes))
    suite.model.trust_remote_code = trusted
    with pytest.raises(InputError, match=words):
        room_for(f"vllm:{folder}", suite, [])
    assert not ran.exists()


def test_an_unreadable_file_beside_is_no_reason_of_its_own(stock, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(stock, folder)
    (folder / "notes.json").write_bytes(b"\xff{")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "words.json").write_text('{"auto_map": 7, "vocab": {"--": 1, "auto_map": 2}}')
    models.load(f"hf:{folder}")


def run(model: str, scenes, out, *more: str) -> int:
    told = [
        "--suite",
        "scenes",
        "--data",
        str(scenes),
        "--max_videos",
        "2",
        "--tasks",
        "[judgement, spatial]",
    ]
    return cli.guard(
        main, ["run", "--model", model, *told, "--decode.max_tokens", "4", "--out", str(out), *more]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_blind_one_is_refused_before_the_first_question(kind, stubs, scenes, tmp_path, capsys):
    folder = blinded(kind, stubs[kind])
    assert run(f"hf:{folder}", scenes, tmp_path / "run", "--model.trust_remote_code", "true") == 2
    assert "does not see: with noise for frames the log-probs" in capsys.readouterr().err
    assert not (tmp_path / "run/samples.jsonl").exists()
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_run_to_a_report(kind, stubs, scenes, tmp_path):
    out = tmp_path / "run"
    told = ["--model.trust_remote_code", "true", "--decode.n", "2", "--decode.temperature", "1"]
    assert run(f"hf:{stubs[kind]}", scenes, out, *told) == 0
    record = json.loads((out / "run.json").read_text())
    assert record["sight"]["checked"] and record["opened"] == {"trust_remote_code": True}
    assert record["family"]["name"] == kind and record["family"]["boxes"] == "permille"
    assert record["weights"]["digest"] == weights(f"hf:{stubs[kind]}", None)["digest"]
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert {line["attempt"] for line in lines} == {0, 1} and not any("unscored" in line for line in lines)
    assert (out / "report.html").read_text().count("<video") > 0
    usage = [json.loads(line) for line in (out / "usage.jsonl").read_text().splitlines()]
    assert all(line["tokens_in"] > 20 and line["seconds"] > 0 for line in usage) and len(usage) == len(lines)
    before = (out / "samples.jsonl").read_bytes()
    assert run(f"hf:{stubs[kind]}", scenes, out, *told) == 0  # a run that goes on asks nothing again
    assert (out / "samples.jsonl").read_bytes() == before


def test_the_table_shows_them_where_they_are_trusted(stubs, capsys):
    specs = [f"hf:{stubs[kind]}" for kind in KINDS]
    assert cli.guard(main, ["sight", *specs, "--trust_remote_code"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert all("images" in line and " same " in line for line in lines) and len(lines) == 2
    assert cli.guard(main, ["sight", specs[0]]) == 1
    assert "refused: hf:" in capsys.readouterr().out
