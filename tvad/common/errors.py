"""What ends a command with one line and no traceback."""


class InputError(ValueError):
    """Everything that a user can put right: bad input, bad configuration, missing files. The message names
    the file, row or key and what was expected, on one line; exit status 2."""


def at_least(name: str, value: float, least: float) -> None:
    """Raises InputError for an option below its least value."""
    if not value >= least:
        raise InputError(f"{name} is {value:g}, expected {least:g} or more")


class Stopped(Exception):
    """Training ended before its last step; `status` is the command's exit status."""

    def __init__(self, reason: str, status: int):
        super().__init__(reason)
        self.status = status
