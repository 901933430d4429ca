"""The whole site as static files, for hosting without a server."""

import shutil
from pathlib import Path

from tqdm import tqdm

from leaderboard.board.config import Board
from leaderboard.store import Store
from leaderboard.web.app import build_app
from leaderboard.web.pages import Pages, hub
from leaderboard.web.pages.base import FILES
from leaderboard.web.pages.downloads import KINDS
from leaderboard.web.pages.links import StaticLinks, badge_file, plots_file, table_file
from tvad.common.errors import InputError
from tvad.common.files import whole_folder


def _page(pages: Pages, job: tuple[str, ...]) -> tuple[str, str]:
    """(file, text) of a page of a model (hash), of plots (table, split, sort), or of a table (table, split,
    sort, page)."""
    if len(job) == 1:
        page = pages.model(job[0], StaticLinks(1))
        if page is None:
            raise InputError(f"submission {job[0]} is gone from the store; export again")
        return f"models/{job[0]}.html", page
    if len(job) == 3:
        return plots_file(*job), pages.plots(*job, at=StaticLinks(2))
    table, split, sort, number = job
    text, _ = pages.table(table, split, sort=sort, page=int(number), at=StaticLinks(2))
    return table_file(table, split, sort, int(number)), text


def build(board: Board, store: Store, out: Path) -> int:
    """Write every page below `out`, which is replaced as a whole; returns how many. Raises InputError."""
    pages = Pages(board, store, board.open())
    with whole_folder(out) as folder:
        top = StaticLinks(0)
        for file in FILES:
            shutil.copy(file, folder / file.name)
        single = {
            "index.html": pages.render("start.html", top, first=top.table(board.tables[0])),
            "published.html": pages.published(top),
            "submit.html": pages.submit("URL", top),
            "api.html": pages.api(build_app(board, store, pages).openapi(), top),
            **{
                f"suites/{table}/versions.html": pages.changelog(table, StaticLinks(2))
                for table in board.tables
            },
        }
        jobs: list[tuple[str, ...]] = []
        for table in board.tables:
            (folder / "suites" / table).mkdir(parents=True)
            for split in pages.splits(table):
                for kind in KINDS:
                    file = folder / "suites" / table / f"{split}.{kind}"
                    file.write_bytes(pages.download(table, split, kind))
                _, count = pages.table(table, split)
                for sort in ("", *pages.columns(table, split)):
                    jobs += [(table, split, sort, str(number)) for number in range(1, count + 1)]
                    jobs.append((table, split, sort))
        for name, text in single.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "models").mkdir()
        hub.write(pages, folder)
        jobs += [(name_hash,) for name_hash in store.finished()]
        for job in tqdm(jobs, unit="page", desc="build", disable=None):
            name, text = _page(pages, job)
            (folder / name).write_text(text, encoding="utf-8")
            for table in board.tables if len(job) == 1 else ():
                if badge := pages.badge(job[0], table):
                    (folder / badge_file(job[0], table)).write_text(badge, encoding="utf-8")
    return len(single) + len(jobs)
