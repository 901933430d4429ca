"""Eight real videos, a real server with a grammar as teacher, a command that is killed at random: no request
whose reply was kept is asked twice, no row is lost or doubled, and trajectories are the masks'."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from conftest import KEY, ROOT, shared

from tvad.annotate.engine import ROWS
from tvad.annotate.replies import FOLDER
from tvad.data import check, load
from tvad.data.components import overlap
from tvad.data.readers.ucsd import read

pytestmark = pytest.mark.slow
CONCURRENCY = 4


class Counting(ThreadingHTTPServer):
    """Hands requests on to a server; `asked`: a list a run of hashes of what came; `formed`: bodies with a
    schema."""

    daemon_threads = True

    def __init__(self, url):
        self.url, self.asked, self.formed = url, [[]], 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # whoever asked was killed before the request was whole
        self.server.asked[-1].append(hashlib.sha256(body).hexdigest())
        self.server.formed += b"json_schema" in body
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        answer = httpx.post(f"{self.server.url}/chat/completions", content=body, headers=headers, timeout=300)
        try:
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)
        except OSError:
            pass  # whoever asked was killed

    def log_message(self, *args):
        pass


def test_a_killed_run_asks_nothing_twice_and_trajectories_are_the_masks(server, tmp_path):
    root = shared("data/ucsd_ped2")
    data, out = tmp_path / "ped2", tmp_path / "told"
    read(root / "UCSDped2", "test", data, root / "tracks.jsonl")
    proxy = Counting(server)
    command = [sys.executable, "-m", "tvad", "annotate", "run", str(data), "--out", str(out), "--rate", "0.5"]
    command += ["--teacher", f"openai:tiny@http://127.0.0.1:{proxy.server_port}/v1", "--option", "video=file"]
    command += [
        "--option",
        f"concurrency={CONCURRENCY}",
        "--max_tokens",
        "192",
        "--checks",
        "1",
        "--together",
        "3",
    ]
    rng, kills = random.Random(0), 0
    while True:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"OPENAI_API_KEY": KEY}, stderr=subprocess.PIPE
        )
        last = rng.randint(10, 50) if kills < 4 else 1 << 30
        while process.poll() is None and len(proxy.asked[-1]) < last:
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read().decode()[-2000:]
            break
        process.kill()
        process.wait()
        kills += 1
        time.sleep(3)  # what was on its way arrives, and belongs to this run
        proxy.asked.append([])
    proxy.shutdown()
    everything = [key for run in proxy.asked for key in run]
    kept = [json.loads(line)["key"] for line in (out / FOLDER / "0.jsonl").read_text().splitlines()]
    again = len(everything) - len(set(everything))
    print(
        f"{kills} kills, {len(everything)} requests came, {len(kept)} replies,"
        f" {again} were on their way at a kill"
    )
    assert kills == 4 and all(len(run) == len(set(run)) for run in proxy.asked)
    assert len(kept) == len(set(kept)) == len(set(everything)) and again <= kills * CONCURRENCY
    assert proxy.formed == len(everything)
    rows = [json.loads(line)["id"] for line in (out / ROWS).read_text().splitlines()]
    assert sorted(rows) == sorted(s.id for s in load(data)) and not check(out)
    truth, shares = {s.id: s for s in load(data)}, []
    for sample in load(out):
        assert sample.spans == truth[sample.id].spans
        told = [{f: t.boxes[f] for f in t.anomalous} for t in sample.tracks if t.anomalous]
        for track in truth[sample.id].tracks:
            shares.append(max(agree(track.boxes, boxes) for boxes in told))
    print(f"agreement of trajectories: mean {np.mean(shares):.3f}, least {min(shares):.3f} of {len(shares)}")
    assert np.mean(shares) > 0.95 and min(shares) > 0.8


def agree(one, other):
    """Share of the frames of either in which both are, and overlap by half."""
    both = [f for f in one if f in other]
    same = [overlap(np.array([one[f]]), np.array([other[f]]))[0, 0] >= 0.5 for f in both]
    return sum(same) / len({*one, *other})
