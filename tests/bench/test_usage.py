"""What answers cost: as endpoints of several makers state it, as engines count it, and as a run keeps it
through kills, processes and the cache, sums it and prints it."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from clip_files import write_clip
from conftest import ROOT
from stock_checkpoint import TINY, build_stock
from test_openai import Endpoint, clip_of, request_of

from bench import suite as suites
from bench import usage
from bench.__main__ import main
from bench.cache import ResponseCache
from bench.compare import compare, pairs
from bench.models import load as load_model
from bench.models.base import Request, Sampling, Usage
from bench.models.baseline import Baseline
from bench.models.openai import OpenAiModel
from bench.run import run
from bench.run_folder import Shard
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, save
from tvad.prompts import messages

# As the makers' documents print them.
OPENAI = {
    "prompt_tokens": 1117,
    "completion_tokens": 46,
    "total_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
OPENROUTER = {
    "completion_tokens": 2,
    "completion_tokens_details": {"reasoning_tokens": 0},
    "cost": 0.95,
    "cost_details": {"upstream_inference_cost": 19},
    "prompt_tokens": 194,
    "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
    "total_tokens": 196,
}
VLLM = {"prompt_tokens": 31, "total_tokens": 41, "completion_tokens": 10, "prompt_tokens_details": None}
PRICES = {"price_in": 2.0, "price_out": 10.0}


XAI = {"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}}
NO_OUT = Usage(31, None, finish="stop")


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()


def reply(*texts, finish="stop", more=(), **told):
    choices = [
        {"index": n, "message": {"content": text}, "finish_reason": finish} | (more[n] if more else {})
        for n, text in enumerate(texts)
    ]
    return 200, {"choices": choices, **told}


def asked(endpoint, *replies, n=1, **options):
    endpoint.replies = list(replies)
    model = OpenAiModel(f"m@{endpoint.url}", wait=0.2, concurrency=1, **options)
    return [completion.usage for completion in model.sample([request_of()], Sampling(n, 0.7))[0]]


def timeless(found):
    assert all(one.seconds > 0 for one in found)
    return [replace(one, seconds=None) for one in found]


@pytest.mark.parametrize(
    "told, found",
    [
        ({"usage": OPENAI}, Usage(1117, 46, finish="stop")),
        ({"usage": OPENROUTER}, Usage(194, 2, finish="stop", cost=0.95)),
        ({"usage": VLLM}, Usage(31, 10, finish="stop")),
        ({"usage": None}, Usage(finish="stop")),
        ({}, Usage(finish="stop")),
        ({"usage": [1, 2]}, Usage(finish="stop")),
        ({"usage": "31 tokens"}, Usage(finish="stop")),
        ({"usage": VLLM | {"prompt_tokens": "31"}}, Usage(None, 10, finish="stop")),
        ({"usage": VLLM | {"prompt_tokens": {"total": 31}}}, Usage(None, 10, finish="stop")),
        ({"usage": VLLM | {"prompt_tokens": -31}}, Usage(None, 10, finish="stop")),
        ({"usage": VLLM | {"prompt_tokens": 0}}, Usage(None, 10, finish="stop")),
        ({"usage": VLLM | {"completion_tokens": 0}}, Usage(31, None, finish="stop")),
        ({"usage": VLLM | {"completion_tokens": True}}, Usage(31, None, finish="stop")),
        ({"usage": VLLM | {"completion_tokens": 10.5}}, Usage(31, None, finish="stop")),
        ({"usage": VLLM | {"completion_tokens": float("nan")}}, Usage(31, None, finish="stop")),
        ({"usage": VLLM | {"completion_tokens": 10**400}}, Usage(31, None, finish="stop")),
        *(
            ({"usage": VLLM | {"cost": cost}}, Usage(31, 10, finish="stop"))
            for cost in (-1, "0.1", float("nan"), float("inf"), 10**400, None, False, [0.1])
        ),
        ({"usage": VLLM | {"cost": 0}}, Usage(31, 10, finish="stop", cost=0.0)),
        # xAI counts reasoning beside the answer, OpenAI within it: the total tells.
        ({"usage": {**XAI, "total_tokens": 135}}, Usage(32, 103, finish="stop")),
        ({"usage": {**XAI, "total_tokens": 41}}, Usage(32, 9, finish="stop")),
        ({"usage": VLLM | {"completion_tokens": None}, "more": [{"logprobs": {"content": []}}]}, NO_OUT),
        ({"usage": VLLM, "finish": "eos_token"}, Usage(31, 10, finish="eos_token")),
        *(
            ({"usage": VLLM, "finish": finish}, Usage(31, 10))
            for finish in (None, 7, ["stop"], "", "stop\x1b[2J", "x" * 65)
        ),
    ],
)
def test_what_an_endpoint_states_and_what_is_no_number(endpoint, told, found):
    assert timeless(asked(endpoint, reply("B", **told))) == [found]


def test_answers_of_one_request_share_what_is_stated_of_all(endpoint):
    texts = "A" * 99, "B" * 49, ""
    told = {"prompt_tokens": 60, "completion_tokens": 31, "cost": 0.3}
    found = timeless(asked(endpoint, reply(*texts, usage=told), n=3))
    assert [one.tokens_out for one in found] == [21, 10, 0] and all(one.shared for one in found)
    assert [(one.tokens_in, one.cost) for one in found] == [(60, pytest.approx(0.1))] * 3
    # vLLM's server lists them where it is asked to (return_token_ids), others with log-probs.
    listed = [{"token_ids": [7] * n} for n in (3, 28, 0)]
    found = asked(endpoint, reply(*texts, usage=told, more=listed), n=3)
    assert [one.tokens_out for one in found] == [3, 28, 0] and not any(one.shared for one in found)
    named = [{"logprobs": {"content": [{"token": "a"}] * n}} for n in (30, 1, 0)]
    found = asked(endpoint, reply(*texts, usage=told, more=named), n=3)
    assert [one.tokens_out for one in found] == [30, 1, 0] and not any(one.shared for one in found)
    # A list that does not add up to what is stated is not of all tokens.
    found = asked(endpoint, reply(*texts, usage=told, more=[{"token_ids": [7]}] * 3), n=3)
    assert sum(one.tokens_out for one in found) == 31 and all(one.shared for one in found)
    assert [one.tokens_out for one in asked(endpoint, reply(*texts), n=3)] == [None] * 3


def test_prices_stand_in_where_no_cost_is_stated(endpoint):
    assert [u.cost for u in asked(endpoint, reply("B", usage=VLLM), **PRICES)] == [
        pytest.approx((31 * 2 + 10 * 10) / 1e6)
    ]
    both = asked(endpoint, reply("A", "BBB", usage=VLLM), n=2, **PRICES)
    assert sum(u.cost for u in both) == pytest.approx((31 * 2 + 10 * 10) / 1e6)
    assert both[0].cost < both[1].cost
    assert asked(endpoint, reply("B", usage=OPENROUTER), **PRICES)[0].cost == 0.95
    assert asked(endpoint, reply("B"), **PRICES)[0].cost is None
    for options, words in (
        ({"price_in": 1.0}, "price_in without price_out"),
        ({"price_out": 0.0}, "price_out without price_in"),
        ({"price_in": -1.0, "price_out": 1.0}, "price_in is -1, expected 0 to"),
        ({"price_in": 1.0, "price_out": float("nan")}, "price_out is nan, expected 0 to"),
    ):
        with pytest.raises(InputError, match=words):
            OpenAiModel(f"m@{endpoint.url}", **options)


def test_seconds_are_those_of_the_request_with_what_was_tried_again(endpoint):
    (slow,) = asked(endpoint, (503, b"busy"), reply("B"))
    (quick,) = asked(endpoint, reply("B"))
    assert slow.seconds > 0.2 > quick.seconds  # at least the pause
    pair = asked(endpoint, (503, b"busy"), reply("A", "B"), n=2)
    assert pair[0].seconds == pair[1].seconds and 0.1 < pair[0].seconds < slow.seconds


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return load_model(f"hf:{build_stock(tmp_path_factory.mktemp('stock'), TINY)}")


def short_and_long():
    return [request_of("Why?"), Request(messages("What happens in this long clip? " * 5), clip_of(8))]


def test_a_stock_model_counts_what_its_processor_gives(stock):
    requests = short_and_long()
    alone = [stock.processor(**parts_of(stock, r))["input_ids"].shape[1] for r in requests]
    assert alone[0] < alone[1]
    found = stock.sample(requests, Sampling(max_tokens=5))  # in one pass, padded
    assert [completions[0].usage.tokens_in for completions in found] == alone
    assert [(c.usage.tokens_out, c.usage.finish, c.cut) for (c,) in found] == [(5, "length", "length")] * 2
    assert found[0][0].usage.seconds == found[1][0].usage.seconds > 0
    twice = stock.sample(requests, Sampling(2, 1.0, max_tokens=3))
    assert [[c.usage.tokens_in for c in completions] for completions in twice] == [[n, n] for n in alone]
    assert not found[0][0].usage.shared and found[0][0].usage.cost is None


def parts_of(stock, request):
    """What the processor is called with, said here anew."""
    from transformers.video_utils import VideoMetadata

    text = stock.processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    clip = request.frames
    return {
        "text": [text],
        "videos": [clip.pictures().transpose(0, 3, 1, 2)],
        "video_metadata": [VideoMetadata(**clip.metadata)],
        "do_sample_frames": False,
        "return_tensors": "pt",
    }


def test_an_answer_ends_by_its_own_token_or_is_cut(stock, monkeypatch):
    requests = short_and_long()
    first, second = (c.ids for (c,) in stock.sample(requests, Sampling(max_tokens=4)))
    end = next(token for token in first[:-1] if token not in second)
    monkeypatch.setattr(stock.model.generation_config, "eos_token_id", [end])
    (one,), (other,) = stock.sample(requests, Sampling(max_tokens=4))
    assert (one.usage.tokens_out, one.usage.finish, one.cut) == (
        first.index(end) + 1,
        "stop",
        None,
    )  # the rest is padding
    assert (other.usage.tokens_out, other.usage.finish, other.cut) == (4, "length", "length")
    assert second[3] not in second[:3]
    monkeypatch.setattr(stock.model.generation_config, "eos_token_id", [second[3]])
    (last,) = stock.sample(requests[1:], Sampling(max_tokens=4))[0]
    assert (last.usage.finish, last.cut) == ("stop", None)  # by its very last token


def test_both_engines_count_alike(engine, checkpoint):
    requests = short_and_long()
    theirs = engine.sample(requests, Sampling(max_tokens=6))
    ours = load_model(f"hf:{checkpoint}").sample(requests, Sampling(max_tokens=6))
    for (one,), (other,), ids in zip(ours, theirs, engine.prompt_ids, strict=True):
        assert replace(one.usage, seconds=None) == replace(other.usage, seconds=None)
        assert one.usage.tokens_in == len(ids) and one.cut == other.cut and other.usage.seconds > 0
    drawn = load_model(f"hf:{checkpoint}").sample(requests, Sampling(2, 1.0, max_tokens=3))
    assert [[c.usage.tokens_in for c in some] for some in drawn] == [[len(i)] * 2 for i in engine.prompt_ids]


@pytest.fixture
def plan(tmp_path):
    folder = tmp_path / "data"
    write_clip(folder / "videos/x.mp4", frames=20)
    video = Video("videos/x.mp4")
    questions = (Question("judgement", "Is there an anomaly?", "No"),)
    save([Sample(f"v{n}", "s", "test", video, "normal", questions=questions) for n in range(6)], folder)
    (tmp_path / "s.yaml").write_text(f"name: own\ndata: {folder}\ntasks: [judgement]\nresamples: 5\n")
    return suites.Suite("own", str(folder), ["judgement"], resamples=5)


def lines_of(folder, name="usage.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def costly(endpoint, n=6, **more):
    """What a whole run is answered, the look whether it sees first."""
    endpoint.replies = [reply("No")] * bool(n == 6)
    endpoint.replies += [reply("No", usage=VLLM | {"prompt_tokens": 31 + k} | more) for k in range(n)]
    return OpenAiModel(f"m@{endpoint.url}", concurrency=1)


def test_a_run_keeps_a_line_an_answer_and_samples_stay_the_same(endpoint, plan, tmp_path):
    for name in ("a", "b"):
        run(costly(endpoint, cost=0.5), "m", plan, tmp_path / name)
    assert (tmp_path / "a/samples.jsonl").read_bytes() == (tmp_path / "b/samples.jsonl").read_bytes()
    lines = lines_of(tmp_path / "a")
    seconds = [line.pop("seconds") for line in lines]
    assert lines == [
        {"id": f"v{n}#0", "attempt": 0, "tokens_in": 31 + n, "tokens_out": 10, "finish": "stop", "cost": 0.5}
        for n in range(6)
    ]
    found = usage.read(tmp_path / "a")
    assert found.of["tokens_in"] == usage.Sum(31 * 6 + 15, 33.5, 6)
    assert found.of["cost"] == usage.Sum(3.0, 0.5, 6) and found.finish == {"stop": 6}
    assert found.of["seconds"].sum == pytest.approx(sum(seconds)) and (found.answers, found.cached) == (6, 0)


def test_a_prompt_is_summed_once_however_often_it_is_answered(endpoint, plan, tmp_path):
    endpoint.replies = [reply("No"), *[reply("No", "Yes", usage=VLLM | {"cost": 1}) for _ in range(6)]]
    drawn = replace(plan, decode=suites.Decode(n=2, temperature=1.0))
    run(OpenAiModel(f"m@{endpoint.url}", concurrency=1), "m", drawn, tmp_path / "run")
    assert [line["attempt"] for line in lines_of(tmp_path / "run")] == [0, 1] * 6
    of = usage.read(tmp_path / "run").of
    assert of["tokens_in"] == usage.Sum(31 * 6, 31, 12) and of["tokens_out"] == usage.Sum(60, 5, 12)
    assert of["cost"] == usage.Sum(6.0, 0.5, 12)


def test_a_baseline_costs_nothing_that_is_known(plan, tmp_path, capsys):
    command = ["run", "--model", "baseline:oracle", "--suite", str(tmp_path / "s.yaml"), "--out"]
    assert main([*command, str(tmp_path / "run")]) == 0
    assert not [file.name for file in (tmp_path / "run").iterdir() if file.name.startswith("usage")]
    assert "what answers cost" not in capsys.readouterr().out


def test_a_kill_between_what_it_cost_and_the_answer_leaves_no_double(endpoint, plan, tmp_path):
    run(costly(endpoint), "m", plan, tmp_path / "whole")
    part = tmp_path / "part"
    run(costly(endpoint), "m", plan, part)
    for name, kept in (("samples.jsonl", 2), ("usage.jsonl", 3)):  # v2's answer is lost
        text = (part / name).read_text().splitlines(keepends=True)
        (part / name).write_text("".join(text[:kept]) + '{"id": "cut by a ki')
    (part / "metrics.json").unlink()
    before = lines_of_whole(part)
    endpoint.replies = [reply("No", usage=VLLM | {"prompt_tokens": 90 + k}) for k in range(4)]
    run(OpenAiModel(f"m@{endpoint.url}", concurrency=1), "m", plan, part)
    after = lines_of(part)
    assert [line["id"] for line in after] == [f"v{n}#0" for n in range(6)] and after[:2] == before[:2]
    assert [line["tokens_in"] for line in after] == [31, 32, 90, 91, 92, 93]
    assert (part / "samples.jsonl").read_bytes() == (tmp_path / "whole/samples.jsonl").read_bytes()


def lines_of_whole(folder):
    text = (folder / "usage.jsonl").read_text()
    return [json.loads(line) for line in text[: text.rfind("\n")].splitlines()]


@pytest.mark.slow
def test_a_killed_process_leaves_what_its_answers_cost(endpoint, plan, tmp_path):
    """A real one, by SIGKILL, at an endpoint that takes its time."""
    handler = endpoint.server.RequestHandlerClass
    at_once = handler.do_POST

    def slow(self):
        time.sleep(0.15)
        at_once(self)

    handler.do_POST = slow
    command = ["run", "--model", f"openai:m@{endpoint.url}", "--suite", str(tmp_path / "s.yaml")]
    command += ["--concurrency", "1", "--out", str(tmp_path / "run")]
    costly(endpoint)
    answers = tmp_path / "run/samples.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "bench", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (answers.exists() and answers.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held = {line["id"]: line for line in lines_of_whole(tmp_path / "run")}
    kept = [json.loads(line)["id"] for line in answers.read_text().splitlines()]
    assert 2 <= len(kept) < 6 and set(kept) <= held.keys()
    handler.do_POST = at_once
    endpoint.replies = [reply("No", usage=VLLM)] * 6
    assert main(command) == 0
    lines = lines_of(tmp_path / "run")
    assert [line["id"] for line in lines] == [f"v{n}#0" for n in range(6)]
    assert [line for line in lines if line["id"] in kept] == [held[name] for name in kept]


def test_two_processes_join_what_theirs_cost(endpoint, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(Shard, "wait", lambda self: None)
    run(costly(endpoint), "m", plan, tmp_path / "run", shard=Shard(1, 2))
    assert [line["id"] for line in lines_of(tmp_path / "run", "usage.1.jsonl")] == ["v1#0", "v3#0", "v5#0"]
    run(costly(endpoint), "m", plan, tmp_path / "run", shard=Shard(0, 2))
    assert [line["id"] for line in lines_of(tmp_path / "run")] == [f"v{n}#0" for n in range(6)]
    assert usage.read(tmp_path / "run").of["tokens_out"] == usage.Sum(60, 10, 6)
    assert not list((tmp_path / "run").glob("usage.*.jsonl"))


def test_what_retry_asks_has_its_cost(endpoint, plan, tmp_path):
    costly(endpoint)
    endpoint.replies[3] = 400, {"error": "no"}
    command = ["run", "--model", f"openai:m@{endpoint.url}", "--suite", str(tmp_path / "s.yaml")]
    assert main([*command, "--concurrency", "1", "--out", str(tmp_path / "run")]) == 1
    assert [line["id"] for line in lines_of(tmp_path / "run")] == [f"v{n}#0" for n in (0, 1, 3, 4, 5)]
    assert usage.read(tmp_path / "run").answers == 5
    costly(endpoint, 1, cost=2)
    assert main(["retry", str(tmp_path / "run")]) == 0
    assert [(line["id"], line.get("cost")) for line in lines_of(tmp_path / "run")][2] == ("v2#0", 2.0)
    assert usage.read(tmp_path / "run").of["cost"] == usage.Sum(2.0, 2.0, 1)


def test_an_answer_from_the_cache_has_its_tokens_and_costs_nothing(endpoint, plan, tmp_path):
    for name in ("a", "b"):
        cache = ResponseCache(tmp_path / "cache", "m")
        run(costly(endpoint, cost=0.5), "m", plan, tmp_path / name, cache)
    assert lines_of(tmp_path / "b")[0] == {
        **{"id": "v0#0", "attempt": 0, "tokens_in": 31, "tokens_out": 10, "finish": "stop"},
        "cached": True,
    }
    found = usage.read(tmp_path / "b")
    assert found.cached == 6 and found.of == {}
    assert usage.rows(found)[-1] == ["from the cache", "6", "100.0%", "6 of 6"]
    assert (tmp_path / "a/samples.jsonl").read_bytes() == (tmp_path / "b/samples.jsonl").read_bytes()


def test_what_came_from_a_cache_is_in_no_sum_and_no_mean():
    asked = [{"id": "a", "attempt": 0, "tokens_in": 10, "tokens_out": 4, "cost": 0.002}]
    kept = [{"id": f"{n}", "attempt": 0, "tokens_in": 900, "tokens_out": 9, "cached": True} for n in range(9)]
    found = usage.sums([*asked, *kept], 10)
    assert {key: (one.sum, one.mean, one.answers) for key, one in found.of.items()} == {
        **{"tokens_in": (10, 10, 1), "tokens_out": (4, 4, 1), "cost": (0.002, 0.002, 1)}
    }
    assert found.cached == 9


def test_what_older_versions_have_cached_is_read(plan, tmp_path):
    cache = ResponseCache(tmp_path / "cache", "m")
    run(Baseline("oracle"), "m", plan, tmp_path / "a", cache)
    with sqlite3.connect(tmp_path / "cache") as database:
        rows = database.execute("SELECT key, texts FROM responses").fetchall()
        assert all(isinstance(json.loads(texts)[0], str) for _, texts in rows)  # nothing more is known
        cut = json.dumps([{"text": "<answer>N", "cut": "length"}])  # as endpoints' were kept
        database.execute("UPDATE responses SET texts = ? WHERE key = ?", (cut, rows[0][0]))
    run(Baseline("oracle"), "m", plan, tmp_path / "b", ResponseCache(tmp_path / "cache", "m"))
    plain = {"attempt": 0, "cached": True}
    lines = lines_of(tmp_path / "b")
    ended = [line for line in lines if "finish" in line]
    assert [line["finish"] for line in ended] == ["length"] * len(ended) and len(lines) == 6 and ended
    assert all(
        {**line, "id": ""} in ({"id": "", **plain}, {"id": "", **plain, "finish": "length"}) for line in lines
    )


def test_a_local_answer_that_is_cut_is_said_to_be_and_older_lines_are_kept(stock, plan, tmp_path, capsys):
    plan = replace(plan, decode=suites.Decode(max_tokens=4))
    run(stock, "m", plan, tmp_path / "a")
    assert "6 of 6 answers were cut, and are read as they stand: 6 by length" in capsys.readouterr().err
    lines = lines_of(tmp_path / "a", "samples.jsonl")
    assert [line["cut"] for line in lines] == ["length"] * 6
    of = usage.read(tmp_path / "a").of
    assert of["tokens_out"] == usage.Sum(24, 4, 6) and "cost" not in of
    # A run of a version that kept neither goes on, and is compared.
    old = tmp_path / "old"
    run(stock, "m", plan, old)
    text = [json.dumps({k: v for k, v in line.items() if k != "cut"}) for line in lines]
    (old / "samples.jsonl").write_text("\n".join(text[:4]) + "\n")
    for name in ("usage.jsonl", "usage.json", "metrics.json"):
        (old / name).unlink()
    capsys.readouterr()
    run(stock, "m", plan, old)
    assert "2 of 6 answers were cut" in capsys.readouterr().err
    assert [line["id"] for line in lines_of(old)] == ["v4#0", "v5#0"]
    assert usage.read(old).of["tokens_out"] == usage.Sum(8, 4, 2)
    assert pairs(old, tmp_path / "a").difference == ""
    assert all(row.change.value == 0 for row in compare(old, tmp_path / "a") if row.change.value is not None)


def test_sums_stand_in_table_report_and_comparison(endpoint, plan, tmp_path, capsys):
    command = ["run", "--model", f"openai:m@{endpoint.url}", "--suite", str(tmp_path / "s.yaml")]
    command += ["--concurrency", "1"]
    costly(endpoint)
    told = ["--model.price_in", "2", "--model.price_out", "10"]
    assert main([*command, *told, "--out", str(tmp_path / "a")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["tokens", "in", "201", "33.5", "6", "of", "6"] in rows
    assert ["tokens", "out", "60", "10.0", "6", "of", "6"] in rows
    assert ["cost", "0.001002", "0.000167", "6", "of", "6"] in rows
    assert ["ended", "by", "stop", "6", "100.0%", "6", "of", "6"] in rows
    page = (tmp_path / "a/report.html").read_text()
    assert "What the answers cost" in page and "0.001002" in page
    # What it costs is no other run.
    opened = json.loads((tmp_path / "a/run.json").read_text())["opened"]
    assert (opened["price_in"], opened["price_out"]) == (2.0, 10.0)
    assert (
        main([*command, "--model.price_in", "3", "--model.price_out", "9", "--out", str(tmp_path / "a")]) == 0
    )
    assert usage.read(tmp_path / "a").of["cost"].sum == pytest.approx(0.001002)  # asked at the earlier price
    endpoint.replies = [reply("No"), *[reply("No", finish="length")] * 6]
    assert main([*command, "--out", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["tokens", "in", "33.5", "--", "6,", "0"] in rows and ["cost", "0.000167", "--", "6,", "0"] in rows
    assert ["ended", "by", "length", "0.0%", "100.0%", "6,", "6"] in rows
    assert main(["report", str(tmp_path / "b"), "--against", str(tmp_path / "a")]) == 0
    assert "ended by length" in (tmp_path / "b/report.html").read_text()
    for name in "ab":
        (tmp_path / name / "usage.json").unlink()  # runs of before
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "mean of an answer" not in capsys.readouterr().out


def test_a_price_alone_is_refused_in_one_line(endpoint, plan, tmp_path, capsys):
    command = ["run", "--model", f"openai:m@{endpoint.url}", "--suite", str(tmp_path / "s.yaml"), "--out"]
    assert cli.guard(main, [*command, str(tmp_path / "run"), "--model.price_in", "2"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "price_in without price_out" in said[0]
    assert (
        cli.guard(
            main,
            [
                "run",
                "--model",
                "baseline:oracle",
                *command[3:],
                str(tmp_path / "run"),
                "--model.price_in",
                "2",
            ],
        )
        == 2
    )
    assert "baseline: unknown option 'price_in'" in capsys.readouterr().err


def test_damaged_files_are_named_in_one_line(endpoint, plan, tmp_path):
    run(costly(endpoint), "m", plan, tmp_path / "run")
    file, whole = tmp_path / "run/usage.jsonl", (tmp_path / "run/usage.jsonl").read_text()
    for line, words in (
        ('{"id": 7, "attempt": 0}', "not what an answer cost"),
        ('{"id": "v0#0", "attempt": "0"}', "not what an answer cost"),
        ('{"id": "v0#0", "attempt": 0, "seconds": "1"}', "seconds is '1', expected a number"),
        ('{"id": "v0#0", "attempt": 0, "cost": -1}', "cost is '-1', expected a number"),
        ('{"id": "v0#0", "attempt": 0, "finish": "a\\nb"}', "expected a word"),
        ("no json", "not JSON"),
    ):
        file.write_text(f"{line}\n{whole}")
        with pytest.raises(InputError, match=rf"usage\.jsonl:1: .*{words}"):
            run(Baseline("oracle"), "m", plan, tmp_path / "run")
    whole = json.loads((tmp_path / "run/usage.json").read_text())
    for change in (
        {"of": {"cost": {"sum": "x", "mean": 1, "answers": 1}}},
        {"of": {"cost": {"sum": 1}}},
        {"finish": {"stop": 0}},
        {"finish": []},
        {"cached": 7},
        {"answers": None},
    ):
        (tmp_path / "run/usage.json").write_text(json.dumps(whole | change))
        with pytest.raises(InputError, match="not the sums of a run"):
            usage.read(tmp_path / "run")


def test_many_reasons_are_told_in_one_row_and_runs_beside_each_other():
    lines = [{"id": f"v{n}", "attempt": 0, "finish": f"reason{min(n, 8)}"} for n in range(10)]
    found = usage.sums(lines, 12)
    rows = usage.rows(found)
    assert rows[0] == ["ended by reason8", "2", "20.0%", "10 of 12"] and len(rows) == 7
    assert rows[-1] == ["ended by 3 reasons more", "3", "30.0%", "10 of 12"]
    cached = usage.sums([{"id": "v0", "attempt": 0, "cached": True, "cost": 0.0}], 4)
    assert usage.rows_beside(cached, found)[0] == ["ended by reason8", "--", "20.0%", "0, 10"]
    assert usage.rows_beside(cached, found)[-1] == ["from the cache", "25.0%", "0.0%", "4, 12"]
    assert usage.rows_beside(cached, None)[-1] == ["from the cache", "25.0%", "--", "4, 0"]
    assert usage.rows_beside(None, None) == []
