"""Options of `tvad data` that cannot be are one line and make nothing."""

import pytest

from tvad.__main__ import main
from tvad.common.cli import guard


@pytest.mark.parametrize(
    "command, options, said",
    [
        ("reclip", ["--seed", "-1"], "seed is -1, expected 0 or more"),
        ("folds", ["--seed", "-1", "--folds", "2"], "seed is -1, expected 0 or more"),
        ("view", ["--seed", "-1"], "seed is -1, expected 0 or more"),
        ("tvau", ["--seed", "-1"], "seed is -1, expected 0 or more"),
        ("composite", ["--seed", "-1"], "seed is -1, expected 0 or more"),
        ("composite", ["--workers", "0"], "workers is 0, expected 1 or more"),
        ("scenes", ["--seed", "-1"], "seed is -1, expected 0 or more"),
        ("scenes", ["--workers", "-3"], "workers is -3, expected 1 or more"),
        ("scenes", ["--fps", "1e300"], "fps must be at most 1000"),
        ("scenes", ["--size", "100000000"], "frames x size x size at most"),
        ("scenes", ["--frames", "1000000000"], "frames x size x size at most"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(scenes, tmp_path, capsys, command, options, said):
    out = tmp_path / "out"
    places = [] if command == "scenes" else [str(scenes)]
    assert guard(main, ["data", command, *places, "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not out.exists()


def test_scenes_in_which_nothing_can_be_seen_are_one_line(tmp_path, capsys):
    call = [
        "data",
        "scenes",
        "--clips",
        "2",
        "--split",
        "test",
        "--fps",
        "1e-9",
        "--frames",
        "8",
        "--size",
        "32",
    ]
    assert guard(main, [*call, "--out", str(tmp_path / "out")]) == 2
    assert "in 100 attempts at 1e-09 frames a second" in capsys.readouterr().err
