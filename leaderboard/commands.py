"""The commands of `leaderboard`: each takes what was typed, calls what does the work, prints."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import write_whole

TURN = 60.0  # seconds between looks at the phases of private splits
HOUR = 3600.0
LINES = 100  # of a listing


def card(out: Annotated[str, cli.FILE]) -> int:
    """Write a model card to fill in.

    Args:
        out: YAML file, which must not exist yet.

    Example:
        leaderboard card --out card.yaml
    """
    from leaderboard.card import card_template

    if Path(out).exists():
        raise InputError(f"--out: {out} exists already")
    print(write_whole(out, card_template()))
    return 0


def pack(runs: list[str], /, card: str, out: str) -> int:
    """Pack finished benchmark runs and a model card into a submission.

    Args:
        runs: SUITE=RUN, one for every suite.
        card: YAML file; `leaderboard card` writes one to fill in.
        out: A .zip, or a folder.

    Example:
        leaderboard pack scenes=runs/tiny-greedy --card card.yaml --out submission.zip
    """
    from leaderboard.intake import submission

    folders = {}
    for given in runs:
        suite, equals, run = given.partition("=")
        if not equals or not suite or suite in folders:
            raise InputError(f"{given!r}: expected SUITE=RUN, every suite once")
        folders[suite] = Path(run)
    found = submission.pack(folders, Path(card), Path(out))
    print(f"{out}: {found.card.name}, {', '.join(found.suites)}, {found.hash}")
    return 0


def verify(submission: str, /) -> int:
    """Check a submission; exit status 1 where lines of it would not be scored.

    Args:
        submission: Folder or .zip.

    Example:
        leaderboard verify submission.zip
    """
    from leaderboard.intake import limited

    found = limited.look(Path(submission))
    for problem in found.rejected:
        print(f"would not be scored: {problem}")
    if (more := found.rejected_lines - len(found.rejected)) > 0:
        print(f"and {more} lines more")
    print(f"{found.card.name} by {found.card.organisation}: {', '.join(found.suites)}, {found.hash}")
    return 1 if found.rejected else 0


def submit(submission: str, /, url: str, wait: bool = False) -> int:
    """Send a submission, from where an earlier try ended; the token is in LEADERBOARD_TOKEN. Exit status 1
    where lines of it will not be scored.

    Args:
        submission: A .zip.
        url: Address of the leaderboard.
        wait: Until it is scored; exit status 1 where that fails.

    Example:
        leaderboard submit submission.zip --url http://127.0.0.1:8200 --wait
    """
    from leaderboard.client import Client
    from leaderboard.intake import limited

    client, path = Client(url, _token()), Path(submission)
    limited.look(path)  # what the server would refuse is not sent
    if not path.is_file():
        raise InputError(f"{path}: expected a .zip; `leaderboard pack --out submission.zip` makes one")
    found = client.send(path)
    lost = found["rejected_lines"]
    note = f"; {lost} lines will not be scored" if lost else ""
    print(f"{found['state']}: {client.url}{found['url']}{note}")
    if wait:
        found = client.wait(found["hash"])
        print(found["state"] + (f": {found['error']}" if found["error"] else ""))
    return 1 if lost or found["state"] == "failed" else 0


def withdraw(hash: str, /, url: str) -> int:
    """Take back one's own submission; the token is in LEADERBOARD_TOKEN.

    Args:
        hash: Of the submission.
        url: Address of the leaderboard.

    Example:
        leaderboard withdraw 3f2a… --url http://127.0.0.1:8200
    """
    from leaderboard.client import Client

    print(Client(url, _token()).data("DELETE", f"/api/submissions/{hash}")["state"])
    return 0


def serve(config: str, host: str = "127.0.0.1", port: int = 8200, no_scorer: bool = False) -> int:
    """The server: API, pages and, beside them, a scorer that is started again when it ends.

    Args:
        config: YAML file of the board, or the name of a shipped one.
        host: Address to listen on.
        port: Port to listen on.
        no_scorer: Scorers run elsewhere: python -m leaderboard.scoring.

    Example:
        leaderboard serve --config local --port 8200
    """
    import uvicorn

    from leaderboard.intake import objects
    from leaderboard.notices import Telling
    from leaderboard.scoring.supervisor import Supervised
    from leaderboard.web import connections
    from leaderboard.web.app import build_app

    board, store = _store(config)
    app = build_app(board, store)
    command = [sys.executable, "-m", "leaderboard.scoring", "--config", config, "--parent", str(os.getpid())]
    print(f"{board.title}: http://{host}:{port}", flush=True)
    site = app.state.site
    # Files that forms bring are spooled: on the board's disk, for /tmp may be memory.
    tempfile.tempdir = str(site.uploads.incoming)
    _every_turn("phases", lambda: _turn_phases(board, store, site.pages))
    _every_turn("sweep", lambda: _sweep(store, site.uploads))
    _every_turn("storage", lambda: objects.tidy(board, store), HOUR)
    with Telling(board, store), nullcontext() if no_scorer else Supervised(command):
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            **connections.options(board.connections, board.proxies),
        )
    return 0


def _every_turn(what: str, call: Callable[[], None], seconds: float = TURN) -> None:
    """Call something every so many seconds for as long as the server runs; what keeps it from being done now,
    a full disk, a locked database, is told, and the next turn tries again."""

    def run() -> None:
        while True:
            time.sleep(seconds)
            try:
                call()
            except Exception as error:
                print(f"{what}: {error}", file=sys.stderr, flush=True)

    threading.Thread(target=run, daemon=True).start()


def _turn_phases(board, store, pages) -> None:
    """End and begin the phases that are due; until that can be done a phase lasts on."""
    try:
        board.turn(store.waits)
    finally:  # a split that cannot be turned keeps nobody from the others
        if pages.phases != pages.asked():  # of what another server has turned, too
            pages.adopt(board.open())


def _sweep(store, uploads) -> None:
    """Remove what is left over."""
    store.sweep_quotas()
    uploads.tidy()


def build(config: str, out: Annotated[str, cli.FOLDER]) -> int:
    """Export all pages as static files.

    Args:
        config: YAML file of the board, or the name of a shipped one.
        out: A folder, replaced as a whole.

    Example:
        leaderboard build --config local --out site
    """
    from leaderboard.build import build as export

    board, store = _store(config)
    print(f"{export(board, store, Path(out))} pages in {out}")
    return 0


def account(
    name: str,
    /,
    config: str,
    renew: bool = False,
    disable: bool = False,
    enable: bool = False,
    daily: int | None = None,
) -> int:
    """Make an account and show its token, once.

    Args:
        name: Of the account.
        config: YAML file of the board, or the name of a shipped one.
        renew: A new token for an account; the old one is void, every browser signed out, every identity
            untied.
        disable: Its token counts no longer.
        enable: Its token counts again.
        daily: Submissions that an account may send a day, in place of the board's number; -1: that again.

    Example:
        leaderboard account my-lab --config local
    """
    if renew + disable + enable + (daily is not None) > 1:
        raise InputError("account: one of --renew, --disable, --enable and --daily at a time")
    if daily is not None and daily < -1:
        raise InputError(f"account: --daily is {daily}, expected -1 or more")
    board, store = _store(config)
    if disable:
        store.disable_account(name)
        print(f"{name} is disabled")
    elif enable:
        store.enable_account(name)
        print(f"{name} is enabled")
    elif daily is not None:
        store.limit_account(name, None if daily == -1 else daily)
        print(f"{name} may send {board.daily if daily == -1 else daily} submissions a day")
    else:
        print(store.renew_token(name) if renew else store.create_account(name))
    return 0


def admin(
    what: Literal[
        "accounts",
        "audit",
        "queue",
        "requeue",
        "rerun",
        "withdraw",
        "migrate",
        "phases",
        "end-phase",
        "pending",
        "approve",
        "reject",
        "verify",
    ],
    hash: str | None = None,
    /,
    *,
    config: str,
    most: int | None = None,
    reason: str = "",
    organisation: str | None = None,
) -> int:
    """Look after a board: its accounts, its audit log, its queue, withdrawals, its tables, the phases of its
    private splits, submissions that wait to be approved, organisations that are verified.

    Args:
        what: To be done.
        hash: Of the submission to withdraw, to approve or reject, to put back into the queue after it has
            failed, or whose model is to be run again and compared with what was sent (exit status 1 where it
            differs); for end-phase the suite, for verify the account.
        config: YAML file of the board, or the name of a shipped one.
        most: Lines of the audit log, or of the queue (default: 100).
        reason: Of a rejection; its submitter is told.
        organisation: That an account speaks for, as its cards name it; "" for none any more.

    Example:
        leaderboard admin audit --config local
    """
    from leaderboard.intake import objects, withdrawal
    from leaderboard.store.accounts import poses

    if hash is not None and what in ("accounts", "audit", "queue", "migrate", "phases", "pending"):
        raise InputError(f"admin {what}: takes no hash or name, found {hash!r}")
    if most is not None and (what not in ("audit", "queue") or most < 1):
        raise InputError("--most goes with audit and queue, and is 1 or more")
    board, store = _store(config)
    if (reason and what != "reject") or ((organisation is None) == (what == "verify")):
        raise InputError("--reason goes with reject, --organisation with verify")
    for row in store.accounts() if what == "audit" else ():
        if poses(row["name"]):  # made by an earlier version
            print(f"WARNING: {row['name']!r} may be the account of that name", file=sys.stderr)
    if what in ("pending", "approve", "reject", "verify"):
        _moderate(store, what, hash, reason, organisation or "")
    elif what == "end-phase":
        if hash not in board.limits:
            raise InputError(f"admin end-phase: name a private split: {', '.join(board.limits) or 'none'}")
        board.book(hash).close()
        print(f"{hash}: nothing more is taken; the phase ends when all that was sent is scored")
    elif what == "phases":
        for name in board.limits:
            for phase in board.book(name).phases():
                end = f"ended {phase.ended[:10]}" if phase.ended else f"ends {phase.ends[:10]}"
                print(f"{name:32s} {phase.number:3d}  opened {phase.opened[:10]}  {end}")
    elif what in ("withdraw", "requeue", "rerun"):
        if not hash:
            raise InputError(f"admin {what}: name the submission's hash")
        if what == "rerun":
            return _rerun(board, store, hash)
        if what == "withdraw":
            withdrawal.withdraw(board, store, None, hash)
        elif not objects.present(board, "submissions", hash).is_dir():
            raise InputError(f"admin requeue: the files of {hash} are not there")
        else:
            store.requeue(hash, board.answered)
        print(f"{hash} is {'withdrawn' if what == 'withdraw' else 'queued'}")
    elif what == "queue":
        watched = store.watch()
        states = ", ".join(f"{count} {state}" for state, count in sorted(watched.states.items()))
        oldest = "" if watched.waits is None else f"; the oldest waits for {watched.waits:.0f} s"
        print(f"{states or 'nothing'}{oldest}")
        heard = f", last heard of {watched.heard:%Y-%m-%d %H:%M:%S}" if watched.heard else ""
        print(f"{watched.scorers} scorers{heard}")
        for row in store.queue(most or LINES):
            why = f"next {row['next']:%m-%d %H:%M:%S}  {row['reason']}" if "next" in row else ""
            print(
                f"{row['created']:%Y-%m-%d %H:%M:%S}  {row['hash']}  {row['name'][:32]:32s} {row['state']:8s}"
                f" {row['tries']} tries  {why}".rstrip()
            )
    elif what == "accounts":
        for row in store.accounts():
            daily = board.daily if row["daily"] is None else row["daily"]
            state = "disabled" if row["disabled"] else f"{daily} a day"
            print(
                f"{row['created']:%Y-%m-%d}  {row['name']:32s} {row['submissions']:6d} submissions  {state}"
            )
    elif what == "audit":
        for row in reversed(store.audit(most or LINES)):
            what_of = f"{row['who']:16s} {row['action']:16s} {row['subject']}  {row['detail']}"
            print(f"{row['time']:%Y-%m-%d %H:%M:%S}  {what_of}".rstrip())
    else:
        print(f"{store.engine.url.render_as_string()}: tables are up to date")
    return 0


def _rerun(board, store, name_hash: str) -> int:
    """What `leaderboard admin rerun` does. Raises InputError."""
    from leaderboard.scoring.rerunning import rerun

    found = rerun(board, store, name_hash)
    for row in found:
        same = f"{row['answers']['same']} of {row['answers']['of']} answers say the same"
        print(f"{row['suite']}: {row['verdict']}; {same}")
        for name, m in row["metrics"].items():
            bounds = "" if m["low"] is None or m["high"] is None else f" ({m['low']:.3f} to {m['high']:.3f})"
            again = "none" if m["again"] is None else f"{m['again']:.3f}"
            print(f"  {name:32s} sent {m['value']:.3f}{bounds}, again {again}")
    return 0 if all(row["verdict"] == "verified" for row in found) else 1


def _moderate(store, what: str, subject: str | None, reason: str, organisation: str) -> None:
    """What `leaderboard admin pending|approve|reject|verify` does. Raises InputError."""
    if what == "pending":
        for row in store.pending():
            print(
                f"{row['created']:%Y-%m-%d %H:%M:%S}  {row['hash']}  {row['account']:16s} {row['state']:8s}"
                f" {row['name']!r} of {row['organisation']!r}"
            )
        return
    if not subject:
        raise InputError(f"admin {what}: name the {'account' if what == 'verify' else 'submission'}")
    if what == "verify":
        store.verify_organisation(subject, organisation)
        print(f"{subject} speaks for {organisation!r}" if organisation else f"{subject} speaks for none")
    elif what == "approve":
        store.approve(subject)
        print(f"{subject} is shown as soon as it is scored")
    else:
        store.reject(subject, reason)
        print(f"{subject} is rejected")


def names(what: Literal["configs"], /) -> int:
    """Names that commands take in place of a path.

    Args:
        what: Of which kind.

    Example:
        leaderboard list configs
    """
    from tvad.common.shipped import configurations

    print("\n".join([*configurations("leaderboard"), *(f"gate/{name}" for name in configurations("gate"))]))
    return 0


def _store(config: str):
    from leaderboard.store.opening import open_board

    return open_board(config)


def _token() -> str:
    token = os.environ.get("LEADERBOARD_TOKEN")
    if not token:
        raise InputError("LEADERBOARD_TOKEN is not set")
    return token
