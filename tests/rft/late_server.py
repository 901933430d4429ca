"""A rollout server of scripted answers, late on purpose."""

import json
import threading
import time
import zlib

from bench.models.base import Completion
from rft.grpo.servers import Drawn, NoServer, RolloutServers
from tvad.control import chat

WAIT = 240  # seconds after which a draw that nobody overtakes fails


class Late(RolloutServers):
    """Answers that depend on the request alone. `drawn`: (pass that it is for, version, whether apart) of
    every draw. Where `holds` it ends a draw ahead no sooner than the step before it was trained."""

    def __init__(self, processor, holds=False):
        self.processor, self.holds, self.version, self.wait = processor, holds, None, 1.0
        self.drawn, self.sent, self.maps, self.figures = [], 0, None, {}
        self.trained = threading.Condition()
        self.steps, self.fails, self.slow, self.torn = 0, set(), 0.0, []

    def lacks_some(self):
        return self.version is None

    def sync(self, weights, whole=True):
        list(weights)
        with self.trained:
            self.version = str(self.sent)
            self.steps = self.sent
            self.sent += 1
            self.trained.notify_all()

    def draw(self, requests, sampling):
        place = int(requests[0].key.split(".")[0])
        apart = threading.current_thread() is not threading.main_thread()
        self.drawn.append((place, self.version, apart))
        if apart and self.holds:
            with self.trained:
                # It ends where the trainer has come to the step that wants it: had the trainer waited for it
                # before it trained, neither would go on.
                assert self.trained.wait_for(lambda: self.at >= place, WAIT), "nothing was trained meanwhile"
        if self.slow:
            before = self.version
            time.sleep(self.slow)
            self.torn += [place] * (before != self.version)
        if apart and place in self.fails:
            raise NoServer("all are lost")
        tokenizer, groups = self.processor.tokenizer, []
        for request in requests:
            words = [
                p.get("text") for turn in request.messages for p in turn["content"] if p != turn["content"]
            ]
            start = zlib.crc32(json.dumps([w for w in words if w], default=str).encode())
            texts = [
                f"<think>x</think><answer>{'ABCD'[(start + n) % 4]}</answer><|im_end|>"
                for n in range(sampling.n)
            ]
            ids = [tokenizer(text)["input_ids"] for text in texts]
            groups.append(
                [Completion(t, tokens, [-0.1] * len(tokens)) for t, tokens in zip(texts, ids, strict=True)]
            )
        prompts = [
            tokenizer(
                self.processor.expand(
                    chat(self.processor, r.messages),
                    self.processor.vision_inputs([r.frames])["video_grid_thw"][0],
                    r.frames,
                )
            )["input_ids"]
            for r in requests
        ]
        return Drawn(groups, prompts, {})
