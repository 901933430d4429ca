"""A clone proves itself: the golden values are all there, unchanged, and read by tests."""

import hashlib
import re
from types import SimpleNamespace

import conftest
import pytest
from conftest import GOLDEN, OUTSIDE, ROOT, golden, golden_files, shared

READ = re.compile(r'golden\(f?"([a-z0-9_]+)/')
SHARED_READ = re.compile(r'shared\(f?"([a-z0-9_/]+)')


@pytest.mark.parametrize("name", golden_files())
def test_golden_values_are_unchanged(name):
    assert hashlib.sha256(golden(name).read_bytes()).hexdigest() == golden_files()[name]


def test_every_golden_file_is_listed():
    there = {str(p.relative_to(GOLDEN)) for p in GOLDEN.glob("*/**/*") if p.is_file() and p.suffix != ".md"}
    assert there == set(golden_files())


def test_every_folder_says_where_it_comes_from_and_is_read_by_a_test():
    folders = {name.split("/")[0] for name in golden_files()}
    sources = [p.read_text() for p in (ROOT / "tests").rglob("test_*.py")]
    read = {folder for source in sources for folder in READ.findall(source)}
    read |= {f for f in folders if any(f'startswith("{f}/")' in source for source in sources)}
    assert read == folders
    readme = (GOLDEN / "README.md").read_text()
    for folder in folders:
        assert (GOLDEN / folder / "README.md").stat().st_size and f"`{folder}/`" in readme


def test_other_peoples_tracks_are_not_here():
    assert "golden/rbdc_tbdc_shanghaitech" in OUTSIDE and not (GOLDEN / "rbdc_tbdc_shanghaitech").exists()
    assert "MIT License" in (GOLDEN / "vau_r1/NOTICE.md").read_text()


def test_a_missing_value_is_a_failure():
    with pytest.raises(pytest.fail.Exception, match=r"tests/golden/vau_r1/open/none\.json is missing"):
        golden("vau_r1/open/none.json")


def test_what_was_skipped_for_lack_of_other_peoples_files_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(conftest, "SHARED", tmp_path)
    with pytest.raises(pytest.skip.Exception) as skipped:
        shared("data/ubnormal/normal_scene_28_scenario_7.mp4")
    report, lines = SimpleNamespace(longrepr=("test_infer.py", 1, f"Skipped: {skipped.value}")), []
    other = SimpleNamespace(longrepr=("test_vllm.py", 1, "Skipped: vLLM is not installed"))
    reporter = SimpleNamespace(stats={"skipped": [report, other, report]}, write_line=lines.append)
    conftest.pytest_terminal_summary(reporter)
    what = "two clips of UBnormal and its official split lists"
    assert lines == [f"2 skipped for lack of ../shared/data/ubnormal: {what}"]


def test_tests_read_nothing_outside_the_repository_that_is_not_listed():
    sources = [p.read_text() for p in (ROOT / "tests").rglob("*.py")]
    used = {path for source in sources for path in SHARED_READ.findall(source)}
    assert {next((f for f in OUTSIDE if path.startswith(f)), path) for path in used} == set(OUTSIDE)
