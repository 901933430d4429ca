"""What both engines say of a checkpoint that they cannot open."""

from tvad.common.errors import InputError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_dtype(kind: str, dtype: str) -> None:
    """Raise InputError for a type of weights that there is not."""
    if dtype not in DTYPES:
        raise InputError(f"{kind}: dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")


def not_loaded(spec: str, error: Exception) -> InputError:
    """Why a library could not load a checkpoint, in one line."""
    text = str(error)
    if "trust_remote_code" in text:
        return InputError(f"{spec}: brings code of its own, which --model.trust_remote_code true would run")
    lines = [line for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return InputError(f"{spec}: cannot be loaded ({lines[0][:300]})")
