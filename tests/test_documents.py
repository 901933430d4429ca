"""What the documents say is there: links, pictures, headings, paths, names, commands and configurations; and
their lines are short."""

import importlib
import importlib.util
import itertools
import pkgutil
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

WIDTH = 120
PACKAGES = ("tvad", "rft", "bench", "leaderboard")
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = [*sorted((ROOT / "assets").rglob("*.md")), *sorted((ROOT / "tests/golden").rglob("*.md"))]
DOCUMENTS = [*GUIDES, ROOT / "CHANGELOG.md", *CARDS]
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
SPAN = re.compile(r"`([^`]+)`")
SUFFIXES = (".py", ".yaml", ".yml", ".md", ".sh", "/")


def of(documents):
    return pytest.mark.parametrize("document", documents, ids=lambda p: str(p.relative_to(ROOT)))


def prose(text: str) -> str:
    return FENCE.sub("", text)


def slugs(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ +(.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def snippets(text: str) -> list[str]:
    """Lines of fenced code, and code in prose with its line breaks taken out."""
    fenced = [line for block in FENCE.findall(text) for line in block.splitlines()[1:-1]]
    return [*fenced, *(" ".join(span.split()) for span in SPAN.findall(prose(text)))]


def braces(path: str) -> list[str]:
    """`a_{b,c}` -> `a_b`, `a_c`."""
    if not (found := re.search(r"\{([^}]*)\}", path)):
        return [path]
    return [path[: found.start()] + part + path[found.end() :] for part in found[1].split(",")]


def commands() -> dict[str, list[str]]:
    """Every command that a guide shows: its words, without comment and environment."""
    found = {}
    for document in GUIDES:
        for snippet in snippets(document.read_text()):
            words = re.sub(r"\s#\s.*", "", snippet).replace("…", "X")
            try:
                tokens = shlex.split(words)
            except ValueError:
                continue
            while tokens and re.fullmatch(r"[A-Z_]+=\S*", tokens[0]):
                tokens.pop(0)
            if tokens and tokens[0] in ("make", "python", "accelerate", "tvad", "bench", "leaderboard"):
                found[" ".join(tokens)] = tokens
    return found


@of(DOCUMENTS)
def test_links_and_pictures_resolve(document):
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists() and file.is_relative_to(ROOT), target
        assert not anchor or anchor in slugs(file.read_text()), target


@of(DOCUMENTS)
def test_lines_are_short(document):
    """Tables of cards and of other people's programs are as wide as what they hold."""
    lines = document.read_text().splitlines()
    long = {n: line for n, line in enumerate(lines, 1) if len(line) > WIDTH}
    if document in CARDS:
        long = {n: line for n, line in long.items() if not line.startswith("|")}
    assert not long


@of(GUIDES)
def test_paths_exist(document):
    for span in snippets(document.read_text()):
        path = span.partition("::")[0]
        if path.split("/")[0] in (*PACKAGES, "configs", "docs", "tests", "assets") and path.endswith(
            SUFFIXES
        ):
            for each in braces(path):
                assert list(ROOT.glob(each)), path


@of(GUIDES)
def test_names_exist(document):
    for span in SPAN.findall(prose(document.read_text())):
        if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", span):
            pkgutil.resolve_name(span)


def test_pages_of_measurements_open_with_a_table_and_say_what_was_not_kept():
    index = (ROOT / "docs/measurements.md").read_text()
    for page in sorted((ROOT / "docs/measurements").glob("*.md")):
        text = page.read_text()
        assert f"(measurements/{page.name})" in index, page.name
        assert "| what | result | on what | date | command |" in text.partition("\n## ")[0], page.name
        assert "\n## Tried and not kept\n" in text, page.name


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command, capsys):
    tokens = commands()[command]
    if tokens[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(tokens[1:]) <= set(targets)
    elif "-m" in tokens:
        assert importlib.util.find_spec(tokens[tokens.index("-m") + 1])
    elif scripts := [token for token in tokens if token.endswith(".py")]:
        assert (ROOT / scripts[0]).is_file()
    elif tokens[0] in PACKAGES:
        words = []
        for token in tokens[1:]:
            if not re.fullmatch(r"[a-z][a-z-]*", token):
                break
            words.append(token)
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"{tokens[0]}.__main__").main([*words, "--help"])
        assert ended.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", commands())
def test_configurations_in_commands_exist(command):
    tokens = commands()[command]
    for option, value in itertools.pairwise(tokens):
        if option in ("--config", "--suite", "--gate") and re.fullmatch(r"[a-z0-9_-]+", value):
            assert list((ROOT / "configs").glob(f"*/{value}.yaml")), value


def test_the_reference_of_configurations_is_current():
    """`python docs/configurations.py` writes it."""
    code = "import runpy; print(runpy.run_path('docs/configurations.py')['text'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs/configurations.md").read_text(encoding="utf-8") == done.stdout


def test_where_it_is_decided_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = text.split("<!-- decided -->")[1].split("<!-- /decided -->")[0].strip().splitlines()[2:]
    assert len(rows) > 25
    for row in rows:
        _, where, names = (SPAN.findall(cell) for cell in row.strip("|").split(" | "))
        code = ""
        for path in where:
            files = sorted((ROOT / path).glob("*.py")) if path.endswith("/") else [ROOT / path]
            code += "".join(file.read_text(encoding="utf-8") for file in files)
        assert [name for name in names if not re.search(rf"\b{name}\b", code)] == [] and names, row
