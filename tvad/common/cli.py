"""Shared by every command: exit status and one-line errors."""

import os
import sys
from collections.abc import Callable

from tvad.common.errors import InputError


def guard(main: Callable[..., int], *args) -> int:
    """Run a command: its exit status, 2 and one line on stderr for bad input, 130 when interrupted."""
    try:
        return main(*args)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
