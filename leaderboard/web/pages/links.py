"""Addresses of pages as the templates write them: on the server, and in the exported files."""

from typing import Any
from urllib.parse import urlencode


class Links:
    """Addresses of the server's pages."""

    static = False

    def file(self, name: str) -> str:
        return f"/{name}"

    def start(self) -> str:
        return "/"

    def table(self, suite: str, **query: Any) -> str:
        chosen = {key: value for key, value in query.items() if value}
        return f"/suites/{suite}" + (f"?{urlencode(chosen, doseq=True)}" if chosen else "")

    def versions(self, suite: str) -> str:
        return f"/suites/{suite}/versions"

    def plots(self, suite: str, split: str = "public", sort: str = "") -> str:
        query = {"split": split if split != "public" else "", "sort": sort}
        chosen = urlencode({key: value for key, value in query.items() if value})
        return f"/suites/{suite}/plots" + (f"?{chosen}" if chosen else "")

    def model(self, name_hash: str) -> str:
        return f"/models/{name_hash}"

    def download(self, suite: str, split: str, kind: str) -> str:
        return f"/suites/{suite}/table.{kind}" + (f"?split={split}" if split != "public" else "")

    def badge(self, name_hash: str, suite: str) -> str:
        return f"/models/{name_hash}/{suite}/badge.svg"

    def named(self, page: str) -> str:
        return f"/{page}"


class StaticLinks(Links):
    """Addresses of the exported files, relative to a page `depth` folders deep."""

    static = True

    def __init__(self, depth: int):
        self.root = "../" * depth

    def file(self, name: str) -> str:
        return f"{self.root}{name}"

    def start(self) -> str:
        return f"{self.root}index.html"

    def table(self, suite: str, **query: Any) -> str:
        return self.root + table_file(
            suite, query.get("split") or "public", query.get("sort") or "", int(query.get("page") or 1)
        )

    def versions(self, suite: str) -> str:
        return f"{self.root}suites/{suite}/versions.html"

    def plots(self, suite: str, split: str = "public", sort: str = "") -> str:
        return self.root + plots_file(suite, split, sort)

    def model(self, name_hash: str) -> str:
        return f"{self.root}models/{name_hash}.html"

    def download(self, suite: str, split: str, kind: str) -> str:
        return f"{self.root}suites/{suite}/{split}.{kind}"

    def badge(self, name_hash: str, suite: str) -> str:
        return f"{self.root}{badge_file(name_hash, suite)}"

    def named(self, page: str) -> str:
        return f"{self.root}{page}.html"


def badge_file(name_hash: str, suite: str) -> str:
    """Where the export puts a badge."""
    return f"models/{name_hash}-{suite}.svg"


def plots_file(suite: str, split: str, sort: str) -> str:
    """Where the export puts the plots of a table; without `sort` of its first metric."""
    return f"suites/{suite}/{split}-plots{f'-{sort}' if sort else ''}.html"


def table_file(suite: str, split: str, sort: str, page: int) -> str:
    """Where the export puts a page of a table; without `sort` its first metric."""
    return f"suites/{suite}/{split}{f'-{sort}' if sort else ''}{f'-{page}' if page > 1 else ''}.html"
