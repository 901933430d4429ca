"""The files to run a board with: the compose file is read, whatever it and the units start is started here,
the units are checked by systemd itself."""

import ipaddress
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from conftest import ROOT, free_port, until_up

from leaderboard.board import config as boards
from leaderboard.board.credentials import VARIABLES
from leaderboard.intake import uploads
from leaderboard.scoring import comparing
from leaderboard.web import site

DEPLOY = ROOT / "deploy/leaderboard"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OWN = {name: s for name, s in COMPOSE["services"].items() if "Containerfile" in str(s.get("build"))}
RESTORE = OWN.pop("restore")  # started by hand, with the file's name
UNITS = sorted(DEPLOY.glob("*.service"))
BIN = "/opt/leaderboard/.venv/bin/"
CONFIG = "/etc/leaderboard/board.yaml"


def here(words: list[str], config: str, out: str = "") -> list[str]:
    """A command of the files as it runs here: this Python, this configuration."""
    program, *rest = (word.removeprefix(BIN) for word in words)
    known = {CONFIG: config, "0.0.0.0": "127.0.0.1"} | ({rest[-1]: out} if "--out" in rest else {})
    start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
    return [*start, *(known.get(word, word) for word in rest)]


def plain(words: list[str]) -> list[str]:
    """A command without the shell that asks for the day."""
    if words[0].endswith("sh"):
        words = shlex.split(re.sub(r"\$\$\(date \+%+F\)", "today", words[2]))[1:]
    return words


def of_units() -> dict[str, list[str]]:
    """The words of every unit's command."""
    lines = {unit.stem: re.search(r"^ExecStart=(.*)$", unit.read_text(), re.M)[1] for unit in UNITS}
    return {name: plain(shlex.split(line)) for name, line in lines.items()}


STARTED = {name: plain(service["command"]) for name, service in OWN.items()} | of_units()


@pytest.fixture
def config(tmp_path, baseline_runs):
    file = tmp_path / "board.yaml"
    plan = {
        "folder": str(tmp_path / "board"),
        "suites": {"scenes": {"config": str(baseline_runs / "suite.yaml")}},
    }
    file.write_text(json.dumps(plan))
    return str(file)


def run(words, **options):
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", STARTED)
def test_whatever_is_started_starts(name, config, tmp_path):
    words = here(STARTED[name], config, str(tmp_path / "out/b.zip"))
    assert config in words, "it reads the board's configuration"
    if "serve" not in words:
        run(words if "backup" in words else [*words, "--once"])
        assert "backup" not in words or (tmp_path / "out/b.zip").stat().st_size
        return
    port, log = free_port(), tmp_path / "log"
    words[words.index("--port") + 1] = str(port)
    with log.open("w") as out:
        server = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        until_up(server, f"http://127.0.0.1:{port}", log)
        assert httpx.get(f"http://127.0.0.1:{port}/suites/scenes").status_code == 200
        if name in OWN:
            kind, program, *check = OWN[name]["healthcheck"]["test"]
            assert (kind, program) == ("CMD", "python")
            run([sys.executable, *(word.replace(":8200", f":{port}") for word in check)])
            silent = [word.replace(":8200", f":{free_port()}") for word in check]
            assert subprocess.run([sys.executable, *silent], capture_output=True).returncode
    finally:
        server.terminate()
        server.wait(60)


def test_a_backup_of_the_containers_is_restored_by_the_documents_command(config, tmp_path):
    kept = COMPOSE["services"]["backup"]["command"]
    made = re.search(r"--out (.+)", kept[2])[1].replace("$$(date +%F)", "DAY")
    text = " ".join((ROOT / "docs/leaderboard-running.md").read_text().split())
    told = re.search(r"docker compose run --rm restore (leaderboard restore [^`]+)", text)[1].split()
    assert told[2] == made, "it reads what the backup writes"
    mounts = dict(mount.split(":")[:2] for mount in RESTORE["volumes"])
    assert mounts["backups"] == "/backups" and mounts["board"] == "/data" and "./suites" in mounts
    assert "board:/data:ro" not in RESTORE["volumes"], "it writes the board"
    run(here(["leaderboard", "account", "lab", "--config", CONFIG], config))
    run(here(plain(kept), config, str(tmp_path / "board.zip")))
    fresh = tmp_path / "fresh.yaml"
    fresh.write_text(json.dumps(json.loads(Path(config).read_text()) | {"folder": str(tmp_path / "new")}))
    words = [str(tmp_path / "board.zip") if word == made else word for word in told]
    run(here(words, str(fresh)))
    assert "lab" in run(here(["leaderboard", "admin", "accounts", "--config", CONFIG], str(fresh)))


def gibibytes(said: str) -> float:
    assert said[-1] in "gG"
    return float(said[:-1])


def test_limits_of_memory_hold_all_that_a_service_may_start(config):
    board = boards.read(config)
    inside = (uploads.TURNS * board.checking.gigabytes, site.TURNS * comparing.GIGABYTES, 1.0)
    services = COMPOSE["services"]
    limits = {"leaderboard": services["server"]["mem_limit"], "scorer": services["scorer"]["mem_limit"]}
    for unit in UNITS:
        text = unit.read_text()
        if found := re.search(r"^MemoryMax=(.*)$", text, re.M):
            name = "scorer" if "scorer" in unit.stem else unit.stem
            assert found[1].lower() == limits[name], "the same with containers and without"
            assert "OOMPolicy=continue" in text, "a child that takes too much ends, not what started it"
    assert gibibytes(limits["leaderboard"]) >= sum(inside)
    assert gibibytes(limits["scorer"]) > board.scoring.gigabytes


def test_the_compose_file_lets_in_through_the_proxy_only():
    services, networks = COMPOSE["services"], COMPOSE["networks"]
    assert set(services) == {"server", "scorer", "backup", "restore", "database", "proxy"}
    assert [name for name, s in services.items() if "ports" in s] == ["proxy"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"], name
        assert set(service["networks"]) <= set(networks) and not service.get("privileged"), name
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or source == "./suites" or (DEPLOY / source).is_file(), mount
    assert networks["back"]["internal"] and set(services["scorer"]["networks"]) == {"back"}
    assert set(services["database"]["networks"]) == {"back"}
    proxy = services["proxy"]["networks"]["front"]["ipv4_address"]
    assert boards.read(str(DEPLOY / "board.yaml")).proxies == [proxy], "else all visitors are one address"
    (plan,) = networks["front"]["ipam"]["config"]
    given, address = ipaddress.ip_network(plan["ip_range"]), ipaddress.ip_address(proxy)
    assert address not in given, "else the server, which starts first, is given it"
    assert address in ipaddress.ip_network(plan["subnet"]) and plan["gateway"] != proxy
    port = services["server"]["command"][services["server"]["command"].index("--port") + 1]
    assert f"reverse_proxy server:{port}" in (DEPLOY / "Caddyfile").read_text()
    assert "respond /metrics 404" in (DEPLOY / "Caddyfile").read_text()
    for text in (DEPLOY / "compose.yaml").read_text().split("${")[1:]:
        assert text.split(":?")[0] in (DEPLOY / "example.env").read_text()


def test_secrets_are_files_of_the_server_alone_and_in_no_image():
    names = {f"leaderboard.{what}" for what in VARIABLES}
    server = COMPOSE["services"]["server"]
    assert set(server["secrets"]) == set(COMPOSE["secrets"]) == names
    assert server["environment"]["CREDENTIALS_DIRECTORY"] == "/run/secrets"
    assert [name for name, s in COMPOSE["services"].items() if "secrets" in s] == ["server"]
    assert {s["file"] for s in COMPOSE["secrets"].values()} == {f"./secrets/{name}" for name in names}
    for service in COMPOSE["services"].values():  # none in the open, by a value or its default
        given = {k: str(v) for k, v in service.get("environment", {}).items() if k in VARIABLES.values()}
        assert not given
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/deploy/leaderboard/secrets/", "/deploy/leaderboard/.env"} <= set(ignored)
    assert "deploy/leaderboard/secrets" in (ROOT / ".dockerignore").read_text().splitlines()
    copied = [line for line in (DEPLOY / "Containerfile").read_text().splitlines() if "COPY" in line]
    assert not [line for line in copied if "deploy" in line or " . " in line]
    for unit in UNITS:
        text = unit.read_text()
        loaded = set(re.findall(r"^LoadCredential=([\w.]+):([\w.]+)$", text, re.M))
        assert loaded == ({(name, name) for name in names} if unit.stem == "leaderboard" else set()), unit
        assert not re.search(
            r"^(Environment|SetCredential)=.*(SECRET|PASSWORD|TOKEN|leaderboard\.)", text, re.M
        )


def spooled(process: subprocess.Popen, port: int) -> list[str]:
    """The files that a server holds open for a form whose end does not come."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n' + bytes(3 << 20)
    head = f"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: {9 << 20}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(head.encode() + body)
        for _ in range(100):
            links = [
                os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()
            ]
            if found := [link for link in links if "deleted" in link]:
                return found
            time.sleep(0.1)
    return []


def test_the_server_of_the_compose_file_reads_its_secrets_from_files(config, tmp_path):
    """Its command is run with its environment: the token of /metrics lies in a file, the others are empty.
    What forms bring lies on the board's disk: there /tmp is memory."""
    server, folder = OWN["server"], tmp_path / "secrets"
    folder.mkdir()
    for name in server["secrets"]:
        (folder / name).write_text("for prometheus\n" if name == "leaderboard.metrics" else "")
    port, log, words = free_port(), tmp_path / "log", here(server["command"], config)
    words[words.index("--port") + 1] = str(port)
    environment = os.environ | {"CREDENTIALS_DIRECTORY": str(folder)}
    with log.open("w") as out:
        process = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        until_up(process, url, log)
        assert httpx.get(f"{url}/metrics").status_code == 401
        told = httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer for prometheus"})
        assert told.status_code == 200 and "leaderboard_scorers" in told.text
        assert [link.startswith(f"{tmp_path}/board/") for link in spooled(process, port)] == [True]
    finally:
        process.terminate()
        process.wait(60)
    assert "for prometheus" not in log.read_text()


def test_the_compose_file_is_read_by_docker(tmp_path):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    run(
        [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "-q"],
        env=os.environ | {"SITE": "x.example.org", "POSTGRES_PASSWORD": "x"},
    )


def test_the_shipped_board_is_a_configuration_and_holds_no_password():
    board = boards.read(str(DEPLOY / "board.yaml"))
    assert board.url.startswith("postgresql+psycopg://board@") and board.open_accounts == 0
    mounts = [m.split(":")[1] for m in COMPOSE["services"]["server"]["volumes"]]
    assert CONFIG in mounts and any(board.folder.startswith(f"{m}/") for m in mounts)
    assert all(any(s.config.startswith(f"{m}/") for m in mounts) for s in board.suites.values())
    assert "POSTGRES_PASSWORD=\n" in (DEPLOY / "example.env").read_text()


def test_the_container_file_copies_what_is_there_and_runs_as_nobody_special(config):
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert copied and all((ROOT / path).exists() for path in copied)
    assert {"tvad", "bench", "leaderboard", "configs", "constraints.txt"} <= copied
    assert [line for line in lines if line.startswith("USER ")] == ["USER board"]
    words = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    assert "usage: leaderboard serve" in run([*here(words, config), "--help"])


@pytest.mark.parametrize("unit", [*UNITS, DEPLOY / "leaderboard-backup.timer"], ids=lambda p: p.name)
def test_units_are_what_systemd_takes(unit, tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for file in DEPLOY.glob("*.service"):  # the program stands elsewhere here
        text = file.read_text().replace(f"={BIN}leaderboard", "=/bin/true")
        (tmp_path / file.name).write_text(text.replace(f"={BIN}python", "=/bin/true"))
    shutil.copy(DEPLOY / "leaderboard-backup.timer", tmp_path)
    named = unit.name.replace("@.", "@1.")
    if named != unit.name:
        shutil.copy(tmp_path / unit.name, tmp_path / named)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / named)], capture_output=True, text=True, cwd=tmp_path
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "leaderboard" in line]
    assert done.returncode == 0 and not said, done.stderr
    if unit.suffix == ".service":
        rated = subprocess.run(
            [analyze, "security", "--offline=true", "--threshold=30", str(tmp_path / unit.name)],
            capture_output=True,
            text=True,
        )
        assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr
