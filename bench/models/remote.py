"""`hf:` of a checkpoint that transformers has no class for and whose own Python files answer, by a `chat` of
theirs; only where they are trusted. Two such interfaces are known, told apart by what `chat` takes:

- MiniCPM-V 2.5 to 4.5: `chat(image, msgs, tokenizer, ...)` (openbmb/MiniCPM-V-2_6, modeling_minicpmv.py),
  asked as VLMEvalKit asks it of videos (vlmeval/vlm/minicpm_v.py: one slice a frame, no ids of pictures);
- InternVL 1.5 to 3 in the layout before transformers had it: `chat(tokenizer, pixel_values, question,
  generation_config, ...)` (OpenGVLab/InternVL2-8B, modeling_internvl_chat.py), asked as lmms-eval asks it
  (lmms_eval/models/internvl2.py, load_video: one tile a frame, `Frame1: <image>`).

Both take one question at a time; frames go as pictures in order, their times in words behind them.
"""

import inspect
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoProcessor, AutoTokenizer, PreTrainedConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from bench.models.base import Completion, Request, Sampling, Unseen, Usage, seeds_of, times_of
from bench.models.clips import Given
from bench.models.families import known
from bench.models.opening import brings_code, not_loaded
from tvad.common.errors import InputError
from tvad.control import plain_messages, tokens_of
from tvad.data.video import Frames
from tvad.model.generation import plain_generation
from tvad.model.room import context_of
from tvad.model.start import COMPUTED

TASK = "AutoModelForImageTextToText"
CLASSES = ("AutoModel", "AutoModelForCausalLM")  # under which their config.json names the class
LIKELIEST = 20  # first tokens whose log-probs are looked at
# Of ImageNet, red, green, blue, of pictures of 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def brought(path: str) -> dict[str, Any]:
    """What a checkpoint's config.json says of classes in its own Python files, {} where it needs none: it
    says nothing, or transformers has a class that takes pictures and text. Nothing of it is run."""
    try:
        told = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # who opens it says so
    found = told.get("auto_map") if isinstance(told, dict) else None
    if not isinstance(found, dict) or TASK in found:
        return {}
    return {} if told.get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES else found


class Chat:
    """A checkpoint's `chat`. takes: its arguments, by which it is known. marks: stand for pictures in its
    prompts, and are plain characters in people's text."""

    takes: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]

    def __init__(self, model: Any, processor: Any, tokenizer: Any):
        self.model, self.processor, self.tokenizer = model, processor, tokenizer
        self.arguments = inspect.signature(model.chat).parameters

    def answer(self, messages: list[dict], clip: Frames, tokens: int, draw: Any) -> Any:
        """What `chat` gives for the reply of at most so many tokens to chat messages about a clip; draw:
        temperature and top_p, None for a greedy one."""
        raise NotImplementedError


class MiniCpm(Chat):
    takes = ("image", "msgs", "tokenizer")
    marks = ("(<image>./</image>)", "<image>./</image>")

    def answer(self, messages: list[dict], clip: Frames, tokens: int, draw: Any) -> str:
        system, turns = parted(messages)
        more: dict[str, Any] = {"system_prompt": system}
        if "system_prompt" not in self.arguments:
            more, turns = {}, folded(system, turns)
        if "processor" in self.arguments:
            more["processor"] = self.processor
        said = [{"role": turn["role"], "content": self._content(turn["content"], clip)} for turn in turns]
        knobs = (
            {"sampling": False, "num_beams": 1} if draw is None else {"sampling": True, "top_k": 0, **draw}
        )
        # A prompt above max_inp_length is cut without a word, and those above its positions are refused here.
        return self.model.chat(
            image=None,
            msgs=said,
            tokenizer=self.tokenizer,
            max_new_tokens=tokens,
            max_inp_length=sys.maxsize,
            max_slice_nums=1,
            use_image_id=False,
            repetition_penalty=1.0,
            **knobs,
            **more,
        )

    def _content(self, content: list[dict], clip: Frames) -> list[Any]:
        found: list[Any] = []
        for part in content:
            found += (
                [part["text"]] if "text" in part else [*map(Image.fromarray, clip.images), times_of(clip)]
            )
        return found


class InternVl(Chat):
    takes = ("tokenizer", "pixel_values", "question", "generation_config", "num_patches_list", "history")
    marks = ("<image>", "<img>", "</img>", "<IMG_CONTEXT>")

    def answer(self, messages: list[dict], clip: Frames, tokens: int, draw: Any) -> str:
        system, turns = parted(messages)
        own = getattr(self.model, "system_message", None)
        if own is None:
            turns = folded(system, turns)
        texts = [self._text(turn["content"], clip) for turn in turns]
        pixels = self.pixels(clip).to(self.model.device, next(self.model.parameters()).dtype)
        knobs = {"do_sample": False} if draw is None else {"do_sample": True, "top_k": 0, **draw}
        try:
            if own is not None and system:
                self.model.system_message = system
            return self.model.chat(
                self.tokenizer,
                pixels,
                texts[-1],
                {"max_new_tokens": tokens, "num_beams": 1, **knobs},
                num_patches_list=[1] * len(pixels),
                history=[*zip(texts[:-1:2], texts[1:-1:2], strict=True)] or None,
            )
        finally:
            if own is not None:
                self.model.system_message = own

    def _text(self, content: list[dict], clip: Frames) -> str:
        frames = "".join(f"Frame{n + 1}: <image>\n" for n in range(len(clip.images)))
        return "".join(part["text"] if "text" in part else f"{frames}{times_of(clip)}\n" for part in content)

    def pixels(self, clip: Frames) -> torch.Tensor:
        """A clip as the vision tower takes it, (T, 3, side, side): each frame resized to one square."""
        config = self.model.config
        side = getattr(config, "force_image_size", None) or config.vision_config.image_size
        frames = [
            Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in clip.images
        ]
        values = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).float() / 255
        return ((values - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(0, 3, 1, 2)


def parted(messages: list[dict]) -> tuple[str, list[dict]]:
    """The system message's text, "" without one, and the turns, their contents as lists of parts."""
    turns = [
        {**turn, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}
        for turn in messages
        for content in [turn["content"]]
    ]
    if turns[0]["role"] != "system":
        return "", turns
    return "".join(part["text"] for part in turns[0]["content"]), turns[1:]


def folded(system: str, turns: list[dict]) -> list[dict]:
    """The turns, the first opened by what the system message says."""
    first, *rest = turns
    opening = [{"type": "text", "text": f"{system}\n"}] if system else []
    return [{**first, "content": [*opening, *first["content"]]}, *rest]


def language_model(model: torch.nn.Module) -> tuple[Any, Any]:
    """The part of a model that writes, and its layer that gives the logits; (None, None) where neither is to
    be found by `get_output_embeddings`."""
    # Parts before the whole, whose `generate` hands its prompt on to one of them.
    for part in [*list(model.modules())[1:], model]:
        head = getattr(part, "get_output_embeddings", lambda: None)()
        if isinstance(head, torch.nn.Module) and getattr(part, "generation_config", None) is not None:
            return part, head
    return None, None


class Seen(BaseException):
    """Ends an answer whose first logits are there; no `except Exception` of a chat takes it for its own."""


class RemoteModel:
    """A checkpoint that answers by its own `chat`, question by question. Where its language model is found,
    its first token is looked at and prompts beyond its positions are refused; what of its
    generation_config.json would change answers is not used."""

    name = "hf"

    def __init__(self, chat: Chat, family: str | None = None):
        self.chat, self.given = chat, Given("images")
        self.known = known(family, chat.model.config)
        self.writer, self.head = language_model(chat.model)
        config = chat.model.config if self.writer is None else self.writer.config
        self.context = context_of(config)
        self._prompt: int | None = None  # tokens of the last one
        self._marks = (*tokens_of(chat.tokenizer), *chat.marks)

    @classmethod
    def open(
        cls,
        path: str,
        own: dict[str, Any],
        dtype: str,
        attention: str | None,
        trusted: bool,
        family: str | None,
    ) -> "RemoteModel":
        """Of a checkpoint's folder; own: its classes (`brought`). Raises InputError for one whose code is not
        trusted, cannot be opened, or answers by neither interface, before its weights are read."""
        spec = f"hf:{path}"
        if not trusted:
            raise brings_code(spec)
        named = next((own[name] for name in CLASSES if name in own), None)
        if named is None:
            raise InputError(f"{spec}: its auto_map names none of {', '.join((TASK, *CLASSES))}")
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=True)
            config._name_or_path = path  # where MiniCPM-V's class looks for its processor
            kind: Any = get_class_from_dynamic_module(named, path)
            interface = _interface_of(kind, spec)
            if attention is not None:
                parts = [part for part in vars(config).values() if isinstance(part, PreTrainedConfig)]
                for part in (config, *parts):
                    part._attn_implementation = attention
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
            processor = tokenizer
            if "processor" in inspect.signature(kind.chat).parameters:
                processor = AutoProcessor.from_pretrained(path, trust_remote_code=True)
            model = _filled(kind, config, path, spec, dtype)
            model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
            return cls(interface(model, processor, tokenizer), family)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # whatever a checkpoint's own code raises
            raise not_loaded(spec, error) from error

    def picture(self, count: int, height: int, width: int) -> tuple[int, int] | None:
        return None

    @torch.no_grad()
    def sample(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of every request, in order; greedy ones are one and the same."""
        drawn = sampling.n if sampling.temperature else 1
        draw = (
            {"temperature": sampling.temperature, "top_p": sampling.top_p} if sampling.temperature else None
        )
        found = []
        with torch.random.fork_rng():
            for request, seed in zip(requests, seeds_of(requests, sampling.seed), strict=True):
                completions = []
                for attempt in range(drawn):
                    torch.manual_seed(seed + attempt)
                    began = time.perf_counter()
                    text = self._answer(request, sampling.max_tokens, draw)
                    # An answer's end is not told: neither why it ended nor how many tokens it has.
                    usage = Usage(self._prompt, seconds=time.perf_counter() - began)
                    completions.append(Completion(text, usage=usage))
                found.append(completions * (sampling.n // drawn))
        return found

    @torch.no_grad()
    def first_token(self, requests: list[Request]) -> list[dict[Any, float]] | None:
        """{token id: log-prob} of the likeliest first tokens of the answer to each request; None where the
        layer that gives them is not found. Raises Unseen where it is found and not used."""
        if self.head is None:
            return None
        found = []
        for request in requests:
            logits = self._peek(request)
            likeliest = logits.float().log_softmax(-1).topk(LIKELIEST)
            found.append(dict(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)))
        return found

    def _peek(self, request: Request) -> torch.Tensor:
        """The first logits (V) of an answer; what would follow is not computed. Raises Unseen where it ends
        without any."""
        seen: list[torch.Tensor] = []

        def end(_: Any, __: Any, logits: torch.Tensor) -> None:
            seen.append(logits[0, -1])
            raise Seen

        hook = self.head.register_forward_hook(end)
        try:
            self._answer(request, 1, None)
        except Seen:
            pass
        except (Exception, SystemExit):  # of a chat that was ended: what is asked for is there
            if not seen:
                raise
        finally:
            hook.remove()
        if not seen:
            raise Unseen("hf: its chat does not use the layer that gives log-probs")
        return seen[0]

    def heatmaps(self, frames: list[Frames]) -> list[np.ndarray] | None:
        """None: it has none."""
        return None

    def _answer(self, request: Request, tokens: int, draw: dict[str, float] | None) -> str:
        """Raises InputError for what is no text."""
        messages = plain_messages(request.messages, self._marks)
        with self._bounded(tokens):
            found = self.chat.answer(messages, request.frames, tokens, draw)
        if isinstance(found, tuple) and found:  # with the history
            found = found[0]
        if not isinstance(found, str):
            raise InputError(f"hf: its chat answered {type(found).__name__}, expected text")
        return found

    @contextmanager
    def _bounded(self, tokens: int) -> Iterator[None]:
        """Answers by nothing but what is asked for, of prompts that leave room for so many tokens."""
        if self.writer is None:
            yield
            return
        self._prompt = None
        refused: list[InputError] = []

        def measure(_: Any, given: tuple, named: dict[str, Any]) -> None:
            taken = named.get("inputs_embeds")
            taken = named.get("input_ids", given[0] if given else None) if taken is None else taken
            if taken is None or self._prompt is not None:
                return
            self._prompt = taken.shape[1]
            if self._prompt + tokens > self.context:
                refused.append(
                    InputError(
                        f"hf: a prompt of {self._prompt} tokens and up to {tokens} more, the model has"
                        f" {self.context} positions; give max_frames less"
                    )
                )
                raise refused[0]

        hook = self.writer.register_forward_pre_hook(measure, with_kwargs=True)
        try:
            with plain_generation(self.writer, self.chat.tokenizer):
                yield
        finally:
            hook.remove()
        if refused:  # the chat took it for its own, and said something else
            raise refused[0]


def _interface_of(kind: Any, spec: str) -> type[Chat]:
    """The interface of a class's `chat`. Raises InputError for another."""
    taken = [*inspect.signature(kind.chat).parameters][1:] if hasattr(kind, "chat") else None
    for interface in (MiniCpm, InternVl):
        if taken is not None and {*interface.takes} <= {*taken}:
            return interface
    looked = " nor ".join(f"{one.__name__}'s ({', '.join(one.takes)}, …)" for one in (MiniCpm, InternVl))
    has = f"chat({', '.join(taken)})" if taken is not None else "no chat"
    raise InputError(f"{spec}: {kind.__name__} has {has}, which is neither {looked}")


def _filled(kind: Any, config: Any, path: str, spec: str, dtype: str) -> Any:
    """A model of a checkpoint's own class with its weights. `from_pretrained` of transformers 5 makes models
    without memory first, which such code, older than that, does not allow (`.item()`, buffers that are
    computed)."""
    files = sorted(Path(path).glob("*.safetensors"))
    if not files:
        raise InputError(f"{spec}: holds no *.safetensors")
    wanted = getattr(config, "dtype", None) if dtype == "auto" else getattr(torch, dtype)
    before = torch.get_default_dtype()
    torch.set_default_dtype(wanted or torch.float32)
    try:
        model = kind(config)
    finally:
        torch.set_default_dtype(before)
    # Weights that are one have several names, of which a file holds one.
    names = model.state_dict(keep_vars=True)
    missing = {id(value): name for name, value in names.items()}
    for file in files:
        weights = load_file(file)
        unknown = sorted(name for name in weights.keys() - names.keys() if not name.endswith(COMPUTED))
        if unknown:
            raise InputError(f"{spec}: {file.name} holds {unknown[0]}, which {kind.__name__} has not")
        model.load_state_dict(weights, strict=False)
        for name in weights:
            missing.pop(id(names.get(name)), None)
    if missing:
        raise InputError(f"{spec}: its weights lack {sorted(missing.values())[0]}")
    return model
