"""The end of a process that was one of several: the group is left before the interpreter goes, since a
backend's threads that outlive it abort a process whose work is done and written."""

import sys


def leave() -> None:
    """Wait for the others and leave their group; nothing for a process alone."""
    distributed = sys.modules.get("torch.distributed")  # not imported: no group
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        # vLLM's engine in this process ends its groups itself when the interpreter goes, this one with them.
        vllm = sys.modules.get("vllm.distributed.parallel_state")
        if vllm is None or not vllm.model_parallel_is_initialized():
            distributed.destroy_process_group()
