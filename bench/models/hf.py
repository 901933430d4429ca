"""`hf:` any transformers image-text-to-text model, T-VAD included, by generate.

Slower than `vllm:` (no cache of prefixes, every batch waits for its longest answer), but it needs nothing
else, and a training's rollouts come from the very model that trains.
"""

import inspect
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, LogitsProcessor, LogitsProcessorList
from transformers.generation import TopPLogitsWarper

import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
from bench.models.base import Completion, Request, Sampling, Usage, batches, seeds_of
from bench.models.clips import Given, given_to
from bench.models.families import known
from bench.models.opening import check_code, check_dtype, check_weights, not_loaded
from bench.models.remote import RemoteModel, brought
from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data.video import Budget, Frames
from tvad.model.budget import keep, seen_size
from tvad.model.classifier import probabilities
from tvad.model.generation import ends_of, plain_generation
from tvad.model.processing import check_order
from tvad.model.room import context_of
from tvad.model.start import opened_whole
from tvad.model.stock import keep_time

# Pixels of a side of what becomes one video token, over 2 frames: 2 x 2 merged patches of 14 (Qwen2.5-VL;
# near enough for others, since it only decides how many requests share a pass).
MERGED = 28
BUDGET = 16384
LIKELIEST = 20  # first tokens whose log-probs are looked at


def video_tokens(clip: Frames) -> int:
    """About how many tokens a clip (T, H, W, 3) takes: ceil(T / 2) x H / 28 x W / 28."""
    count, height, width = clip.images.shape[:3]
    return max(1, -(-count // 2) * (height // MERGED) * (width // MERGED))


class Draws(LogitsProcessor):
    """Decides every row's next token by the row's own numbers, and leaves generate no other choice: what a
    question draws does not depend on the rows beside it. seeds: one a row; steps: tokens, at most."""

    def __init__(self, seeds: list[list[int]], steps: int, temperature: float, top_p: float, device):
        numbers = np.stack([np.random.default_rng(seed).random(steps) for seed in seeds])
        self.numbers = torch.from_numpy(numbers).to(device)  # (rows, steps), 0..1
        self.step, self.temperature = 0, temperature
        self.narrowed = TopPLogitsWarper(top_p) if top_p < 1 else None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logits = scores.double() / self.temperature
        if self.narrowed is not None:
            logits = self.narrowed(input_ids, logits)
        # The token whose share of 0..1 holds the row's number.
        shares = logits.softmax(-1).cumsum(-1)
        number = self.numbers[:, self.step, None] * shares[:, -1:]
        token = torch.searchsorted(shares, number, right=True).clamp_(max=shares.shape[1] - 1)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


class HfModel:
    """`budget`: tokens of a forward pass, padding and answers included; the cache of keys and values grows
    with them. A model whose forward takes `clip_index` encodes a clip once for all its completions."""

    name = "hf"

    def __init__(self, model: Any, processor: Any, budget: int = BUDGET):
        keep_time(model)
        self.model, self.processor, self.budget = model, processor, budget
        self.pixels, self.given = Budget(), Given()
        self.known = known(None, getattr(model, "config", None))
        self._taken: dict[tuple, int] = {}  # tokens of a prompt with images of a shape
        self.shares_clips = "clip_index" in inspect.signature(type(model).forward).parameters

    @classmethod
    def open(
        cls,
        path: str,
        budget: int = BUDGET,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        total_pixels: int | None = None,
        dtype: str = "auto",
        attention: str | None = None,
        trust_remote_code: bool = False,
        family: str | None = None,
    ) -> "HfModel | RemoteModel":
        """Of a checkpoint's folder, with bounds of a clip's pixels (`tvad.data.video.Budget`) where not the
        checkpoint's; further as `ModelOptions` has it. Raises InputError where it cannot be loaded."""
        check_dtype("hf", dtype)
        check_weights("hf", path)
        check_code("hf", path)
        pixels = Budget(min_pixels, max_pixels, total_pixels)
        if own := brought(path):
            if pixels.given:
                raise InputError(
                    f"{next(iter(pixels.given))}: hf:{path} answers by code of its own; leave it out"
                )
            return RemoteModel.open(path, own, dtype, attention, trust_remote_code, family)
        try:
            model: Any = opened_whole(
                path,
                dtype=dtype,
                attn_implementation=attention,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
            )
            model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
            processor = AutoProcessor.from_pretrained(path, trust_remote_code=trust_remote_code)
            check_order(path, model, processor)
            opened = cls(model, processor, budget)
            opened.known = known(family, model.config)
            opened.given = given_to(processor, f"hf:{path}")
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # whatever a library and a checkpoint's own code raise
            raise not_loaded(f"hf:{path}", error) from error
        opened.pixels = pixels
        keep(opened.processor, opened.pixels)
        return opened

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Nothing to do: it samples from the model that it was given."""

    def picture(self, count: int, height: int, width: int) -> tuple[int, int] | None:
        return seen_size(self.processor, count, height, width)

    def rendered(self, request: Request) -> str:
        """The prompt as text."""
        return chat(self.processor, self.given.messages(request.messages, request.frames))

    def _inputs(self, requests: list[Request]) -> dict:
        return self._encoded([self.rendered(r) for r in requests], [r.frames for r in requests])

    def _encoded(self, texts: list[str], clips: list[Frames]) -> dict:
        return self.given.encoded(self.processor, texts, clips).to(self.model.device)

    @torch.no_grad()
    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order; greedy ones are one and the same. A pass
        answers several requests and ends with its longest answer: its seconds, the prompts' preparation among
        them, are shared equally by all that it answers."""
        done: list[list[Completion]] = [[] for _ in requests]
        drawn = sampling.n if sampling.temperature else 1
        lengths = [(self._length(request) + sampling.max_tokens) * drawn for request in requests]
        seeds = seeds_of(requests, sampling.seed)
        with self._evaluating(), torch.random.fork_rng():
            for group in self._passes(requests, lengths):
                began = time.monotonic()
                found = self._sample([requests[i] for i in group], sampling, drawn, [seeds[i] for i in group])
                share = (time.monotonic() - began) / (len(group) * sampling.n)
                for i, completions in zip(group, found, strict=True):
                    timed = [replace(c, usage=replace(c.usage, seconds=share)) for c in completions]
                    done[i] = timed * (sampling.n // drawn)
        return done

    def _passes(self, requests: list[Request], lengths: list[int]) -> Iterator[list[int]]:
        """Numbers of the requests that share a pass."""
        kinds: dict[tuple, list[int]] = {}
        for n, request in enumerate(requests):
            kinds.setdefault(request.frames.images.shape if self.given.alike else (), []).append(n)
        for kind in kinds.values():
            for group in batches([lengths[n] for n in kind], self.budget):
                yield [kind[n] for n in group]

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Without dropout; a training goes on as it was, also after an error."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def _length(self, request: Request) -> int:
        """About how many tokens a request takes."""
        text, clip = self.rendered(request), request.frames
        if self.given.form != "images":
            return len(self.processor.tokenizer(text)["input_ids"]) + video_tokens(clip)
        # A picture takes from 4 to 2,880 tokens, by family; texts differ little beside.
        if clip.images.shape not in self._taken:
            inputs = self.given.encoded(self.processor, [text], [clip])
            self._taken[clip.images.shape] = inputs["input_ids"].shape[1]
        return self._taken[clip.images.shape]

    def _asked(self, requests: list[Request], n: int = 1) -> tuple[dict, dict]:
        """Tensors of the prompts, and how `generate` is told to answer each n times."""
        inputs = dict(self._inputs(requests))
        if not self.shares_clips:
            return inputs, {"num_return_sequences": n}
        # T-VAD: B clips, B * n prompts, each saying which clip is its own.
        for key in ("input_ids", "attention_mask"):
            inputs[key] = inputs[key].repeat_interleave(n, 0)
        inputs.pop("mm_token_type_ids", None)
        clips = torch.arange(len(requests), device=self.model.device)
        return inputs, {"clip_index": clips.repeat_interleave(n)}

    def _generated(self, inputs: dict, tokens: int, **knobs: Any) -> tuple[Any, Any]:
        """At most so many tokens with their logits, and the settings that they were generated by."""
        with plain_generation(self.model, self.processor.tokenizer) as settings:
            out = self.model.generate(
                **inputs,
                max_new_tokens=tokens,
                return_dict_in_generate=True,
                output_logits=True,
                pad_token_id=self.processor.tokenizer.pad_token_id,
                **knobs,
            )
        return out, settings

    @torch.no_grad()
    def first_token(self, requests: list[Request]) -> list[dict[Any, float]]:
        """{token id: log-prob} of the likeliest first tokens of the answer to each request."""
        found = []
        for request in requests:  # one by one: a pass of several rounds otherwise
            inputs, knobs = self._asked([request])
            with self._evaluating():
                out, _ = self._generated(inputs, 1, do_sample=False, **knobs)
            likeliest = out.logits[0][0].float().log_softmax(-1).topk(LIKELIEST)
            found.append(dict(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)))
        return found

    def _sample(self, requests, sampling, n, seeds):
        tokenizer = self.processor.tokenizer
        inputs, knobs = self._asked(requests, n)
        greedy = sampling.temperature == 0
        prompt_length = inputs["input_ids"].shape[1]
        if prompt_length + sampling.max_tokens > (context := context_of(self.model.config)):
            raise InputError(
                f"hf: a prompt of {prompt_length} tokens and up to {sampling.max_tokens} more, the model has"
                f" {context} positions; give max_frames, max_pixels or total_pixels less"
            )
        if not greedy:
            rows = [[seed, attempt] for seed in seeds for attempt in range(n)]
            draws = Draws(rows, sampling.max_tokens, sampling.temperature, sampling.top_p, self.model.device)
            # `Draws` has applied temperature and top-p already.
            knobs |= {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
            knobs |= {"logits_processor": LogitsProcessorList([draws])}
        out, settings = self._generated(inputs, sampling.max_tokens, do_sample=not greedy, **knobs)
        tokens = out.sequences[:, prompt_length:].cpu()
        # Logits are those before top_p, (steps, B * n, V): log-probs of the distribution that a trainer
        # computes.
        logprobs = [
            (step.float() / (sampling.temperature or 1.0)).log_softmax(-1).cpu() for step in out.logits
        ]
        values = torch.stack([lp.gather(-1, tokens[:, i : i + 1])[:, 0] for i, lp in enumerate(logprobs)], 1)
        ends = ends_of(settings)
        # Of a prompt without its padding; the mask has a row a prompt, or one an answer.
        mask = inputs.get("attention_mask")
        prompts = [None] if mask is None else mask.sum(1).tolist()
        rows = []
        for row, (ids, lps) in enumerate(zip(tokens.tolist(), values.tolist(), strict=True)):
            # Up to and with the first end token: what follows is padding of shorter answers.
            end = next((i + 1 for i, t in enumerate(ids) if t in ends), None)
            length = len(ids) if end is None else end
            finish = "length" if end is None else "stop"
            usage = Usage(prompts[row * len(prompts) // len(tokens)], length, finish=finish)
            text = tokenizer.decode(ids[:length], skip_special_tokens=True)
            cut = finish if end is None else None
            rows.append(Completion(text, ids[:length], lps[:length], cut, usage))
        return [rows[i : i + n] for i in range(0, len(rows), n)]

    @torch.no_grad()
    def odds(self, requests: list[Request], opening: str, choices: list[list[str]]) -> list[list[float]]:
        """Log-probability of every choice as what follows `opening` in the answer to its request."""
        found = []
        tokenizer = self.processor.tokenizer
        for request, options in zip(requests, choices, strict=True):
            text = self.rendered(request) + opening
            inputs = dict(
                self._encoded([text + option for option in options], [request.frames] * len(options))
            )
            logits = self.model(
                **{k: v for k, v in inputs.items() if k != "mm_token_type_ids" or not self.shares_clips}
            ).logits.float()
            # (options, L - 1): log p of each token given those before it; padding is on the left, so that a
            # choice's own tokens are the last of its row.
            logps = logits[:, :-1].log_softmax(-1).gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
            lengths = [len(tokenizer(option, add_special_tokens=False)["input_ids"]) for option in options]
            found.append([float(row[-n:].sum()) for row, n in zip(logps, lengths, strict=True)])
        return found

    def probabilities(self, frames: list[Frames]) -> list[float] | None:
        """How probable VANGUARD's classifier finds an anomaly in each clip, all of one shape; None for a
        model without one."""
        if getattr(getattr(self.model, "model", None), "classifier", None) is None:
            return None
        if not frames:
            return []
        with self._evaluating():
            return probabilities(self.model, self.processor, frames)

    @torch.no_grad()
    def heatmaps(self, frames: list[Frames]) -> list[np.ndarray] | None:
        """Heatmap (T', h, w) of every clip; None for a model that has none."""
        encode = getattr(getattr(self.model, "model", None), "encode_clips", None)
        if encode is None or self.model.model.ahd is None:
            return None
        maps: list[np.ndarray] = [np.empty(0)] * len(frames)
        sizes = [4 * video_tokens(clip) for clip in frames]  # the vision tower sees four patches a token
        for group in batches(sizes, self.budget):
            vision = self.processor.vision_inputs([frames[i] for i in group])
            clips = encode(
                vision["pixel_values_videos"].to(self.model.device),
                vision["video_grid_thw"].to(self.model.device),
            )
            for i, clip in zip(group, clips, strict=True):
                maps[i] = clip.heat.cpu().numpy()
        return maps
