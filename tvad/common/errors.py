"""One exception for everything a user can put right: bad input, bad config, missing files. Commands print it
as one line, exit 2."""


class InputError(ValueError):
    """Bad input. The message names the file, row or key and what was expected, on one line."""
