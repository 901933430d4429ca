"""What both engines say of a checkpoint that they cannot open."""

from pathlib import Path

from tvad.common.errors import InputError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_dtype(kind: str, dtype: str) -> None:
    """Raise InputError for a type of weights that there is not."""
    if dtype not in DTYPES:
        raise InputError(f"{kind}: dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")


def check_weights(kind: str, path: str) -> None:
    """Raise InputError for a folder whose weights are pickled: they are never opened, and no digest of a run
    counts them (`bench.cache.WEIGHTS`)."""
    pickled = sorted(file.name for end in ("bin", "pt", "pth") for file in Path(path).glob(f"*.{end}"))
    if pickled and not any(Path(path).glob("*.safetensors")):
        raise InputError(f"{kind}:{path}: its weights are pickled ({pickled[0]}), expected *.safetensors")


def brings_code(spec: str) -> InputError:
    """Why a checkpoint with Python files of its own is not opened."""
    return InputError(f"{spec}: brings code of its own, which --model.trust_remote_code true would run")


def not_loaded(spec: str, error: Exception) -> InputError:
    """Why a library could not load a checkpoint, in one line."""
    text = str(error)
    if "trust_remote_code" in text:
        return brings_code(spec)
    if not isinstance(error, OSError | ValueError | ImportError):  # a KeyError says the key alone
        text = f"{type(error).__name__}: {text}"
    lines = [line for line in text.splitlines() if line.strip()] or [type(error).__name__]
    said = lines[1].strip() if " validation error for " in lines[0] and len(lines) > 1 else lines[0]
    return InputError(f"{spec}: cannot be loaded ({said[:300]})")
