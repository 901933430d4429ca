"""`tvad serve --rollouts`: which options it gives vLLM, who gets in, how clips and weights come."""

import asyncio
import json
import socket
import types
from itertools import pairwise

import httpx
import numpy as np
import pytest
import torch
from conftest import SHIPPED
from safetensors.torch import save_file

from tvad.__main__ import main
from tvad.common import cli
from tvad.common.errors import InputError
from tvad.data.video import Frames
from tvad.data.vllm_clips import address_of, opened, packed
from tvad.use.serving import rollouts
from tvad.use.serving.rollouts import RolloutGuard


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    monkeypatch.delenv("ROLLOUT_TOKEN", raising=False)
    monkeypatch.setenv("TVAD_WEIGHTS", str(tmp_path))


def test_its_options_leave_nothing_to_the_checkpoint(monkeypatch):
    monkeypatch.setenv("ROLLOUT_TOKEN", "secret")
    found = rollouts.command("m", "0.0.0.0", 8100, ["--max-num-seqs", "16"], False, {"size": {}})
    pairs = dict(pairwise(found))
    assert found.count("--max-num-seqs") == 1 and pairs["--max-num-seqs"] == "16"
    assert pairs["--generation-config"] == "vllm" and pairs["--logprobs-mode"] == "processed_logprobs"
    assert pairs["--dtype"] == "float32" and "--no-enable-chunked-prefill" in found
    assert json.loads(pairs["--media-io-kwargs"]) == {"video": {"video_backend": "clip"}}
    assert json.loads(pairs["--weight-transfer-config"]) == {"backend": "shared_files"}
    assert json.loads(pairs["--mm-processor-kwargs"]) == {"size": {}}
    on_gpu = rollouts.command("m", "127.0.0.1", 8100, ["--weight-transfer-config={}"], True)
    assert "--dtype" not in on_gpu and "--weight-transfer-config" not in on_gpu
    assert rollouts.environment({"max_pixels": 9}, True)["VLLM_SERVER_DEV_MODE"] == "1"


@pytest.mark.parametrize("option", ["--distributed-executor-backend=ray", "--nnodes=2"])
def test_a_server_on_several_machines_wants_a_folder_that_all_see(monkeypatch, option):
    command = ("m", "127.0.0.1", 8100, [option], True)
    assert option in rollouts.command(*command)
    monkeypatch.delenv("TVAD_WEIGHTS")
    with pytest.raises(InputError, match="TVAD_WEIGHTS to a folder that all of the server's machines see"):
        rollouts.command(*command)


def test_a_server_on_a_cpu_compiles_where_it_is_told_to():
    pytest.importorskip("vllm")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for extra, eager in (([], True), (["--no-enforce-eager"], False)):
        given = rollouts.command("m", "127.0.0.1", 8100, extra, False)
        found, _ = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_known_args(given)
        assert found.enforce_eager is eager
    assert rollouts.environment({}, False)["VLLM_USE_AOT_COMPILE"] == "0"
    assert "VLLM_USE_AOT_COMPILE" not in rollouts.environment({}, True)


def test_vllm_s_workers_on_other_machines_are_told_the_folder(monkeypatch):
    pytest.importorskip("vllm").envs.disable_envs_cache()  # an engine of another test has turned it on
    monkeypatch.setenv("VLLM_RAY_EXTRA_ENV_VARS_TO_COPY", "MINE")
    for name, value in rollouts.environment({}, True).items():
        monkeypatch.setenv(name, value)
    from vllm.ray.ray_env import get_env_vars_to_copy

    assert {"TVAD_WEIGHTS", "MINE"} <= get_env_vars_to_copy()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: set ROLLOUT_TOKEN"),
        (["--host", "::"], "--host ::: set ROLLOUT_TOKEN"),
        (["--host", "gpu7"], "--host gpu7: set ROLLOUT_TOKEN"),
        (["--api-key", "x"], "--api-key is not taken with --rollouts: it leaves pausing and weights open"),
        (["--generation_config=auto"], "--generation-config is not taken"),
        (["--served-model-name", "x"], "--served-model-name is not taken"),
        (["--rate", "2"], "takes no --rate"),
        # vLLM takes a name cut short, a key's part, and a file of options.
        (["--generation-conf", "auto"], "--generation-config is not taken"),
        (["--logprobs_m=raw_logprobs"], "--logprobs-mode is not taken"),
        (["--media-io-kwargs.video.fps", "3"], "--media-io-kwargs is not taken"),
        (["--config", "x.yaml"], "--config is not taken with --rollouts: its options would not be looked at"),
        (["--override_generation_config.top_k", "1"], "--override-generation-config is not taken"),
        (["--reasoning-parser=qwen3"], "--reasoning-parser is not taken"),
        (["--mm-processor-kwargs", "{}"], "--mm-processor-kwargs is not taken"),
    ],
)
def test_what_it_cannot_honour_is_refused(capsys, given, words):
    assert cli.guard(main, ["serve", "--rollouts", "--model", str(SHIPPED), *given]) == 2
    assert words in capsys.readouterr().err


def test_the_options_that_it_gives_are_those_that_vllm_reads_and_none_is_refused_for_its_beginning():
    pytest.importorskip("vllm")
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    names = {name for name in parser._option_string_actions if name.startswith("--")}
    assert rollouts.TAKEN.keys() <= names | {"--config"}
    for name in sorted(names - rollouts.TAKEN.keys()):
        assert name in rollouts.command("m", "127.0.0.1", 8100, [name], False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machines_own_address_needs_no_token(host):
    rollouts.check_open(host)


def test_its_folder_of_weights_is_its_own(tmp_path, monkeypatch):
    for name, mode in (("own", 0o700), ("open", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    monkeypatch.setenv("TVAD_WEIGHTS", str(tmp_path / "own"))
    assert rollouts.own_folder() == tmp_path / "own"
    monkeypatch.setenv("TVAD_WEIGHTS", str(tmp_path / "new"))
    assert rollouts.own_folder().stat().st_mode & 0o777 == 0o700
    for name in ("open", "link"):
        monkeypatch.setenv("TVAD_WEIGHTS", str(tmp_path / name))
        with pytest.raises(InputError, match="only this user can write to"):
            rollouts.own_folder()


def answers(guard, state, requests):
    """Statuses of (method, path, headers)."""

    async def app(scope, receive, send):
        await guard(scope | {"app": types.SimpleNamespace(state=state)}, receive, send)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://s") as client:
            return [await client.request(m, path, headers=headers) for m, path, headers in requests]

    return [answer.status_code for answer in asyncio.run(ask())]


async def inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_without_the_token_nothing_but_health_is_answered(monkeypatch):
    monkeypatch.setenv("ROLLOUT_TOKEN", "secret")
    told = types.SimpleNamespace(weight_transfer_config={"backend": "shared_files"})
    engine = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=64))
    state, guard = types.SimpleNamespace(args=told, engine_client=engine), RolloutGuard(inner)
    bad = [{}, {"authorization": "Bearer secret2"}, {"authorization": "secret"}, {"x-api-key": "secret"}]
    for path in ("/rollouts", "/pause", "/v1/models", "/health/", "/Health", "//health", "/"):
        assert answers(guard, state, [("POST", path, headers) for headers in bad]) == [401] * len(bad)
    good = {"authorization": "Bearer secret"}
    wanted = [("GET", "/health", {}), ("GET", "/rollouts", good), ("POST", "/pause", good)]
    assert answers(guard, state, wanted) == [200, 200, 200]

    async def websocket():
        sent = []
        scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
        await guard(scope, None, lambda message: sent.append(message) or asyncio.sleep(0))
        return sent

    assert asyncio.run(websocket())[0]["status"] == 401


def test_weights_may_be_sent_and_are_dropped(tmp_path):
    (tmp_path / f"{socket.gethostname()}-999999999-1.here").touch()  # of a server that is no more
    guard = RolloutGuard(inner)
    (mark,) = tmp_path.glob("*.here")

    async def app(scope, receive, send):
        await guard(scope, receive, send)

    async def send():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://s") as client:
            for body in (b"first", b"second"):
                name = (await client.post("/rollouts/weights", content=body)).json()["file"]
                assert (tmp_path / name).read_bytes() == body
            for method in ("GET", "HEAD", "PUT"):
                assert (await client.request(method, "/rollouts/weights")).status_code == 405
                assert (tmp_path / name).read_bytes() == body
            await client.delete("/rollouts/weights")

    asyncio.run(send())
    assert list(tmp_path.iterdir()) == [mark]


def test_a_server_that_others_reach_does_not_begin_without_a_token():
    async def begin(host):
        state = types.SimpleNamespace(args=types.SimpleNamespace(host=host))
        scope = {"type": "lifespan", "app": types.SimpleNamespace(state=state)}
        await RolloutGuard(inner)(scope, None, lambda message: asyncio.sleep(0))

    asyncio.run(begin("127.0.0.1"))
    for host in (None, "0.0.0.0", "10.0.0.7"):
        with pytest.raises(InputError, match="set ROLLOUT_TOKEN"):
            asyncio.run(begin(host))


def test_every_route_of_vllms_server_wants_the_token(monkeypatch):
    """Those of the development endpoints too, which vLLM's own key leaves open; and new ones of a newer
    vLLM."""
    pytest.importorskip("vllm").envs.disable_envs_cache()  # an engine of another test has turned it on
    monkeypatch.setenv("ROLLOUT_TOKEN", "secret")
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    options = rollouts.command(str(SHIPPED), "0.0.0.0", 8100, [], False)
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(options)
    app = build_app(args, ("generate",))
    app.state.args = args
    asked = {
        (method, route.path)
        for route in app.routes
        for method in getattr(route, "methods", None) or ("GET", "POST")
    }
    paths = {path for _, path in asked}
    assert {"/pause", "/update_weights", "/collective_rpc", "/v1/chat/completions", "/metrics"} <= paths

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
            return {key: (await client.request(*key)).status_code for key in asked if key[1] != "/health"}

    found = asyncio.run(ask())
    assert set(found.values()) == {401}, {key for key, status in found.items() if status != 401}


def test_a_clip_travels_bit_for_bit_and_is_known_by_all_of_it():
    images = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
    clip = Frames(images, np.arange(5) / 2, np.arange(5), 2.0, 5)
    body, key = packed(clip)
    frames, told = opened(body)
    assert np.array_equal(frames, images) and told["do_sample_frames"] is False
    assert {k: told[k] for k in clip.metadata} == clip.metadata
    assert address_of(body).startswith("data:video/x-clip;base64,")
    slower = Frames(images, np.arange(5) / 1, np.arange(5), 1.0, 5)
    other = images.copy()
    other[4, 31, 47, 2] ^= 1
    assert len({key, packed(slower)[1], packed(Frames(other, clip.times, clip.indices, 2.0, 5))[1]}) == 3
    assert packed(Frames(images.copy(), clip.times, clip.indices, 2.0, 5))[1] == key
    alone, _ = opened(packed(Frames(images[:1], np.zeros(1), np.zeros(1, int), 2.0, 5))[0])
    assert len(alone) == 2  # a step is two frames
    for bad in (b"", b"\x08" * 20, b"\xff" * 8 + b"{}", body[:-1]):
        with pytest.raises(InputError, match="expected a clip"):
            opened(bad)


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """The transfer's end in a worker of a model of two fused layers, and the folder that it reads."""
    weights = pytest.importorskip("tvad.model.vllm_weights", exc_type=ImportError)
    monkeypatch.setenv("TVAD_WEIGHTS", str(tmp_path))
    shapes = {f"a.{m}.weight": (2, 2) for m in ("q_proj", "k_proj", "norm")}
    monkeypatch.setattr(weights, "shapes_of", lambda path: shapes)
    swapped = []
    monkeypatch.setattr(
        weights, "replace_weights", lambda model, given, config: swapped.append([n for n, _ in given])
    )
    config = types.SimpleNamespace(parallel_config=None, model_config=types.SimpleNamespace(model=""))
    model = torch.nn.Module()
    model.packed_modules_mapping = {"qk_proj": ["q_proj", "k_proj", "v_proj"]}
    return weights.SharedFiles(None, config, torch.device("cpu"), model), tmp_path, swapped


def take(engine, file):
    """What vLLM's `update_weights` does, but for waiting for a GPU."""
    engine.receive_weights(engine.parse_update_info({"file": file}))


def test_weights_are_swapped_together_at_the_end(worker):
    engine, folder, swapped = worker
    engine.start_weight_update()
    for name in ("q_proj", "k_proj"):
        save_file({f"a.{name}.weight": torch.ones(2, 2)}, folder / "1.safetensors")
        take(engine, "1.safetensors")
        assert not swapped
    engine.finish_weight_update()
    assert swapped == [["a.q_proj.weight", "a.k_proj.weight"]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a.norm.weight": (3, 2)}, r"a.norm.weight: shape \(3, 2\), the model has \(2, 2\)"),
        ({"a.other.weight": (2, 2)}, "a.other.weight: shape .* the model has None"),
        ({"a.q_proj.weight": (2, 2)}, "a.q_proj.weight came without a.k_proj.weight"),
        ({}, "no weights"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_swapped(worker, given, words):
    engine, folder, swapped = worker
    engine.start_weight_update()
    with pytest.raises(ValueError, match=words):
        if given:
            save_file({n: torch.ones(*shape) for n, shape in given.items()}, folder / "1.safetensors")
            take(engine, "1.safetensors")
        engine.finish_weight_update()
    assert not swapped


@pytest.mark.parametrize("name", ["../1.safetensors", "/etc/passwd", "", ".", "..", "a/b", 7])
def test_a_client_does_not_choose_which_file_is_read(worker, name):
    engine, _, _ = worker
    engine.start_weight_update()
    with pytest.raises(ValueError, match="a name without folders"):
        take(engine, name)
