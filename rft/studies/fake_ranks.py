"""A model shared out over processes that do not exist: FSDP2 over fake tensors, laid out by accelerate as
`configs/accelerate/fsdp2.yaml` says, as one of the processes sees it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup
from torch.testing._internal.distributed.fake_pg import FakeStore

from tvad.common import shipped
from tvad.common.config import read_yaml

# What allocates: gathered weights, shared-out gradients.
_ALLOCATE = ("lazy_init", "unshard", "wait_for_unshard", "pre_backward", "post_backward", "finalize_backward")


@contextmanager
def processes(count: int) -> Iterator[DeviceMesh]:
    """This process as the first of `count`, the others answering at once with nothing."""
    dist.init_process_group("fake", rank=0, world_size=count, store=FakeStore())
    try:
        yield init_device_mesh("cpu", (count,), mesh_dim_names=("dp_shard",))
    finally:
        dist.destroy_process_group()


def shared_out(model: Any, mesh: DeviceMesh) -> None:
    """Shard a model in place over the processes of `mesh`."""
    told = read_yaml(shipped.configuration("fsdp2", "accelerate"))
    given = {name.removeprefix("fsdp_"): value for name, value in told["fsdp_config"].items()}
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=given["version"],
        reshard_after_forward=given["reshard_after_forward"],
        auto_wrap_policy=given["auto_wrap_policy"],
        activation_checkpointing=given["activation_checkpointing"],
        cpu_ram_efficient_loading=False,  # there is nothing to load
    )
    plugin.set_mixed_precision(told["mixed_precision"])
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision=told["mixed_precision"],
        is_main_process=False,
        torch_device_mesh=mesh,
        parallelism_config=SimpleNamespace(fsdp_dim_names=mesh.mesh_dim_names),
    )
    fsdp2_prepare_model(accelerator, model)


@contextmanager
def everything_fake(mode: Any) -> Iterator[None]:
    """What FSDP2 allocates within a step is fake, like the weights (`mode`: a SizesOnly)."""

    def fake(method: Callable) -> Callable:
        def inner(*args, **kwargs):
            kept, mode.everything = mode.everything, True
            try:
                return method(*args, **kwargs)
            finally:
                mode.everything = kept

        return inner

    changed: dict[str, Any] = {name: fake(getattr(FSDPParamGroup, name)) for name in _ALLOCATE}
    with mock.patch.multiple(FSDPParamGroup, **changed):
        yield


class ShardedPeak(FSDPMemTracker):
    """A tracker of several passes through one model: only the peak over all modules is asked for."""

    def _fsdp_state_pre_forward(self, fsdp_mod, orig_fsdp_state_pre_fw):
        tracked = super()._fsdp_state_pre_forward(fsdp_mod, orig_fsdp_state_pre_fw)

        def forgetful(*args, **kwargs):
            if not self._mod_tracker.is_bw:
                self.memory_tracking.pop(fsdp_mod, None)
            return tracked(*args, **kwargs)

        return forgetful
