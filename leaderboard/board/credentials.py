"""Secrets that a board is given by who runs it: never in its configuration, nor in an image. One is in a file
that the configuration names, in the environment, or in a file of $CREDENTIALS_DIRECTORY, which systemd
(LoadCredential=) and compose.yaml set."""

import os
from pathlib import Path

from tvad.common.errors import InputError

FOLDER = "CREDENTIALS_DIRECTORY"
VARIABLES = {
    "oidc": "LEADERBOARD_OIDC_SECRET",  # of the board at its provider of identities
    "webhook": "LEADERBOARD_WEBHOOK_SECRET",  # that signs what is posted
    "mail": "LEADERBOARD_MAIL_PASSWORD",
    "metrics": "LEADERBOARD_METRICS_TOKEN",  # that opens /metrics
}


def secret(what: str, file: str | None = None) -> str | None:
    """One of VARIABLES: from the `file` that the configuration names, the environment, or the file
    leaderboard.WHAT of the folder of credentials; None where it is nowhere, or empty. Raises InputError for
    one that cannot be read, and for one that is in two places, of which either may be the old one."""
    folder = os.environ.get(FOLDER)
    kept = Path(folder) / f"leaderboard.{what}" if folder else None
    found = {
        f"{what}: secret_file": _read(what, Path(file)) if file else None,
        VARIABLES[what]: os.environ.get(VARIABLES[what], "").strip(),
        f"the file {kept}": _read(what, kept) if kept is not None and kept.exists() else None,
    }
    given = {place: text for place, text in found.items() if text}
    if len(given) > 1:
        raise InputError(f"{what}: the secret is both in {' and in '.join(given)}; leave one")
    return next(iter(given.values()), None)


def _read(what: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what}: secret_file: {file} cannot be read") from error
