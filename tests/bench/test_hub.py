"""A model by its name at a hub, against a hub on loopback: the client runs in a process of its own, since the
tests' is offline."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import pytest
from conftest import ROOT, SHIPPED
from stock_checkpoint import TINY, build_stock

from tvad.common.errors import InputError
from tvad.common.hub import commit, folder

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Address of a hub with one model, org/tiny, in two revisions: ours, and as v1 a stock one."""
    folders = {"a" * 40: SHIPPED, "b" * 40: build_stock(tmp_path_factory.mktemp("stock"), TINY)}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            path = unquote(urlparse(self.path).path).strip("/").split("/")
            if path[:4] == ["api", "models", "org", "tiny"] and path[4] in ("revision", "tree"):
                sha = COMMITS.get(path[5], path[5])
                if sha not in folders:
                    return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                files = [f for f in sorted(folders[sha].iterdir()) if f.is_file()]
                rows = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": tag(f)} for f in files
                ]
                found = {"id": "org/tiny", "sha": sha, "siblings": [{"rfilename": f.name} for f in files]}
                return self.reply(200, json.dumps(found if path[4] == "revision" else rows).encode())
            if path[:3] == ["org", "tiny", "resolve"]:
                file = folders[path[3]] / path[4]
                return self.reply(
                    200, file.read_bytes(), {"ETag": f'"{tag(file)}"', "X-Repo-Commit": path[3]}
                )
            return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def reply(self, status, data, headers=()):
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    def tag(file):
        return hashlib.sha1(file.read_bytes()).hexdigest()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


SCRIPT = """
import sys
from bench.__main__ import main
from tvad.common import cli
scenes, out = sys.argv[1:]
told = ["--suite", "scenes", "--data", scenes, "--max_videos", "1", "--tasks", "[judgement]"]
told += ["--resamples", "5", "--decode.max_tokens", "4", "--cache", f"{out}/answers"]
for name in ("org/tiny@v1", "org/tiny", "org/tiny@v7", "org/nobody"):
    status = cli.guard(main, ["run", "--model", f"hf:{name}", "--out", f"{out}/{name}", *told])
    print("status", name, status, file=sys.stderr)
print("status", cli.guard(main, ["sight", "hf:org/tiny@v1"]), file=sys.stderr)
"""
USED = """
import sys
from tvad.common import cli
from rft import train_grpo
from tvad.__main__ import main as tvad
from tvad.data import load

scenes, out = sys.argv[1:]
clip = str(load(scenes)[0].path(load(scenes)[0].video.path))
told = ["infer", "--model", "org/tiny", "--video", clip, "--out", f"{out}/infer"]
print("status", cli.guard(tvad, told), file=sys.stderr)
told = ["--config", "demo", "--model", "org/tiny", "--data", scenes, "--out", f"{out}/grpo", "--engine", "hf"]
told += ["--training.max_steps", "1", "--training.per_device_train_batch_size", "4"]
told += ["--training.num_generations", "4", "--training.max_completion_length", "4"]
print("status", cli.guard(lambda: train_grpo.main(told)), file=sys.stderr)
"""


def ran(script, hub, scenes, tmp_path):
    """What a process that reaches the hub says."""
    told = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    told |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", script, str(scenes), str(tmp_path)]
    done = subprocess.run(command, env=told, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    return done, [line for line in done.stderr.splitlines() if line.startswith(("status", "error"))]


@pytest.mark.slow
def test_a_name_of_the_hub_is_used_and_trained(hub, scenes, tmp_path):
    done, said = ran(USED, hub, scenes, tmp_path)
    assert said == ["status 0"] * 2, done.stderr[-3000:]  # infer, GRPO
    assert (tmp_path / "infer").exists() and (tmp_path / "grpo/model/config.json").exists()
    assert COMMITS["main"] in json.loads((tmp_path / "grpo/grpo.json").read_text())["model"]


def test_a_name_of_the_hub_stands_wherever_a_folder_does_and_its_commit_is_recorded(hub, scenes, tmp_path):
    done, said = ran(SCRIPT, hub, scenes, tmp_path)
    assert said[:2] == ["status org/tiny@v1 0", "status org/tiny 0"], done.stderr[-3000:]
    assert said[2].startswith("error: org/tiny@v7: no such folder, nor a model of the hub (")
    assert said[4].startswith("error: org/nobody: no such folder, nor a model of the hub (")
    assert [said[3], said[5]] == ["status org/tiny@v7 2", "status org/nobody 2"]
    assert said[6] == "status 0", "sight"
    for name, wanted, family in (("tiny@v1", "v1", "qwen2_5_vl"), ("tiny", "main", "tvad")):
        record = json.loads((tmp_path / "org" / name / "run.json").read_text())
        assert record["model"] == f"hf:org/{name}" and record["opened"]["revision"] == COMMITS[wanted]
        assert record["family"]["name"] == family


def test_without_a_network_a_name_that_is_not_kept_is_one_line():
    with pytest.raises(
        InputError, match="org/nobody@v1: no such folder, nor in the hub's cache, and the hub"
    ):
        folder("org/nobody@v1")
    assert folder("runs/of/mine") == "runs/of/mine" and commit(str(SHIPPED)) is None
