"""Paths that people give to be written to: what stands in the way is said in one line, exit status 2, before
a command begins its work."""

import os
from importlib import import_module
from inspect import signature

import pytest
from conftest import SHIPPED

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import check_file, check_folder, made, write_whole

# What a person types; PLACE is where the command is to write. That nothing else in it exists shows that the
# place is looked at first.
TINY = str(SHIPPED)
FOLDERS = {
    "infer": f"tvad infer --model {TINY} --video no.mp4 --out PLACE",
    "start": "tvad start --backbone no --out PLACE",
    "scenes": "tvad data scenes --split test --out PLACE",
    "table": "tvad data table no.csv --videos no --out PLACE",
    "vau-bench": "tvad data vau-bench no.csv --out PLACE",
    "ubnormal": "tvad data ubnormal no --splits no --out PLACE",
    "shanghaitech": "tvad data shanghaitech no --out PLACE",
    "reclip": "tvad data reclip no --out PLACE",
    "run": f"bench run --model hf:{TINY} --suite scenes --out PLACE",
    "score": "bench score no.jsonl --suite scenes --out PLACE",
    "build": "leaderboard build --config local --out PLACE",
    "pack": "leaderboard pack a=no --card CARD --out PLACE",
    "grpo": f"rft.train_grpo --config tiny --model {TINY} --out PLACE",
    "features": f"rft.train_grpo --config tiny --model {TINY} --features.folder PLACE",
    "stage": "rft.train_stage --config tiny --out PLACE",
    "demo": "rft.studies.demo --out PLACE",
    "experiment": "rft.studies.experiment --out PLACE",
    "ablation": "rft.studies.ablation --out PLACE",
    "vanguard": "rft.studies.vanguard --out PLACE",
    "gain": "rft.studies.gain no --suite scenes --data no --out PLACE",
    "card": "rft.common.model_card no --bench no --made_by me --setting core --out PLACE",
}
FILES = {
    "cache": f"bench run --model hf:{TINY} --suite scenes --out no --cache PLACE",
    "audit": "bench audit --data no --out PLACE",
    "export": "bench export no --out PLACE",
    "import": "bench import no --suite scenes --task mcq --out PLACE",
    "markdown": "bench compare no no --markdown PLACE",
    "json": "bench compare no no --json PLACE",
    "junit": "bench compare no no --gate reasoning --junit PLACE",
    "gate": "leaderboard gate no --against no --suite no --url no --markdown PLACE",
    "gate-junit": "leaderboard gate no --against no --suite no --url no --junit PLACE",
    "backup": "leaderboard backup --config local --out PLACE",
    "new-card": "leaderboard card --out PLACE",
    "zip": "leaderboard pack a=no --card CARD --out PLACE",
}
MODULES = ("tvad", "bench", "leaderboard")


def typed(words, place, tmp_path, capsys):
    """(exit status, lines on stderr) of a command."""
    (tmp_path / "card.yaml").write_text("name: x\n")
    program, *given = [
        {"PLACE": str(place), "CARD": str(tmp_path / "card.yaml")}.get(w, w) for w in words.split()
    ]
    main = import_module(f"{program}.__main__" if program in MODULES else program).main
    capsys.readouterr()
    status = cli.guard(main, given)
    return status, capsys.readouterr().err.splitlines()


def refused(done, place, why):
    status, said = done
    assert status == 2 and len(said) == 1, said
    assert said[0].startswith(f"error: {place}: ") and why in said[0], said


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_made_is_said_before_any_work(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    os.symlink("nowhere", tmp_path / "link")
    for place in ("file", "file/below", "file/far/below", "link", "link/below"):
        if name == "start" and place == "file":
            continue  # "exists already", below
        refused(typed(FOLDERS[name], place, tmp_path, capsys), place, "no folder can be made there")
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.yaml", "file", "link"]  # nothing was begun


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_written_is_said_before_any_work(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    end = ".zip" if name == "zip" else ".x"
    (tmp_path / f"folder{end}").mkdir()
    refused(
        typed(FILES[name], f"folder{end}", tmp_path, capsys), f"folder{end}", "is a folder, expected a file"
    )
    for place in (f"file/below{end}", f"file/far/below{end}"):
        refused(
            typed(FILES[name], place, tmp_path, capsys), os.path.dirname(place), "no folder can be made there"
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.yaml", "file", f"folder{end}"]


def test_every_option_that_names_a_place_is_looked_at():
    """What a new command writes to is looked at too: its option's name says that it is one."""
    from test_commands import commands

    for where, function in commands():
        hints = cli.typing.get_type_hints(function, include_extras=True)
        for name in {"out", "cache", "junit", "markdown"} & set(signature(function).parameters):
            looked_at = any(isinstance(e, cli.Written) for e in getattr(hints[name], "__metadata__", ()))
            assert looked_at or where == "leaderboard pack", f"{where} --{name}"


def test_a_board_whose_folder_or_database_cannot_be_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for n, (folder, url) in enumerate((("file/board", "sqlite:///x.db"), ("board", "sqlite:///file/x.db"))):
        board = tmp_path / f"board{n}.yaml"
        board.write_text(f"title: x\nfolder: {folder}\nurl: {url}\nsuites: {{}}\n")
        for words in ("admin accounts", "account me", "build --out site", "serve"):
            status, said = typed(f"leaderboard {words} --config {board}", "", tmp_path, capsys)
            assert status == 2 and len(said) == 1, said


def test_a_file_gets_its_folder_and_a_folder_that_is_there_is_taken(tmp_path):
    assert write_whole(tmp_path / "new" / "er" / "a.txt", "x").read_text() == "x"
    for folder in (tmp_path, tmp_path / "a" / "b", os.path.relpath(tmp_path)):
        check_folder(folder)
    check_file(tmp_path / "new" / "er" / "a.txt")
    check_file("just-a-name")
    assert not (tmp_path / "a").exists() and made(tmp_path / "a" / "b").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="may not be written"):
        check_folder(tmp_path / "new")
    tmp_path.chmod(0o700)
