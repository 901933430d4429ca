"""Options of vLLM's that would undo what a server of this package promises, however they are written."""

from collections.abc import Mapping, Sequence

from tvad.common.errors import InputError


def refuse(extra: Sequence[str], taken: Mapping[str, str], where: str = "") -> list[str]:
    """Names of the options in `extra`, with dashes. Raises InputError for one of `taken` {name: why not}:
    vLLM reads it with underscores, by a part of its key (`--media-io-kwargs.video.fps`), and cut short where
    no other option begins so (`--media-io`)."""
    named = [
        option.partition("=")[0].partition(".")[0].replace("_", "-")
        for option in extra
        if option.startswith("--")
    ]
    for name in named:
        for full, why in taken.items():
            if full == name or (len(name) > 2 and full.startswith(name)):
                raise InputError(f"{full} is not taken{where}: {why}")
    return named
