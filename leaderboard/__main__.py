"""The command `leaderboard`: pack a model's runs, check them as the server does, send them; the server and its accounts."""

import argparse
import os
import sys
from pathlib import Path

from tvad import cli
from tvad.errors import InputError
from tvad.files import write_whole

EXAMPLES = """examples:
  leaderboard card --out card.yaml
  leaderboard pack scenes=runs/tiny-greedy --card card.yaml --out submission.zip
  leaderboard verify submission.zip
  leaderboard serve --config configs/leaderboard/local.yaml --port 8200
  leaderboard account my-lab --config configs/leaderboard/local.yaml
  leaderboard submit submission.zip --url http://127.0.0.1:8200
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leaderboard", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    lines = [line.strip() for line in EXAMPLES.splitlines()[1:]]

    def add(name, text, example):
        return commands.add_parser(
            name, help=text, description=text, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )

    card = add("card", "write a model card to fill in", lines[0])
    card.add_argument("--out", required=True)
    pack = add("pack", "pack finished benchmark runs and a model card into a submission", lines[1])
    pack.add_argument("runs", nargs="+", help="SUITE=RUN, one for every suite")
    pack.add_argument("--card", required=True, help="YAML file; `leaderboard card` writes one to fill in")
    pack.add_argument("--out", required=True, help="a .zip, or a folder")
    verify = add("verify", "check a submission; exit status 1 where lines of it would not be scored", lines[2])
    verify.add_argument("submission", help="folder or .zip")
    serve = add("serve", "the server: API, pages and a scorer beside them", lines[3])
    serve.add_argument("--config", required=True)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8200)
    serve.add_argument("--no-scorer", action="store_true", help="scorers run elsewhere: python -m leaderboard.scoring")
    account = add("account", "make an account and show its token, once", lines[4])
    account.add_argument("name")
    account.add_argument("--config", required=True)
    account.add_argument("--renew", action="store_true", help="a new token for an account; the old one is void")
    account.add_argument("--disable", action="store_true")
    submit = add("submit", "send a submission; the token is in LEADERBOARD_TOKEN", lines[5])
    submit.add_argument("submission", help=".zip")
    submit.add_argument("--url", required=True)
    submit.add_argument("--wait", action="store_true", help="until it is scored; exit status 1 where that fails")
    return parser


def _store(config: str):
    from leaderboard import board as boards
    from leaderboard.store import Store, connect

    board = boards.read(config)
    Path(board.folder).mkdir(parents=True, exist_ok=True)
    store = Store(connect(board.url))
    store.create_tables()
    return board, store


def _serve(known) -> int:
    import subprocess

    import uvicorn

    from leaderboard.web import build_app

    board, store = _store(known.config)
    board.check()
    scorer = None if known.no_scorer else subprocess.Popen([sys.executable, "-m", "leaderboard.scoring", "--config", known.config])
    print(f"{board.title}: http://{known.host}:{known.port}", flush=True)
    try:
        uvicorn.run(build_app(board, store), host=known.host, port=known.port, log_level="warning", timeout_keep_alive=10)
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


def _submit(known) -> int:
    import time

    import httpx
    from tqdm import tqdm

    token = os.environ.get("LEADERBOARD_TOKEN")
    if not token:
        raise InputError("LEADERBOARD_TOKEN is not set")
    path = Path(known.submission)
    from leaderboard import submission

    with submission.opened(path) as folder:  # what the server would refuse is not sent
        submission.verify(folder)
    if not path.is_file():
        raise InputError(f"{path}: expected a .zip; `leaderboard pack --out submission.zip` makes one")

    def parts():
        with path.open("rb") as file, tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc="send", disable=None) as bar:
            while chunk := file.read(1 << 18):
                yield chunk
                bar.update(len(chunk))

    headers = {"Authorization": f"Bearer {token}", "Content-Length": str(path.stat().st_size)}
    url = known.url.rstrip("/")
    try:
        with httpx.Client(timeout=120.0) as client:
            answer = client.post(f"{url}/api/submissions", content=parts(), headers=headers)
            if answer.status_code != 202:
                raise InputError(f"{url} answered {answer.status_code}: {' '.join(answer.text.split())[:300]}")
            found = answer.json()
            print(f"{found['state']}: {url}{found['url']}" + (f"; {found['rejected_lines']} lines will not be scored" if found["rejected_lines"] else ""))
            while known.wait and found["state"] in ("queued", "running"):
                time.sleep(1.0)
                found = client.get(f"{url}/api/submissions/{found['hash']}").json()
    except httpx.TransportError as error:
        raise InputError(f"{url} cannot be reached ({type(error).__name__}); send again: what has arrived is not scored twice") from error
    if known.wait:
        print(found["state"] + (f": {found['error']}" if found.get("error") else ""))
    return 1 if found["state"] == "failed" else 0


def main(arguments: list[str] | None = None) -> int:
    known = build_parser().parse_args(arguments)
    if known.command in ("serve", "account", "submit"):
        return {"serve": _serve, "account": _account, "submit": _submit}[known.command](known)
    from leaderboard import submission

    if known.command == "card":
        if Path(known.out).exists():
            raise InputError(f"--out: {known.out} exists already")
        print(write_whole(known.out, submission.card_template()))
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
