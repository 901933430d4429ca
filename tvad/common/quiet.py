"""A screen that shows what the project says: the libraries' warnings, notes and bars of loading are left out,
their errors are not. Called first by commands that people watch, as torch's C++ part looks only once."""

import logging
import os
import sys
import warnings

LOGGERS = ("torch.utils.cpp_extension", "torch.distributed", "vllm", "DeepSpeed", "transformers", "trl")


def first() -> bool:
    """Whether this process speaks for those that were launched with it (torchrun, accelerate)."""
    return os.environ.get("RANK", "0") == "0"


def note(text: str) -> None:
    """A line on stderr, from the first of several processes, which would all say the same."""
    if first():
        print(text, file=sys.stderr)


def quiet() -> None:
    """Let the libraries speak of errors only. What a person has set in the environment stays."""
    for name, value in {
        "PYTHONWARNINGS": "ignore",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
        # And a filter, as some of them set their own level when they are imported.
        logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.ERROR)
