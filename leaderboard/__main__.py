"""The command `leaderboard`: pack a model's runs, check them as the server does, send them; the server and
its accounts."""

import argparse
import os
import sys
from pathlib import Path

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import write_whole

EXAMPLES = """examples:
  leaderboard card --out card.yaml
  leaderboard pack scenes=runs/tiny-greedy --card card.yaml --out submission.zip
  leaderboard verify submission.zip
  leaderboard submit submission.zip --url http://127.0.0.1:8200 --wait
  leaderboard withdraw 3f2a… --url http://127.0.0.1:8200
  leaderboard gate runs/candidate --against my-model --suite scenes --url http://127.0.0.1:8200
  leaderboard serve --config configs/leaderboard/local.yaml --port 8200
  leaderboard build --config configs/leaderboard/local.yaml --out site
  leaderboard account my-lab --config configs/leaderboard/local.yaml
  leaderboard admin audit --config configs/leaderboard/local.yaml
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leaderboard",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    lines = [line.strip() for line in EXAMPLES.splitlines()[1:]]

    def add(name, text, example):
        return commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    card = add("card", "write a model card to fill in", lines[0])
    card.add_argument("--out", required=True)
    pack = add("pack", "pack finished benchmark runs and a model card into a submission", lines[1])
    pack.add_argument("runs", nargs="+", help="SUITE=RUN, one for every suite")
    pack.add_argument("--card", required=True, help="YAML file; `leaderboard card` writes one to fill in")
    pack.add_argument("--out", required=True, help="a .zip, or a folder")
    verify = add(
        "verify", "check a submission; exit status 1 where lines of it would not be scored", lines[2]
    )
    verify.add_argument("submission", help="folder or .zip")
    submit = add(
        "submit",
        "send a submission, from where an earlier try ended; the token is in LEADERBOARD_TOKEN",
        lines[3],
    )
    submit.add_argument("submission", help=".zip")
    submit.add_argument("--url", required=True)
    submit.add_argument(
        "--wait", action="store_true", help="until it is scored; exit status 1 where that fails"
    )
    withdraw = add("withdraw", "take back one's own submission; the token is in LEADERBOARD_TOKEN", lines[4])
    withdraw.add_argument("hash")
    withdraw.add_argument("--url", required=True)
    gate = add(
        "gate",
        "compare a run with a model of the leaderboard, question by question; exit status 1 on a regression",
        lines[5],
    )
    gate.add_argument(
        "model", help="a finished run's folder, or the name or hash of a model on the leaderboard"
    )
    gate.add_argument("--against", required=True, help="name or hash of a model on the leaderboard")
    gate.add_argument("--suite", required=True)
    gate.add_argument("--url", required=True)
    gate.add_argument(
        "--gate",
        default="configs/gate/reasoning.yaml",
        help="YAML file of tolerated drops (default: %(default)s)",
    )
    gate.add_argument("--junit", help="write the verdicts as JUnit XML")
    gate.add_argument("--markdown", help="write the comparison as Markdown")
    serve = add("serve", "the server: API, pages and a scorer beside them", lines[6])
    serve.add_argument("--config", required=True)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8200)
    serve.add_argument(
        "--no-scorer", action="store_true", help="scorers run elsewhere: python -m leaderboard.scoring"
    )
    build = add("build", "export all pages as static files", lines[7])
    build.add_argument("--config", required=True)
    build.add_argument("--out", required=True, help="a folder, replaced as a whole")
    account = add("account", "make an account and show its token, once", lines[8])
    account.add_argument("name")
    account.add_argument("--config", required=True)
    account.add_argument(
        "--renew", action="store_true", help="a new token for an account; the old one is void"
    )
    account.add_argument("--disable", action="store_true")
    admin = add("admin", "look after a board: its accounts, its audit log, withdrawals, its tables", lines[9])
    admin.add_argument("what", choices=["accounts", "audit", "withdraw", "migrate"])
    admin.add_argument("hash", nargs="?", help="of the submission to withdraw")
    admin.add_argument("--config", required=True)
    admin.add_argument("--most", type=int, default=100, help="lines of the audit log")
    return parser


def _store(config: str):
    from leaderboard.board import config as boards
    from leaderboard.store import Store
    from leaderboard.store.database import connect

    board = boards.read(config)
    Path(board.folder).mkdir(parents=True, exist_ok=True)
    store = Store(connect(board.url))
    store.migrate()
    return board, store


def _serve(known) -> int:
    import subprocess

    import uvicorn

    from leaderboard.web.app import build_app

    board, store = _store(known.config)
    app = build_app(board, store)
    command = [
        sys.executable,
        "-m",
        "leaderboard.scoring",
        "--config",
        known.config,
        "--parent",
        str(os.getpid()),
    ]
    scorer = None if known.no_scorer else subprocess.Popen(command)
    print(f"{board.title}: http://{known.host}:{known.port}", flush=True)
    try:
        uvicorn.run(app, host=known.host, port=known.port, log_level="warning", timeout_keep_alive=10)
    finally:
        if scorer is not None:
            scorer.terminate()
            scorer.wait(30)
    return 0


def _account(known) -> int:
    board, store = _store(known.config)
    if known.disable:
        store.disable_account(known.name)
        print(f"{known.name} is disabled")
        return 0
    print(store.renew_token(known.name) if known.renew else store.create_account(known.name, board.daily))
    return 0


def _build(known) -> int:
    from leaderboard.build import build

    board, store = _store(known.config)
    print(f"{build(board, store, Path(known.out))} pages in {known.out}")
    return 0


def _admin(known) -> int:
    _board, store = _store(known.config)
    if known.what == "withdraw":
        if not known.hash:
            raise InputError("admin withdraw: name the submission's hash")
        store.withdraw(None, known.hash)
        print(f"{known.hash} is withdrawn")
    elif known.what == "accounts":
        for row in store.accounts():
            state = "disabled" if row["disabled"] else f"{row['daily']} a day"
            print(
                f"{row['created']:%Y-%m-%d}  {row['name']:32s} {row['submissions']:6d} submissions  {state}"
            )
    elif known.what == "audit":
        for row in reversed(store.audit(known.most)):
            print(
                f"{row['time']:%Y-%m-%d %H:%M:%S}  {row['who']:16s} {row['action']:16s} {row['subject']} "
                f" {row['detail']}".rstrip()
            )
    else:
        print(f"{store.engine.url.render_as_string()}: tables are up to date")
    return 0


def _token() -> str:
    token = os.environ.get("LEADERBOARD_TOKEN")
    if not token:
        raise InputError("LEADERBOARD_TOKEN is not set")
    return token


def _submit(known) -> int:
    from leaderboard.client import Client
    from leaderboard.intake import submission

    client, path = Client(known.url, _token()), Path(known.submission)
    with submission.opened(path) as folder:  # what the server would refuse is not sent
        submission.verify(folder)
    if not path.is_file():
        raise InputError(f"{path}: expected a .zip; `leaderboard pack --out submission.zip` makes one")
    found = client.send(path)
    lost = found["rejected_lines"]
    print(
        f"{found['state']}: {client.url}{found['url']}"
        + (f"; {lost} lines will not be scored" if lost else "")
    )
    if known.wait:
        found = client.wait(found["hash"])
        print(found["state"] + (f": {found['error']}" if found["error"] else ""))
    return 1 if found["state"] == "failed" else 0


def _withdraw(known) -> int:
    from leaderboard.client import Client

    print(Client(known.url, _token()).data("DELETE", f"/api/submissions/{known.hash}")["state"])
    return 0


def _gate(known) -> int:
    from contextlib import nullcontext

    from bench.gate import compare_runs
    from leaderboard.client import Client

    client = Client(known.url)
    folder = Path(known.model)
    candidate = nullcontext(folder) if folder.is_dir() else client.scored_run(known.model, known.suite)
    with client.scored_run(known.against, known.suite) as before, candidate as after:
        return compare_runs(before, after, known.gate, known.junit, known.markdown)


def main(arguments: list[str] | None = None) -> int:
    known = build_parser().parse_args(arguments)
    actions = {
        "serve": _serve,
        "account": _account,
        "submit": _submit,
        "withdraw": _withdraw,
        "gate": _gate,
        "build": _build,
        "admin": _admin,
    }
    if known.command in actions:
        return actions[known.command](known)
    from leaderboard.card import card_template
    from leaderboard.intake import submission

    if known.command == "card":
        if Path(known.out).exists():
            raise InputError(f"--out: {known.out} exists already")
        print(write_whole(known.out, card_template()))
        return 0
    if known.command == "pack":
        runs = {}
        for given in known.runs:
            suite, equals, run = given.partition("=")
            if not equals or not suite or suite in runs:
                raise InputError(f"{given!r}: expected SUITE=RUN, every suite once")
            runs[suite] = Path(run)
        found = submission.pack(runs, Path(known.card), Path(known.out))
        print(f"{known.out}: {found.card.name}, {', '.join(found.suites)}, {found.hash}")
        return 0
    with submission.opened(Path(known.submission)) as folder:
        found = submission.verify(folder)
    for problem in found.rejected:
        print(f"would not be scored: {problem}")
    print(f"{found.card.name} by {found.card.organisation}: {', '.join(found.suites)}, {found.hash}")
    return 1 if found.rejected else 0


def entry() -> None:
    """Console script."""
    sys.exit(cli.guard(main))


if __name__ == "__main__":
    entry()
