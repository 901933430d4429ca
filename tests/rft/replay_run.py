"""Run by tests/rft/test_replayed.py in one or more processes: GRPO steps on recorded completions, replayed by
an engine in the process or by one that takes a rollout server's place.

python replay_run.py RECORDED DATA OUT ENGINE GROUPS ACCUMULATE STALENESS       GROUPS: of a process's pass
"""

import json
import sys
import zlib
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (2, 1, 0)]

from grpo_runs import run_of  # noqa: E402

from bench.models.base import Completion  # noqa: E402
from rft.grpo.room import processor_of  # noqa: E402
from rft.grpo.servers import Drawn, RolloutServers  # noqa: E402
from rft.grpo.train import train  # noqa: E402
from tvad.common.leaving import leave  # noqa: E402
from tvad.control import chat  # noqa: E402

STEPS, SIZE = 8, 4


def key_of(request) -> str:
    """Of a prompt and its clip, whoever asks and when."""
    words = [part.get("text") for turn in request.messages for part in turn["content"]]
    return f"{zlib.crc32(json.dumps(words).encode())}-{zlib.crc32(request.frames.images.tobytes())}"


class Replayed:
    """An engine in the process."""

    name, shared = "replayed", False

    def __init__(self, recorded: dict, processor):
        self.recorded, self.processor = recorded, processor

    def sync(self, weights):
        list(weights)

    def heatmaps(self, frames):
        return None

    def groups(self, requests):
        return [[Completion(*one) for one in self.recorded[key_of(request)]] for request in requests]

    def sample(self, requests, sampling):
        return self.groups(requests)


class Served(RolloutServers):
    """One of RolloutServers, with its prompts' ids and versions, of which no server is asked."""

    def __init__(self, recorded: dict, processor):
        self.replayed, self.processor = Replayed(recorded, processor), processor
        self.version, self.maps, self.figures, self.wait, self._sent = None, None, {}, 1.0, 0

    def lacks_some(self):
        return self.version is None

    def sync(self, weights, whole=True):
        list(weights)
        self.version, self._sent = str(self._sent), self._sent + 1

    def draw(self, requests, sampling):
        ids = []
        for one in requests:
            grid = self.processor.vision_inputs([one.frames])["video_grid_thw"][0]
            text = self.processor.expand(chat(self.processor, one.messages), grid, one.frames)
            ids.append(self.processor.tokenizer(text)["input_ids"])
        return Drawn(self.replayed.groups(requests), ids, {})


def plan_of(data: str, checkpoint: str, out: str, **training):
    batch = {"num_generations": SIZE, "max_completion_length": 24, "save_strategy": "no"}
    batch["vllm_importance_sampling_mode"] = "token_truncate"  # as staleness has it by itself
    run = run_of(data, checkpoint, out, max_steps=STEPS, learning_rate=1e-3, **batch, **training)
    return replace(
        run, tasks={"mcq": 1, "spatial": 1}, rewards={"format": 0.5, "answer": 1.0, "box": 1.0}, topics=None
    )


def main(
    recorded: str, data: str, out: str, engine: str, groups: str, accumulate: str, staleness: str
) -> None:
    known = json.loads(Path(recorded).read_text())
    passes = {
        "per_device_train_batch_size": int(groups) * SIZE,
        "gradient_accumulation_steps": int(accumulate),
    }
    run = plan_of(data, known["checkpoint"], out, **passes)
    if engine == "server":
        run = replace(run, engine="server:http://replayed", staleness=int(staleness))
    kind = Served if engine == "server" else Replayed
    train(run, kind(known["completions"], processor_of(run)))


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
