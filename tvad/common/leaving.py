"""The end of a process that was one of several: the group is left before the interpreter goes, since a
backend's threads that outlive it abort a process whose work is done and written."""

import sys


def leave() -> None:
    """Wait for the others and leave their group; nothing for a process alone."""
    distributed = sys.modules.get("torch.distributed")  # not imported: no group
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        if (vllm := sys.modules.get("vllm.distributed.parallel_state")) is not None:
            # An engine in this process looks for its groups once more when the interpreter goes.
            vllm.destroy_model_parallel()
            vllm.destroy_distributed_environment()
        if distributed.is_initialized():
            distributed.destroy_process_group()
