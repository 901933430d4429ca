"""What this package's transfer of weights rests on in vLLM, and what vLLM's own engines (NCCL, CUDA IPC),
which need GPUs and were not run, would be given: fails loudly when vLLM moves."""

import dataclasses
import inspect

import pytest

pytest.importorskip("vllm")

from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer import base as vllm_base
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferEngine
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

from tvad.model.vllm_plugin import TRANSFER, register
from tvad.model.vllm_weights import SharedFiles

STEPS = {"init_transfer_engine", "start_weight_update", "receive_weights", "finish_weight_update", "shutdown"}


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_base_class_asks_for_what_ours_gives():
    assert WeightTransferEngine.__abstractmethods__ == STEPS
    assert not SharedFiles.__abstractmethods__
    for step in STEPS:
        assert parameters(getattr(SharedFiles, step)) == parameters(getattr(WeightTransferEngine, step))
    assert parameters(WeightTransferEngine.__init__) == ["self", "config", "vllm_config", "device", "model"]
    # Ours is called by the base's `update_weights`, which checks what a client sends.
    assert SharedFiles.update_weights is WeightTransferEngine.update_weights
    assert issubclass(SharedFiles.init_info_cls, vllm_base.WeightTransferInitInfo)
    assert issubclass(SharedFiles.update_info_cls, vllm_base.WeightTransferUpdateInfo)


def test_it_is_known_by_name_however_often_the_plug_in_is_called():
    register()
    register()
    assert WeightTransferEngineFactory._registry[TRANSFER]() is SharedFiles
    assert {"nccl", "ipc"} <= WeightTransferEngineFactory._registry.keys()


@pytest.mark.parametrize(
    ("engine", "begins", "part"),
    [
        (
            NCCLWeightTransferEngine,
            {"master_address", "master_port", "rank_offset", "world_size", "packed"},
            {"names", "dtype_names", "shapes"},
        ),
        (IPCWeightTransferEngine, {"packed"}, {"names", "dtype_names", "shapes", "ipc_handles"}),
    ],
)
def test_vllms_own_engines_have_the_same_life(engine, begins, part):
    assert issubclass(engine, WeightTransferEngine) and not engine.__abstractmethods__
    assert begins <= {field.name for field in dataclasses.fields(engine.init_info_cls)}
    assert part <= {field.name for field in dataclasses.fields(engine.update_info_cls)}


def test_the_server_has_the_paths_that_the_trainer_asks():
    from vllm.entrypoints.serve.dev.cache.api_router import router as caches
    from vllm.entrypoints.serve.dev.rlhf.api_router import pause_generation
    from vllm.entrypoints.serve.dev.rlhf.api_router import router as weights

    found = {route.path for router in (caches, weights) for route in router.routes}
    wanted = {"pause", "resume", "start_weight_update", "update_weights", "finish_weight_update"}
    wanted |= {"weight_info", "reset_prefix_cache", "reset_encoder_cache"}
    assert {f"/{path}" for path in wanted} <= found
    assert {"mode", "clear_cache"} <= set(parameters(pause_generation))


def test_a_worker_forgets_an_update_that_failed():
    """`rft.grpo.transfer` ends one that was left open by a part that is none."""
    from vllm.v1.worker.gpu_worker import Worker

    source = inspect.getsource(Worker.update_weights)
    assert "except BaseException" in source and "self._weight_update_active = False" in source
