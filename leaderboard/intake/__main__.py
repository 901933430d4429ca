"""The child that unpacks and verifies a submission (`limited.checked`): JSON on standard input says what and
within which limits, JSON on standard output what was found."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from leaderboard.intake import archive, submission
from leaderboard.intake.limited import limit
from tvad.common.errors import InputError


def main() -> None:
    """Check what standard input names."""
    given = json.load(sys.stdin)
    archive.LIMITS = archive.Limits(**given["sizes"])
    limit(given["gigabytes"], given["seconds"])
    folder = Path(given["folder"])
    try:
        if given["archive"] is not None:
            archive.unpack(Path(given["archive"]), folder)
        found = submission.verify(folder, given["known"])
        result = {
            "hash": found.hash,
            "card": asdict(found.card),
            "suites": found.suites,
            "rejected": [(problem.where, problem.reason[:300]) for problem in found.rejected],
            "rejected_lines": found.rejected_lines,
        }
    except InputError as error:
        result = {"refused": str(error)}
    except MemoryError:
        result = {"refused": f"checking takes more than {given['gigabytes']:g} GiB of memory"}
    except OSError as error:
        if error.errno not in archive.FULL:
            raise
        result = {"full": error.errno}
    json.dump(result, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()
