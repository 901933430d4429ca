"""How a trainer's weights come into a vLLM server on the same machine, with or without a GPU: a backend of
vLLM's weight transfer (`--weight-transfer-config '{"backend": "shared_files"}'`) that the plug-in registers.

The trainer writes safetensors files into a folder in memory, one after the other, and names each in
`/update_weights`; the workers map it. vLLM's own backends put the model on the meta device when an update
begins: a request that comes before its end, or after a transfer that failed, then ends the server. Here
nothing is touched before all has arrived and was found to fit, and `/finish_weight_update` swaps in one call,
between two steps of the scheduler. Until then the new weights are held beside the old, in the host's memory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer import WeightTransferEngine
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo

from tvad.model.vllm_plugin import FOLDER, replace_weights


@dataclass
class Begins(WeightTransferInitInfo):
    """Nothing is agreed on."""


@dataclass
class Part(WeightTransferUpdateInfo):
    """`file`: a bare name inside the folder: a client must not choose which file is read."""

    file: str


class SharedFiles(WeightTransferEngine[Begins, Part]):
    """One a worker."""

    init_info_cls, update_info_cls = Begins, Part

    def init_transfer_engine(self, init_info: Begins) -> None:
        """Nothing to set up."""

    def start_weight_update(self) -> None:
        self._coming: list[tuple[str, torch.Tensor]] = []

    def receive_weights(self, update_info: Part) -> None:
        """Raises ValueError for a name with folders, and for a tensor that the model has not in that
        shape."""
        name = update_info.file
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise ValueError("file: expected a name without folders")
        with safe_open(Path(os.environ[FOLDER], name), "pt") as found:
            coming = [(key, found.get_tensor(key)) for key in found.keys()]  # noqa: SIM118  no mapping
        for key, tensor in coming:
            if (wanted := self._shapes.get(key)) != tuple(tensor.shape):
                raise ValueError(f"{key}: shape {tuple(tensor.shape)}, the model has {wanted}")
        self._coming += coming

    def finish_weight_update(self) -> None:
        coming, self._coming = self._coming, []
        self._check_whole([name for name, _ in coming])
        replace_weights(self.model, coming, self.model_config)

    def shutdown(self) -> None:
        """Nothing is left open."""

    def _check_whole(self, names: list[str]) -> None:
        """Raise ValueError where nothing came, or a part of what vLLM keeps as one layer (q, k and v): the
        rest of it would be left empty."""
        if not names:
            raise ValueError("no weights have been sent")
        fused = getattr(self.model, "packed_modules_mapping", {}).values()
        for name in names:
            head, _, last = name.rpartition(".")
            above, _, module = head.rpartition(".")
            beside = {f"{above}.{part}.{last}" for parts in fused if module in parts for part in parts}
            if lacking := sorted((beside & self._shapes.keys()) - set(names)):
                raise ValueError(f"{name} came without {lacking[0]}, which is of the same layer in vLLM")

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """{name in transformers: shape} of all that the model takes."""
        if not hasattr(self, "_known"):
            self._known = shapes_of(self.model_config.model)
        return self._known


def shapes_of(path: str) -> dict[str, tuple[int, ...]]:
    """{name: shape} of a checkpoint's tensors as transformers names them; none is made."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    import tvad.model  # noqa: F401  registers T-VAD with the Auto classes

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
