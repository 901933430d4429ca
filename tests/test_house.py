"""The direction of imports, read from the source: a package uses those below it, and no two modules of one
package use each other, neither at import nor later, inside a function."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# Package -> the packages below it.
BELOW = {"leaderboard": {"bench", "tvad"}, "rft": {"bench", "tvad"}, "bench": {"tvad"}, "tvad": set()}
# The benchmark scores any model and knows none, with one exception: the engines open the project's own, which
# transformers and vLLM find only where `tvad.model` has been imported, and exchange its weights.
MODEL = "tvad.model"
MODEL_USERS = "bench.models."


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {
    module_of(path): path
    for package in BELOW
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
}


def imports(name: str) -> set[str]:
    """Modules of the four packages that a module imports, wherever in it; `from package import name` is an
    import of the module `package.name` where there is one."""
    path, found = MODULES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            )
            base = ".".join(part for part in (base, node.module) if part)
            found |= {inner if (inner := f"{base}.{alias.name}") in MODULES else base for alias in node.names}
    return {other for other in found if other.partition(".")[0] in BELOW} - {name}


GRAPH = {name: imports(name) for name in MODULES}


def test_every_import_names_a_module():
    missing = {(name, other) for name, used in GRAPH.items() for other in used - MODULES.keys()}
    assert not missing


def test_no_package_imports_from_above():
    up = {
        (name, other)
        for name, used in GRAPH.items()
        for other in used
        if (theirs := other.partition(".")[0]) != (ours := name.partition(".")[0])
        and theirs not in BELOW[ours]
    }
    assert not up


def test_the_benchmark_knows_no_model():
    used = {
        (name, other)
        for name, others in GRAPH.items()
        for other in others
        if name.startswith("bench") and (other == MODEL or other.startswith(f"{MODEL}."))
    }
    assert all(name.startswith(MODEL_USERS) for name, _ in used), used
    assert used, "the exception is no longer needed: take it out of this test"


def circle_of(package: str) -> list[str] | None:
    """Modules of a package that import each other in a ring; None where there are none."""
    state: dict[str, str] = {}

    def visit(name: str, trail: list[str]) -> list[str] | None:
        if state.get(name) == "done":
            return None
        if name in trail:
            return [*trail[trail.index(name) :], name]
        for other in sorted(o for o in GRAPH[name] if o.partition(".")[0] == package):
            if found := visit(other, [*trail, name]):
                return found
        state[name] = "done"
        return None

    rings = (visit(name, []) for name in sorted(GRAPH) if name.partition(".")[0] == package)
    return next((ring for ring in rings if ring), None)


@pytest.mark.parametrize("package", BELOW)
def test_no_two_modules_import_each_other(package):
    ring = circle_of(package)
    assert ring is None, " -> ".join(ring)


def test_no_file_holds_a_number_that_json_has_not():
    """NaN and Infinity, which Python writes, no other reader takes; the replies of the server are left out,
    which hold what was read of a request."""
    loose = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for name, path in MODULES.items()
        if not name.startswith("tvad.use.serving")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.dump", "json.dumps")
        and not any(word.arg == "allow_nan" for word in node.keywords)
    ]
    assert not loose
