"""Each argument of a model has its effect, from the command line and from a suite's file, or is refused in
one line; it stands in run.json, and a run does not go on with another."""

import json
import shutil
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from conftest import SHIPPED
from safetensors.torch import load_file, save_file
from test_openai import Endpoint, request_of

from bench import models, suite
from bench.__main__ import main
from bench.models import openai
from bench.models.base import Sampling
from bench.models.openai import OpenAiModel
from bench.models.options import ModelOptions
from tvad.common import cli
from tvad.common.errors import InputError


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()


@pytest.fixture
def bench(scenes, tmp_path):
    def call(model: str, *more: str, out: str = "run", plan: str = "scenes") -> int:
        told = ["--suite", plan, "--data", str(scenes), "--max_videos", "1", "--tasks", "[judgement]"]
        told += ["--resamples", "5", "--decode.max_tokens", "4", "--out", str(tmp_path / out)]
        return cli.guard(main, ["run", "--model", model, *told, *more])

    return call


def test_only_what_differs_counts_as_given():
    assert ModelOptions().given == {}
    assert ModelOptions(dtype="float32", trust_remote_code=False).given == {"dtype": "float32"}


def test_type_and_attention_of_transformers(scenes):
    plain = models.load(f"hf:{SHIPPED}").model
    other = models.load(f"hf:{SHIPPED}", dtype="bfloat16", attention="eager").model
    assert plain.dtype == torch.float32 and other.dtype == torch.bfloat16
    assert plain.config._attn_implementation == "sdpa" and other.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("hf", {"dtype": "int3"}, "hf: dtype is 'int3', expected one of auto, float32"),
        ("hf", {"attention": "psychic"}, "cannot be loaded"),
        ("hf", {"memory": 0.5}, "hf: unknown option 'memory'; known: budget"),
        ("hf", {"tensor_parallel": 2}, "hf: unknown option 'tensor_parallel'"),
        ("vllm", {"timeout": 3.0}, "vllm: unknown option 'timeout'"),
        ("vllm", {"memory": 3.0}, "vllm: memory is 3, expected a share"),
        ("openai", {"dtype": "float32"}, "openai: unknown option 'dtype'"),
        ("openai", {"retries": -1}, "openai: retries is -1"),
        ("openai", {"timeout": 0.0}, "openai: timeout is 0"),
        ("openai", {"timeout": float("inf")}, "openai: timeout is inf, expected seconds above 0"),
        ("openai", {"wait": -1.0}, "openai: wait is -1, expected seconds, 0 or more"),
        ("openai", {"concurrency": "x"}, "openai: concurrency: expected int, found 'x'"),
        ("openai", {"retries": True}, "openai: retries: expected int, found True"),
        ("openai", {"timeout": [1]}, "openai: timeout: expected float, found "),
        ("openai", {"extra_body": "x"}, "openai: extra_body: expected a mapping, found 'x'"),
        ("openai", {"video": 3}, "openai: video: expected str, found 3"),
        ("openai", {"spec": "x"}, "openai: unknown option 'spec'"),
        ("hf", {"budget": "many"}, "hf: budget: expected int, found 'many'"),
        ("hf", {"path": "x"}, "hf: unknown option 'path'"),
        ("vllm", {"memory": "all"}, "vllm: memory: expected float, found 'all'"),
        ("vllm", {"max_model_len": 1.5}, "vllm: max_model_len: expected int, found 1.5"),
        ("openai", {"concurrency": 0}, "openai: concurrency is 0"),
        ("openai", {"extra_body": {"n": 3}}, "openai: extra_body: 'n' belongs to the run"),
        ("openai", {"extra_body": {"seed": 3}}, r"'seed' belongs to the run \(decode.seed\)"),
        ("baseline", {"family": "llava"}, "baseline: unknown option 'family'"),
    ],
)
def test_what_a_backend_does_not_take_is_refused_by_name(model, options, said):
    spec = {"openai": "openai:m@http://127.0.0.1:9", "baseline": "baseline:random"}.get(
        model, f"{model}:{SHIPPED}"
    )
    with pytest.raises(InputError, match=said):
        models.load(spec, **options)


def engine_arguments(monkeypatch, folder, **options):
    """What vLLM is opened with."""
    vllm = pytest.importorskip("vllm")
    seen = {}

    class Llm:
        def __init__(self, path, **given):
            seen.update(given)
            config = SimpleNamespace(model_type="tvad")
            self.llm_engine = SimpleNamespace(
                vllm_config=SimpleNamespace(model_config=SimpleNamespace(hf_config=config))
            )

    monkeypatch.setattr(vllm, "LLM", Llm)
    models.load(f"vllm:{folder}", **options)
    return seen


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("dtype", "bfloat16", "dtype"),
        ("attention", "FLASH_ATTN", "attention_backend"),
        ("max_model_len", 777, "max_model_len"),
        ("memory", 0.7, "gpu_memory_utilization"),
        ("tensor_parallel", 2, "tensor_parallel_size"),
        ("trust_remote_code", True, "trust_remote_code"),
    ],
)
def test_each_option_reaches_vllm(monkeypatch, key, value, name):
    assert engine_arguments(monkeypatch, SHIPPED)[name] != value
    assert engine_arguments(monkeypatch, SHIPPED, **{key: value})[name] == value


def test_an_engine_is_compiled_where_that_is_asked_for(monkeypatch):
    for asked, on_gpu, compiled in (
        (None, False, False),
        (True, False, True),
        (False, False, False),
        (None, True, True),
        (False, True, False),
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda on_gpu=on_gpu: on_gpu)
        options = {} if asked is None else {"compiled": asked}
        assert engine_arguments(monkeypatch, SHIPPED, **options)["enforce_eager"] is not compiled


def body_of(endpoint, *replies, **options):
    endpoint.replies = list(replies)
    endpoint.seen.clear()
    model = OpenAiModel(f"m@{endpoint.url}", wait=0.001, **options)
    model.sample([request_of()], Sampling(max_tokens=9))
    return [body for _, _, body in endpoint.seen]


def test_the_limit_of_an_answer_goes_by_the_name_that_an_endpoint_takes(endpoint, capsys):
    (body,) = body_of(endpoint, max_completion_tokens=True)
    assert body["max_completion_tokens"] == 9 and "max_tokens" not in body
    refusal = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
    )
    first, second = body_of(endpoint, (400, {"error": {"message": refusal}}))
    assert first["max_tokens"] == 9 and second["max_completion_tokens"] == 9 and "max_tokens" not in second
    assert capsys.readouterr().err.count("is told max_completion_tokens") == 1


def test_further_keys_reach_the_endpoint_and_null_takes_one_away(endpoint):
    (body,) = body_of(endpoint, extra_body={"top_k": 1, "temperature": None, "top_p": 0.5})
    assert body["top_k"] == 1 and "temperature" not in body and body["top_p"] == 0.5


def test_a_clip_travels_as_pictures_with_all_times_behind_them(endpoint):
    (body,) = body_of(endpoint, video="images")
    parts = body["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["image_url"] * 4 + ["text", "text"]
    assert parts[4]["text"] == "These are 4 frames of one video, in order, at 0.00, 0.50, 1.00, 1.50 s.\n"


def test_retries_and_time_limit(endpoint):
    with pytest.raises(InputError, match="answered 503"):
        body_of(endpoint, *[(503, {})] * 3, retries=2)
    assert len(endpoint.seen) == 3
    began = time.monotonic()
    endpoint.server.RequestHandlerClass.do_POST = lambda self: time.sleep(5)
    with pytest.raises(InputError, match=r"cannot be reached \(ReadTimeout\), 1 attempts"):
        OpenAiModel(f"m@{endpoint.url}", timeout=0.2, retries=0).sample([request_of()], Sampling())
    assert time.monotonic() - began < 5


def test_a_reply_that_drips_and_one_without_end(endpoint, monkeypatch):
    handler, more = endpoint.server.RequestHandlerClass, threading.Event()

    def drip(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(100):
                self.wfile.write(b" ")
                if more.wait(0.05):
                    return

    def pour(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(100):
                self.wfile.write(b" " * 100)

    handler.do_POST = drip
    with pytest.raises(InputError, match=r"cannot be reached \(ReadTimeout\), 1 attempts"):
        OpenAiModel(f"m@{endpoint.url}", timeout=0.3, retries=0).sample([request_of()], Sampling())
    more.set()
    handler.do_POST = pour
    monkeypatch.setattr(openai, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="answered more than"):
        OpenAiModel(f"m@{endpoint.url}", retries=0).sample([request_of()], Sampling())


def test_from_the_command_line_and_the_suites_file_into_the_record(bench, endpoint, tmp_path, capsys):
    model = f"openai:m@{endpoint.url}"
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: p\ndata: x\nmodel: {video: images, retries: 3, extra_body: {top_k: 1}}\n")
    assert bench(model, "--model.retries", "1", plan=str(plan)) == 0
    opened = json.loads((tmp_path / "run/run.json").read_text())["opened"]
    assert opened == {"video": "images", "retries": 1, "extra_body": {"top_k": 1}}
    assert endpoint.seen[-1][2]["top_k"] == 1
    # A run goes on with other patience, not with another body.
    assert bench(model, "--model.timeout", "9", plan=str(plan)) == 0
    assert bench(model, "--model.extra_body.top_k", "2", plan=str(plan)) == 2
    assert "its model was opened with extra_body {'top_k': 1}, not {'top_k': 2}" in capsys.readouterr().err
    assert bench(model, "--model.dtyp", "float32", out="three") == 2
    assert "unknown key 'dtyp'; did you mean 'dtype'?" in capsys.readouterr().err
    assert bench(model, "--model.dtype", "float32", out="three") == 2
    assert "openai: unknown option 'dtype'" in capsys.readouterr().err
    assert not (tmp_path / "three/run.json").exists()


def test_an_option_of_transformers_from_the_command_line(bench, tmp_path):
    assert bench(f"hf:{SHIPPED}", "--model.dtype", "bfloat16", "--model.attention", "eager") == 0
    opened = json.loads((tmp_path / "run/run.json").read_text())["opened"]
    assert opened == {"dtype": "bfloat16", "attention": "eager"}


def test_a_suite_of_a_file_has_a_block_for_the_model(tmp_path):
    (tmp_path / "s.yaml").write_text("name: s\ndata: d\nmodel: {dtype: float32}\n")
    assert suite.read(str(tmp_path / "s.yaml")).model.given == {"dtype": "float32"}
    (tmp_path / "s.yaml").write_text("name: s\ndata: d\nmodel: {memory: much}\n")
    with pytest.raises(InputError, match="model: memory: expected float, found 'much'"):
        suite.read(str(tmp_path / "s.yaml"))


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("score answers.jsonl", "--model.dtype", "float32"),
        ("score answers.jsonl", "--decode.n", "3"),
        ("import log.jsonl", "--odds", "true"),
        ("handout --task mcq --format inspect", "--model.memory", "0.5"),
    ],
)
def test_a_command_that_asks_no_model_takes_no_option_of_how(command, option, value, tmp_path, capsys):
    """A suite's file may hold it for `bench run`."""
    name = command.split()[0]
    (tmp_path / "s.yaml").write_text("name: s\ndata: none\nmodel: {dtype: float32}\nodds: true\n")
    told = [*command.split(), "--suite", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out")]
    assert cli.guard(main, [*told, option, value]) == 2
    assert f"{option}: bench {name} does nothing by it" in capsys.readouterr().err
    assert cli.guard(main, told) == 2 and "none" in capsys.readouterr().err  # the data, which is missing
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert f"{option.partition('.')[0]} " not in capsys.readouterr().out


CODE = """
from transformers import LlavaConfig, LlavaForConditionalGeneration
class OddConfig(LlavaConfig):
    model_type = "odd_llava"
class OddModel(LlavaForConditionalGeneration):
    config_class = OddConfig
"""


def test_code_that_a_checkpoint_brings_runs_only_when_asked_for(families, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(families / "llava15", folder)
    (folder / "odd.py").write_text(CODE)
    # transformers maps old names of weights by a model's type, which this one is of no longer.
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights.pop("language_model.lm_head.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    told = json.loads((folder / "config.json").read_text())
    told |= {"model_type": "odd_llava", "architectures": ["OddModel"]}
    told["auto_map"] = {"AutoConfig": "odd.OddConfig", "AutoModelForImageTextToText": "odd.OddModel"}
    (folder / "config.json").write_text(json.dumps(told))
    for kind in ("hf", "vllm"):
        with pytest.raises(
            InputError, match=r"brings code of its own, which --model\.trust_remote_code true would"
        ):
            models.load(f"{kind}:{folder}")
    model = models.load(f"hf:{folder}", trust_remote_code=True)
    assert type(model.model).__name__ == "OddModel" and model.given.form == "images"
    assert model.known.by == "model_type 'odd_llava' is not known"
    assert len(model.sample([request_of()], Sampling(max_tokens=3))[0][0].ids) <= 3
