"""The end of a process that was one of several: the group is left before the interpreter goes, since a
backend's threads that outlive it abort a process whose work is done and written."""

import torch.distributed


def leave() -> None:
    """Wait for the others and leave their group; nothing for a process alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
