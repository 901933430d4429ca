"""Where things stand in the package: imports run one way, and what is no module is packaged."""

import ast
import tomllib
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "leaderboard"
ROOMS = [
    "card",
    "board",
    "store",
    "intake",
    "scoring",
    "web",
    "client",
    "build",
    "backup",
    "moving",
    "notices",
    "commands",
    "gating",
    "operation",
    "__main__",
]


def room_of(path: Path) -> str:
    """The room of a file: a folder of the package, or a module beside them."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "leaderboard":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("leaderboard.")
            }
    return found


def test_a_room_imports_from_those_before_it_only():
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert not {room_of(path) for path in files} - set(ROOMS), "a new room gets its place in the list"
    for path in files:
        own = ROOMS.index(room_of(path))
        above = [room for room in imported(path) if ROOMS.index(room) > own]
        assert not above, f"{path.relative_to(ROOT)} imports from {', '.join(above)}"


def test_a_wheel_holds_templates_figures_and_migrations():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    given: set[Path] = set()
    for package, patterns in project["tool"]["setuptools"]["package-data"].items():
        folder = ROOT / package.replace(".", "/")
        given |= {path for pattern in patterns for path in folder.glob(pattern)}
    for path in PACKAGE.rglob("*"):
        packaged = path.suffix == ".py" and (path.parent / "__init__.py").exists()
        if path.is_file() and "__pycache__" not in path.parts:
            assert packaged or path in given, path.relative_to(ROOT)
