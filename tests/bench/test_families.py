"""Families that this project did not make (../shared/foreign builds them at tiny sizes, with templates of the
published structure): frames reach each, or it is refused in one line; none is scored blind."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, SHIPPED
from minicpm_checkpoint import build_minicpm
from safetensors.torch import load_file, save_file
from stock_checkpoint import build_stock
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from bench import sight, suite
from bench.__main__ import main
from bench.models.base import Request, Sampling
from bench.models.clips import Given, given_to, made
from bench.models.hf import HfModel
from bench.models.lengths import room_for
from bench.models.vllm import VllmModel
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.data.dataset import ClipStore
from tvad.prompts import SYSTEM, asked, messages

# How each is given a clip; paligemma has no chat template.
GIVEN = {
    **dict.fromkeys(("qwen2vl", "qwen25vl", "qwen3vl", "glm4v"), Given("video")),
    **dict.fromkeys(("llava_ov", "llava_next_video", "video_llava", "internvl"), Given("video", alike=True)),
    "smolvlm2": Given("nested", alike=True),
    **dict.fromkeys(("idefics2", "idefics3"), Given("images", alike=True)),
    **dict.fromkeys(("llava15", "llava_next", "gemma3"), Given("images")),
}
QUESTION = "Is there an anomaly?"


def opened(folder) -> HfModel:
    model = HfModel.open(str(folder))
    if folder.name == "gemma3":  # its projector begins at zero
        torch.nn.init.normal_(model.model.model.multi_modal_projector.mm_input_projection_weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def minicpm(tmp_path_factory):
    return build_minicpm(tmp_path_factory.mktemp("minicpm") / "minicpmv46")


def folder_of(family, request):
    """../shared/foreign has all but MiniCPM-V 4.6."""
    if family == "minicpmv46":
        return request.getfixturevalue("minicpm")
    return request.getfixturevalue("families") / family


@pytest.mark.parametrize("family", [*GIVEN, "minicpmv46"])
def test_a_family_sees_and_answers_a_batch_as_single_questions(family, request):
    model = opened(folder_of(family, request))
    assert model.given == GIVEN.get(family, Given("video", alike=True))
    requests = [
        Request(messages(QUESTION), made(6, (90, 120), 1), key="0"),
        Request(messages("When, and where in the picture?"), made(4, (120, 90), 2), key="1"),
    ]
    found = sight.look(model, family, requests[0], 3)
    assert found["checked"] and found["change"] > found["again"] == 0
    sampling = Sampling(n=2, temperature=1.0, max_tokens=6)
    together = model.sample(requests, sampling)
    alone = [model.sample([request], sampling)[0] for request in requests]
    assert [[c.ids for c in row] for row in together] == [[c.ids for c in row] for row in alone]
    assert together[0][0].ids != together[0][1].ids


@pytest.mark.parametrize("family", GIVEN)
def test_what_is_said_and_when_frames_are_is_in_the_prompt(family, families):
    processor = AutoProcessor.from_pretrained(families / family)
    model = HfModel(torch.nn.Linear(1, 1), processor)
    model.given = given_to(processor, family)
    text = model.rendered(Request(messages(QUESTION), made(3, (60, 60), 0)))
    assert SYSTEM in text and QUESTION in text
    assert ("3 frames of one video, in order, at 0.00, 0.50, 1.00 s" in text) == (
        GIVEN[family].form == "images"
    )


def test_a_clip_of_one_frame_is_one_picture(families):
    model = opened(families / "llava15")
    request = Request(messages(QUESTION), made(1, (90, 120), 1))
    assert "These are 1 frames of one video, in order, at 0.00 s" in model.rendered(request)
    assert len(model._inputs([request])["pixel_values"]) == 1
    assert sight.look(model, "llava15", request, 3)["checked"]


def test_a_template_beside_the_tokenizer_counts(families):
    processor = AutoProcessor.from_pretrained(families / "llava15")
    processor.tokenizer.chat_template, processor.chat_template = processor.chat_template, None
    assert given_to(processor, "x") == GIVEN["llava15"]


def test_a_model_without_a_chat_template_is_refused(families):
    with pytest.raises(InputError, match="paligemma: has no chat template; put the published"):
        HfModel.open(str(families / "paligemma"))


def test_a_template_without_system_turns_gets_its_text_in_the_users(families):
    processor = AutoProcessor.from_pretrained(families / "llava15")
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    dropping = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}"
    for opening in (refusing, dropping):
        processor.chat_template = opening + processor.chat_template
        assert given_to(processor, "x").folded
    model = HfModel(torch.nn.Linear(1, 1), processor)
    model.given = given_to(processor, "x")
    assert SYSTEM in model.rendered(Request(messages(QUESTION), made(3, (60, 60), 0)))


def test_a_template_that_drops_every_clip_is_refused(families):
    processor = AutoProcessor.from_pretrained(families / "qwen25vl")
    processor.chat_template = (
        "{% for m in messages %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}"
    )
    with pytest.raises(
        InputError, match=r"x: no clip reaches this model .*as a video: its chat template drops it"
    ):
        given_to(processor, "x")


def test_a_prompt_beyond_the_models_positions_is_refused(families):
    model = opened(families / "llava15")
    model.model.config.text_config.max_position_embeddings = 60
    with pytest.raises(
        InputError, match=r"a prompt of .* tokens and up to 6 more, the model has 60 positions"
    ):
        model.sample([Request(messages(QUESTION), made(6, (90, 120), 1))], Sampling(max_tokens=6))


def test_vllm_is_shown_a_family_without_videos_as_images(families, scenes, monkeypatch):
    """SmolVLM2, of which transformers has a video and vLLM has none; without an engine."""
    vllm = pytest.importorskip("vllm")
    seen = {}

    def opened_with(path, **given):
        seen.update(given)
        config = AutoConfig.from_pretrained(path)
        model_config = SimpleNamespace(hf_config=config)
        return SimpleNamespace(
            llm_engine=SimpleNamespace(vllm_config=SimpleNamespace(model_config=model_config))
        )

    monkeypatch.setattr(vllm, "LLM", opened_with)
    folder = families / "smolvlm2"
    plan = suite.read("scenes", ["--data", str(scenes), "--max_videos", "2", "--tasks", "[judgement]"])
    _, items = suite.load(plan)
    room = room_for(f"vllm:{folder}", plan, items)
    model = VllmModel(str(folder), **room)
    assert model.given.form == "images" and seen["limit_mm_per_prompt"] == {
        "image": plan.max_frames,
        "video": 0,
    }
    request = Request(messages(QUESTION), made(6, (90, 120), 1))
    told = model._input(request)
    assert [picture.size for picture in told["multi_modal_data"]["image"]] == [(120, 90)] * 6
    assert "6 frames of one video, in order, at 0.00, 0.50" in told["prompt"]
    # The room is what the longest prompt of the suite takes in transformers, and its answer.
    store = ClipStore(plan.rate, plan.max_frames)
    asks = [Request(asked(i.question, plan.prompt, "clip"), store.frames(i.sample)) for i in items]
    given = [model.given.encoded(model.processor, [model.rendered(ask)], [ask.frames]) for ask in asks]
    longest = max(inputs["input_ids"].shape[1] for inputs in given)
    assert room == {"max_model_len": longest + plan.decode.max_tokens, "max_frames": plan.max_frames}


def test_a_family_that_vllms_classes_end_at_is_left_to_the_engine(families, scenes, monkeypatch):
    """Idefics2's processor lacks what vLLM asks of it: an AttributeError."""

    def ends(path, trusted):
        raise AttributeError("_get_num_multimodal_tokens")

    monkeypatch.setattr("bench.models.vllm.forms_of", ends)
    plan = suite.read("scenes", ["--data", str(scenes), "--max_videos", "1", "--tasks", "[judgement]"])
    assert room_for(f"vllm:{families / 'idefics2'}", plan, suite.load(plan)[1]) == {}


# What vLLM 0.31 opens at these sizes; what it refuses, and why: docs/measurements/families.md.
QWENS = ("qwen2vl", "qwen25vl", "qwen3vl")
LLAVAS = ("llava15", "llava_next", "llava_ov")
IN_VLLM = (*QWENS, *LLAVAS, "glm4v", "internvl", "idefics3", "smolvlm2")
# The tiny tokenizer has no line break of its own; vLLM has no class for the others.
NOT_IN_VLLM = {
    "gemma3": "cannot be loaded (KeyError: ",
    "idefics2": "cannot be loaded (AttributeError: 'Idefics2Processor' object has no attribute",
    "video_llava": "cannot be loaded (AttributeError: 'VideoLlavaProcessor' object has no attribute",
}


def published(folder, out):
    """A copy whose weights are named as they are published: transformers 5.17 saves the towers of CLIP and of
    SigLIP without `vision_model`."""
    shutil.copytree(folder, out)
    named = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): value
        for name, value in load_file(out / "model.safetensors").items()
    }
    save_file(named, out / "model.safetensors", {"format": "pt"})
    return out


@pytest.mark.slow
@pytest.mark.parametrize("family", IN_VLLM)
def test_vllm_sees_and_answers_a_batch_as_single_questions(family, families, tmp_path):
    """An engine of its own each: a process."""
    pytest.importorskip("vllm")
    folder = families / family
    if family in LLAVAS:
        folder = published(folder, tmp_path / family)
    command = [sys.executable, "-m", "bench", "sight", f"vllm:{folder}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0 and " same " in done.stdout, done.stdout + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("family", NOT_IN_VLLM)
def test_what_vllm_does_not_open_is_one_line(family, families):
    pytest.importorskip("vllm")
    command = [sys.executable, "-m", "bench", "sight", f"vllm:{families / family}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 1 and NOT_IN_VLLM[family] in done.stdout, done.stdout + done.stderr[-2000:]
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A stock checkpoint whose projector gives nothing."""
    folder = build_stock(tmp_path_factory.mktemp("stock"))
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    for parameter in model.model.visual.merger.parameters():
        torch.nn.init.zeros_(parameter)
    model.save_pretrained(folder)
    return folder


def run(model: str, scenes, out, *more: str) -> int:
    told = ["--suite", "scenes", "--data", str(scenes), "--max_videos", "2", "--tasks", "[judgement]"]
    return cli.guard(
        main, ["run", "--model", model, *told, "--decode.max_tokens", "4", "--out", str(out), *more]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind", "unit"),
    [
        ("qwen25vl", "qwen2_5_vl", "pixels"),
        ("llava_next", "llava_next", "unit"),
        ("idefics2", "idefics2", "permille"),
        ("internvl", "internvl", "permille"),
        ("minicpmv46", "minicpmv4_6", "permille"),
    ],
)
def test_a_baseline_of_the_papers_goes_to_a_report(family, kind, unit, request, scenes, tmp_path):
    """Those that transformers has a class for; the others: tests/bench/test_remote_code.py."""
    out = tmp_path / "run"
    asked = ["--tasks", "[mcq, judgement, temporal, spatial]", "--odds", "true"]
    assert run(f"hf:{folder_of(family, request)}", scenes, out, *asked) == 0
    record = json.loads((out / "run.json").read_text())
    assert record["sight"]["checked"] and record["sight"]["change"] > record["sight"]["again"]
    assert record["family"]["name"] == kind and record["family"]["boxes"] == unit
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert {line["task"] for line in lines} == {"mcq", "judgement", "temporal", "spatial"}
    assert all(line["read_by"]["boxes"] == unit and "unscored" not in line for line in lines)
    assert {"mcq.accuracy", "temporal.miou"} <= json.loads((out / "metrics.json").read_text()).keys()
    assert (out / "report.html").read_text().count("<video") > 0


def test_a_blind_checkpoint_is_refused_before_the_first_question(blind, scenes, tmp_path, capsys):
    assert run(f"hf:{blind}", scenes, tmp_path / "run") == 2
    assert "does not see: with noise for frames the log-probs" in capsys.readouterr().err
    assert not (tmp_path / "run/samples.jsonl").exists()


def test_the_table_says_who_sees(blind, capsys):
    assert cli.guard(main, ["sight", f"hf:{blind}", f"hf:{SHIPPED}", "baseline:random"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "does not see" in lines[1] and "a video" in lines[2] and " same " in lines[2]
    assert "looks at nothing" in lines[3]


@contextlib.contextmanager
def endpoint(log_probs):
    """A chat endpoint; log_probs: of a request's body, the entries of its first token, None without."""

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            choice = {"message": {"content": "<answer>Yes</answer>"}}
            if "logprobs" in json.loads(body) and (entries := log_probs(body)) is not None:
                choice["logprobs"] = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": entries}]}
            reply = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"openai:m@http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def entries(*values):
    return [{"token": "ab"[n], "logprob": value} for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("log_probs", "status", "recorded"),
    [
        (lambda body: None, 0, {"checked": False, "why": "openai gives no log-probs"}),
        (lambda body: [], 0, {"checked": False, "why": "openai gives no log-probs"}),
        (lambda body: entries(-0.5, -1.5), 2, None),
        (lambda body: entries(-0.5, -1 - len(body) % 997 / 997), 0, {"checked": True}),
    ],
)
def test_an_endpoint_is_looked_at_where_it_gives_log_probs(log_probs, status, recorded, scenes, tmp_path):
    with endpoint(log_probs) as model:  # JPEG: x264 does not give the same bytes every time
        assert run(model, scenes, tmp_path / "run", "--video", "frames") == status
        assert (tmp_path / "run/run.json").exists() == (status == 0)
        if recorded:
            found = json.loads((tmp_path / "run/run.json").read_text())["sight"]
            assert recorded.items() <= found.items()


def test_how_far_two_tables_are_apart():
    assert sight.apart({1: -1.0, 2: -2.0}, {1: -1.25, 2: -2.0}) == 0.25
    assert (
        sight.apart({1: -1.0, 2: -2.0}, {1: -1.0, 3: -4.0}) == 2.0
    )  # what is not named is at most the least
    assert np.isclose(sight.apart({1: -1.0}, {1: -1.0}), 0)
