"""How a model is opened: what stands under `model:` in a suite's file and behind `--model.` on the command
line. Which of it a backend takes, its class says (`bench.models.load` refuses the rest by name).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

# What changes where, how fast and for how much a model answers, not what it is asked: a run may go on with
# others.
FREE = (
    "budget",
    "max_model_len",
    "memory",
    "tensor_parallel",
    "compiled",
    "concurrency",
    "timeout",
    "retries",
    "price_in",
    "price_out",
)


@dataclass
class ModelOptions:
    """Arguments of a model; what is not given is as the backend has it."""

    family: str | None = None
    """Whose units of boxes and marks of reasoning it answers in (`bench.models.families`): by default that of
    its config.json. tvad: as the protocol has them, for a model that was trained on it."""
    trust_remote_code: bool = False
    """Run the Python files that the checkpoint brings (hf, vllm)."""
    dtype: str | None = None
    """Type of the weights: auto, float32, bfloat16, float16 (hf, vllm)."""
    attention: str | None = None
    """hf: eager, sdpa or what else transformers has; vllm: one of its backends, such as FLASH_ATTN."""
    budget: int | None = None
    """hf: tokens of a forward pass, padding and answers included."""
    max_model_len: int | None = None
    """vllm: tokens of a prompt and its answer, at most; by default what the suite needs."""
    memory: float | None = None
    """vllm: share of a GPU's memory."""
    tensor_parallel: int | None = None
    """vllm: GPUs that the model is split over. Copies of it side by side are processes: accelerate launch
    --num_processes N -m bench run."""
    compiled: bool | None = None
    """vllm: compile the model at the start: pays for long runs alone; by default on a GPU."""
    video: Literal["file", "frames", "images"] | None = None
    """openai: how clips travel: an mp4 (file), pictures with the time before each (frames), or pictures alone
    with all times in one sentence behind them (images)."""
    concurrency: int | None = None
    """openai: requests in flight."""
    timeout: float | None = None
    """openai: seconds that a request may take, its reply read whole."""
    retries: int | None = None
    """openai: of a request that failed for the moment."""
    max_completion_tokens: bool = False
    """openai: say the answer's limit by this name, as OpenAI's reasoning models want it; an endpoint that
    refuses max_tokens for it is asked so anyway."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """openai: further keys of every request, which win over ours; null takes one away."""
    price_in: float | None = None
    """openai: of a million tokens of prompts, in any money, where the endpoint states no cost; with
    price_out."""
    price_out: float | None = None
    """openai: of a million tokens of answers; with price_in."""

    @property
    def given(self) -> dict[str, Any]:
        """Those that differ from the defaults."""
        values, bare = vars(self), vars(ModelOptions())
        return {name: value for name, value in values.items() if value != bare[name]}
