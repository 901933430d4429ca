"""Fifty clients at once while servers and scorers die at random points of every change of state: everything
acknowledged is scored once, nothing is lost. The longer form, whose table is written down, is
`python tests/killing.py`."""

from functools import partial

import pytest
from board_fixtures import Postgres
from killing import crowd
from mortal import CHANGES


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_fifty_clients_and_kills(tmp_path, baseline_runs, database, request):
    url, restart = "sqlite", None
    if database == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url, restart = server.fresh(), partial(server.control, "-m", "immediate", "restart")
    found = crowd(tmp_path, baseline_runs, url, 60, 0, restart)
    died = {line.split("\t")[0] for line in found.deaths()}
    assert len(found.deaths()) == 60 and len(CHANGES & died) >= 6, found.text
