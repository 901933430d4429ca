"""`leaderboard gate`: a run against a row of a board."""

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

from tvad.common import cli
from tvad.common.errors import InputError

ON_BOARD = "board:"  # before a name: a model of the board


def gate(
    model: str,
    /,
    against: str,
    suite: str,
    url: str,
    gate: str = "reasoning",
    junit: Annotated[str | None, cli.FILE] = None,
    markdown: Annotated[str | None, cli.FILE] = None,
) -> int:
    """Compare a run with a model of the leaderboard, question by question; exit status 1 on a regression.

    Args:
        model: A finished run's folder, or of a model on the leaderboard its hash or board: and OWNER/NAME.
        against: Hash (or its first 8 digits or more), OWNER/NAME, or a name that one account alone has.
        suite: Name of the suite.
        url: Address of the leaderboard.
        gate: YAML file of tolerated drops, or the name of a shipped one.
        junit: Write the verdicts as JUnit XML.
        markdown: Write the comparison as Markdown.

    Example:
        leaderboard gate runs/candidate --against my-model --suite scenes --url http://127.0.0.1:8200
    """
    from bench.gate import compare_runs
    from leaderboard.client import Client

    client = Client(url)
    folder = Path(model)
    if folder.is_dir():
        candidate: AbstractContextManager[Path] = nullcontext(folder)
    elif model.startswith(ON_BOARD) or re.fullmatch(r"[0-9a-f]{8,64}", model):
        candidate = client.scored_run(model.removeprefix(ON_BOARD), suite)
    else:  # a run that was not made must not be taken for somebody's OWNER/NAME
        raise InputError(f"{model}: no such folder; a model of the board is its hash, or {ON_BOARD}{model}")
    with client.scored_run(against, suite) as before, candidate as after:
        return compare_runs(before, after, gate, junit, markdown)
