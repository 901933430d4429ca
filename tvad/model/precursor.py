"""The published weights of T-VAD's precursor (its first author's thesis, momiji-bit/PG-Thesis-PGADV): its
heatmap decoder from safetensors, and its .pth as safetensors.

Of the rest nothing is taken: its encoder is another one than the paper's. A .pth is a pickle: it is read by
torch's own reader that knows nothing but tensors and plain containers.
"""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from tvad.common.errors import InputError
from tvad.common.files import replacing
from tvad.model.ahd_thesis import PREFIX, ours

# What torch's reader raises for a file that it does not read, or will not.
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError)


def weights_in(path: str | Path) -> dict[str, torch.Tensor]:
    """The precursor's decoder by our names, from a safetensors file or those of a checkpoint folder; {} where
    they have none. Raises InputError for a file that cannot be read."""
    found: dict[str, torch.Tensor] = {}
    files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else [Path(path)]
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                names = [name for name in opened.keys() if PREFIX in name]  # noqa: SIM118  not a mapping
                found |= {name: opened.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file}: cannot be read as safetensors ({error})") from error
    return ours(found)


def put_in(weights: Mapping[str, torch.Tensor], decoder: nn.Module) -> None:
    """Load a decoder's weights by our names. Raises InputError that names the first that is missing, unknown
    or of another size."""
    wanted = {name: tensor for name, tensor in decoder.state_dict().items() if name != "text_features"}
    for name in [*wanted, *weights]:
        if name not in weights or name not in wanted:
            raise InputError(
                f"the precursor's decoder: {name} is {'missing' if name in wanted else 'unknown'}"
            )
        if (found := tuple(weights[name].shape)) != (size := tuple(wanted[name].shape)):
            raise InputError(
                f"the precursor's decoder: {name} is {found}, expected {size}: it is of another backbone"
            )
    decoder.load_state_dict(dict(weights), strict=False)


def convert(path: str | Path, out: str | Path) -> tuple[int, int]:
    """The decoder's tensors of a .pth, by their names, into the safetensors file `out`; returns how many were
    written, and how many others left out. Raises InputError for a file that holds anything but tensors (none
    of it is executed), no decoder, or one whose tensors are no plain weights."""
    weights = _read(path)
    kept = {name: tensor for name, tensor in weights.items() if PREFIX in name}
    if not kept:
        raise InputError(f"{path}: holds no tensor named …{PREFIX}…, as the precursor's decoder has")
    _check(path, kept)
    # Copies: safetensors takes no two names of one memory, as a whole model's file may have them.
    kept = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in kept.items()
    }
    with replacing(out) as temporary:
        save_file(kept, temporary)
    return len(kept), len(weights) - len(kept)


def _check(path: str | Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise InputError for tensors that are no plain weights, and for more of them than the file can hold: a
    stride of 0 makes any number of values out of one."""
    room = Path(path).stat().st_size
    for name, tensor in weights.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
        if not plain or not tensor.is_floating_point():
            raise InputError(f"{path}: {name!r:.80} is no plain tensor of floating-point numbers")
        room -= tensor.numel() * tensor.element_size()
        if room < 0:
            raise InputError(f"{path}: {name!r:.80} and those before it are larger than the file")


def _is_mapped(path: str | Path) -> bool:
    """Whether a file can be mapped, so that a whole model's does not fill the memory: old ones cannot. Raises
    InputError for one that is compressed, whose packed bytes torch would map as if they were weights."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, *UNREADABLE) as error:
        raise InputError(f"{path}: cannot be read as a file of torch.save") from error
    if packed:
        raise InputError(
            f"{path}: is compressed, as torch.save writes none: expected the file as it was saved"
        )
    return True


def _read(path: str | Path) -> dict[str, torch.Tensor]:
    if not Path(path).is_file():
        raise InputError(
            f"{path}: {'is a folder, expected a file' if Path(path).is_dir() else 'no such file'}"
        )
    mapped = _is_mapped(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it then refuses
            data: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused: it holds more than tensors, or is no file of torch.save"
        ) from error
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as a file of torch.save") from error
    data = data.get("state_dict", data) if isinstance(data, Mapping) else data
    if not isinstance(data, Mapping):
        raise InputError(f"{path}: expected a mapping of names to tensors, found {type(data).__name__}")
    for name, tensor in data.items():
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"{path}: {name!r:.80} is no tensor but {type(tensor).__name__}")
    return {str(name): tensor for name, tensor in data.items()}
