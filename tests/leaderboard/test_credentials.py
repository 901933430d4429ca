"""Secrets come from files and the environment, one place each."""

import pytest

from leaderboard.board.config import Mail
from leaderboard.board.credentials import VARIABLES, secret
from leaderboard.notices import Teller
from tvad.common.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of credentials, as systemd and compose.yaml set it; the environment holds no secret."""
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("what", VARIABLES)
def test_a_secret_is_found_where_it_may_be_and_in_one_place(folder, what, monkeypatch):
    assert secret(what) is None
    kept = folder / f"leaderboard.{what}"
    kept.write_text(" \n")
    assert secret(what) is None, "an empty file of a deployment that has none"
    kept.write_text("läng er\n")
    assert secret(what) == "läng er"
    monkeypatch.setenv(VARIABLES[what], "another")
    with pytest.raises(InputError, match="both in") as caught:
        secret(what)
    assert "another" not in str(caught.value) and "läng" not in str(caught.value)
    kept.unlink()
    assert secret(what) == "another"
    (folder / "own").write_text("third")
    with pytest.raises(InputError, match="both in"):
        secret(what, str(folder / "own"))
    monkeypatch.delenv(VARIABLES[what])
    assert secret(what, str(folder / "own")) == "third"
    kept.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        secret(what)
    kept.unlink()
    kept.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        secret(what)


def test_a_mail_user_without_a_password_is_refused(folder, store):
    class Plain:
        webhook = type("None", (), {"url": "", "secret_file": None})
        mail = Mail(["a@example.org"], "b@example.org", user="b")

    with pytest.raises(InputError, match="user is set, but no password"):
        Teller(Plain(), store)
