"""The wheel, built and installed, in an empty folder: commands run, configurations and the small checkpoint
are found by name. (Its dependencies are this environment's; `make versions` installs them, too.)"""

import os
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from tvad.common.shipped import configurations


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(wheel, folder of the installed packages)."""
    made, site = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    copy = made / "source"  # the build leaves folders behind
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(made), str(copy)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = made.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return wheel, site


def call(site, folder, program, *arguments, status=0):
    """Run a console script of the wheel, or a module of it, in `folder`."""
    script = site / "bin" / program
    command = [sys.executable, *([script] if script.exists() else ["-m", program]), *arguments]
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, done.stderr[-3000:]
    return done


def test_the_installed_packages_are_the_wheels(installed, tmp_path):
    _, site = installed
    names = "tvad, rft, bench, leaderboard"
    (tmp_path / "where.py").write_text(f"import {names}\nprint(*(m.__path__[0] for m in ({names})))")
    paths = call(site, tmp_path, "where").stdout.split()
    assert len(paths) == 4 and all(path.startswith(str(site)) for path in paths)
    assert {"tvad", "bench", "leaderboard"} <= {file.name for file in (site / "bin").iterdir()}


def test_everything_that_the_packages_read_is_in_the_wheel(installed):
    """Whatever is tracked below the packages: templates, styles, migrations; and what is shipped."""
    _, site = installed
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = [n for n in tracked.splitlines() if n.split("/")[0] in ("tvad", "rft", "bench", "leaderboard")]
    assert [n for n in wanted if not (site / n).exists()] == []
    for path in configurations().values():
        assert (site / "tvad" / path.relative_to(ROOT)).read_text() == path.read_text()
    assert (site / "tvad/assets/tvad-tiny/model.safetensors").is_file()


@pytest.mark.slow
def test_commands_find_configurations_and_the_checkpoint_by_name(installed, tmp_path):
    _, site = installed
    assert "bench/scenes" in call(site, tmp_path, "bench", "list", "configs").stdout
    assert "local" in call(site, tmp_path, "leaderboard", "list", "configs").stdout
    assert "grpo/demo" in call(site, tmp_path, "tvad", "list", "configs").stdout
    call(site, tmp_path, "tvad", "data", "scenes", "--out", "clips", "--clips", 4, "--split", "test")
    run = (
        "bench",
        "run",
        "--model",
        "hf:tvad-tiny",
        "--suite",
        "scenes",
        "--data",
        "clips",
        "--out",
        "run",
    )
    tasks = ("--tasks", "[judgement]", "--max_videos", "1", "--decode.max_tokens", "4")
    assert "judgement.accuracy" in call(site, tmp_path, *run, *tasks).stdout
    for program, config in (("rft.train_grpo", "demo"), ("rft.train_stage", "tiny")):
        printed = call(site, tmp_path, program, "--config", config, "--print_config").stdout
        assert yaml.safe_load(printed)["seed"] == 0


@pytest.mark.slow
def test_a_checkpoint_that_the_wheel_lacks_is_one_line_with_the_way_to_it(installed, tmp_path):
    _, site = installed
    run = ("bench", "run", "--model", "hf:tvad-tiny-closed", "--suite", "scenes", "--out", "run")
    call(site, tmp_path, "tvad", "data", "scenes", "--out", "data/core/test", "--clips", 2)
    done = call(site, tmp_path, *run, status=2)
    assert "make closed" in done.stderr and len(done.stderr.splitlines()) == 1


def test_ones_own_rewards_are_found_from_the_working_directory(installed, tmp_path):
    """In a file named as a part of the package is, too."""
    _, site = installed
    (tmp_path / "rewards.py").write_text(
        "def mine(completions, **columns):\n    return [2.0 for _ in completions]\n"
    )
    (tmp_path / "ask.py").write_text(
        "from rft.rewards.bounded import BoundedRewards\n"
        "with BoundedRewards() as bounded:\n"
        "    print(bounded.named('rewards:mine')(['x']))\n"
    )
    assert call(site, tmp_path, "ask").stdout == "[2.0]\n"
