"""The files of configs/launch: what they call is what those programs take, and several nodes train as they
say; Slurm, Ray and nodes have stand-ins on this machine."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SHIPPED
from ports import free_port
from test_run import steps_of

LAUNCH = ROOT / "configs/launch"
RECIPE = "configs/grpo/tvad-7b.yaml"
OURS = {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH"}


def stand_in(folder: Path, name: str, lines: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/bash\n{lines}\n")
    file.chmod(0o755)


def noting(folder: Path, *names: str) -> None:
    """Programs that note how they are called."""
    for name in names:
        note = f"import json,sys; print(json.dumps(sys.argv[1:]), file=open('{folder}/called.jsonl', 'a'))"
        stand_in(folder, name, f'exec {sys.executable} -c "{note}" {name} "$@"')


def launched(file: str, folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and what was said, with the programs of `folder` before all others. What still runs at the
    end is ended, as Slurm does with a job's."""
    known = {key: value for key, value in os.environ.items() if key in OURS}
    known |= {"PATH": f"{folder}:{Path(sys.executable).parent}:{known['PATH']}"}
    log = folder / f"said-{environment.get('NODE', 0)}.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", str(LAUNCH / file), *arguments],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env=known | environment,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=500)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return code, log.read_text()


def called(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "called.jsonl").read_text().splitlines()]


def check_training(
    command: list[str], *, nodes: int, rank: int, first: str, gpus: int, rest: list[str]
) -> None:
    """By accelerate's own reading."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    assert command[:2] == ["accelerate", "launch"]
    found = launch_command_parser().parse_args(command[2:])
    assert (ROOT / found.config_file).is_file() and (ROOT / found.training_script).is_file()
    assert (found.num_machines, found.machine_rank, found.main_process_ip) == (nodes, rank, first)
    assert found.num_processes == nodes * gpus
    read = _validate_launch_command(found)[0]
    # Else DeepSpeed's own launcher, pdsh, would be called on every node, for every node.
    assert not read.use_deepspeed or read.deepspeed_multinode_launcher == "standard"
    assert found.training_script_args == ["--config", *rest]


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("how", sorted(file.stem for file in (ROOT / "configs/accelerate").glob("*.yaml")))
def test_torchrun_s_file_asks_accelerate_for_its_node(tmp_path, node, how):
    noting(tmp_path, "accelerate")
    place = {"NODES": "2", "NODE": str(node), "MASTER": "10.0.0.1", "GPUS": "4"}
    place["ACCELERATE"] = f"configs/accelerate/{how}.yaml"
    code, said = launched("torchrun.sh", tmp_path, RECIPE, "--seed", "3", **place)
    assert code == 0, said
    (command,) = called(tmp_path)
    rest = [RECIPE, "--seed", "3"]
    check_training(command, nodes=2, rank=node, first="10.0.0.1", gpus=4, rest=rest)


def slurm(folder: Path, nodes: list[str], server: str) -> None:
    """`srun` runs here what it should run there, one after the other task; `server`: in place of tvad's."""
    stand_in(folder, "scontrol", "\n".join(["[ $1 = show ] || exit 9", *(f"echo {node}" for node in nodes)]))
    stand_in(
        folder,
        "srun",
        f"""{sys.executable} - "$@" <<'EOF'
import argparse, os, subprocess, sys
known = argparse.ArgumentParser()
known.add_argument("--overlap", action="store_true")
for name in ("--nodes", "--ntasks", "--ntasks-per-node", "--nodelist", "--export"):
    known.add_argument(name)
found, command = known.parse_known_args()
assert len(found.nodelist.split(",")) == int(found.nodes), found
extra = dict(pair.split("=", 1) for pair in (found.export or "ALL").split(",") if "=" in pair)
assert (found.export or "ALL").startswith("ALL"), found
with open("{folder}/sruns.txt", "a") as out:
    print(found.nodelist, *command, file=out)
running = [
    subprocess.Popen(command, env=os.environ | extra | {{"SLURM_NODEID": str(node)}})
    for node in range(int(found.nodes))
]
sys.exit(max(abs(one.wait()) for one in running))
EOF""",
    )
    stand_in(folder, "tvad", server)


def test_slurm_s_file_trains_on_all_nodes_but_the_last(tmp_path):
    noting(tmp_path, "accelerate", "curl")
    slurm(
        tmp_path,
        ["one", "two", "three"],
        f'echo "$CUDA_VISIBLE_DEVICES $ROLLOUT_TOKEN $*" >> {tmp_path}/tvad.txt',
    )
    code, said = launched("slurm.sh", tmp_path, RECIPE, "--seed", "3", SLURM_JOB_NODELIST="x", GPUS="2")
    assert code == 0, said
    model = yaml.safe_load((ROOT / RECIPE).read_text())["model"]
    served = sorted(line.split() for line in (tmp_path / "tvad.txt").read_text().splitlines())
    assert [line[0] for line in served] == ["0", "1"] and served[0][1] == served[1][1] != ""
    for gpu, line in enumerate(served):
        assert line[2:6] == ["serve", "--rollouts", "--model", model]
        assert line[line.index("--port") + 1] == str(8100 + gpu)
    asked = [command for command in called(tmp_path) if command[0] == "curl"]
    assert [command[-1] for command in asked] == [f"http://three:{8100 + gpu}/health" for gpu in (0, 1)]
    # A cluster's http_proxy would be asked for its own nodes, and say that nobody is there.
    assert all(command[command.index("--noproxy") + 1] == "*" for command in asked)
    trained = sorted(
        (c for c in called(tmp_path) if c[0] == "accelerate"), key=lambda c: c[c.index("--machine_rank") + 1]
    )
    rest = [RECIPE, "--engine", "server:http://three:8100,http://three:8101", "--seed", "3"]
    assert len(trained) == 2
    for node, command in enumerate(trained):
        check_training(command, nodes=2, rank=node, first="one", gpus=2, rest=rest)
    places = [line.split()[0] for line in (tmp_path / "sruns.txt").read_text().splitlines()]
    assert sorted(places) == ["one,two", "three", "three"]


def test_slurm_s_file_ends_where_a_server_does(tmp_path):
    noting(tmp_path, "accelerate")
    slurm(tmp_path, ["one", "two"], "exit 2")
    stand_in(tmp_path, "curl", "exit 7")
    stand_in(tmp_path, "sleep", f"exec {shlex.quote('/bin/sleep')} 0.2")
    code, said = launched("slurm.sh", tmp_path, RECIPE, SLURM_JOB_NODELIST="x", GPUS="1")
    assert code == 1 and "rollout server 0 on two ended before it was ready" in said
    assert not (tmp_path / "called.jsonl").exists()


def test_slurm_s_file_lets_the_servers_draw_while_the_trainers_finish_their_step(tmp_path):
    """Slurm's signal before the end comes to the batch script alone, which hands it on to the trainers."""
    assert "#SBATCH --signal=B:TERM@" in (LAUNCH / "slurm.sh").read_text()
    stand_in(tmp_path, "curl", "exit 0")
    server = f"trap 'echo ended >> {tmp_path}/server.txt; exit' TERM; while :; do sleep 0.1; done"
    slurm(tmp_path, ["one", "two"], server)
    trainer = f"""trap 'sleep 0.5; cp {tmp_path}/server.txt {tmp_path}/too_early.txt; exit 143' TERM
echo $$ > {tmp_path}/trainer.txt
kill -TERM $(ps -o sid= -p $$)
while :; do sleep 0.1; done"""
    stand_in(tmp_path, "accelerate", trainer)
    stand_in(
        tmp_path, "scancel", f'echo "$@" > {tmp_path}/scancel.txt; kill -TERM $(cat {tmp_path}/trainer.txt)'
    )
    code, said = launched("slurm.sh", tmp_path, RECIPE, SLURM_JOB_NODELIST="x", SLURM_JOB_ID="7", GPUS="1")
    assert code == 143, said
    assert (tmp_path / "scancel.txt").read_text().split() == ["--signal", "TERM", "7.1"]
    assert not (tmp_path / "too_early.txt").exists()


def test_slurm_s_file_wants_two_nodes(tmp_path):
    slurm(tmp_path, ["one"], "exit 2")
    code, said = launched("slurm.sh", tmp_path, RECIPE, SLURM_JOB_NODELIST="x")
    assert code == 2 and "expected two at least" in said
    assert not (tmp_path / "sruns.txt").exists()


@pytest.mark.parametrize("node", [0, 1])
def test_ray_s_file_makes_one_server_of_two_nodes(tmp_path, node, monkeypatch):
    pytest.importorskip("vllm")
    start = pytest.importorskip("ray.scripts.scripts").start
    noting(tmp_path, "ray", "tvad")
    place = {"NODES": "2", "NODE": str(node), "MASTER": "10.0.0.7", "GPUS": "4"}
    told = {"ROLLOUT_TOKEN": "secret", "TVAD_WEIGHTS": str(tmp_path / "weights")}
    for missing in told:
        rest = {key: value for key, value in told.items() if key != missing}
        code, said = launched("ray.sh", tmp_path, RECIPE, **place, **rest)
        assert code != 0 and missing in said
    assert not (tmp_path / "called.jsonl").exists()
    code, said = launched("ray.sh", tmp_path, RECIPE, "--max-num-seqs", "16", **place, **told)
    assert code == 0, said
    first, *others = called(tmp_path)
    assert first[:2] == ["ray", "start"]
    found = start.make_context("ray start", list(first[2:])).params
    if node:
        assert found["address"] == "10.0.0.7:6379" and found["block"] and not others
        return
    assert found["head"] and found["node_ip_address"] == "10.0.0.7" and found["port"] == 6379
    server, stop = others
    assert stop == ["ray", "stop"] and server[:3] == ["tvad", "serve", "--rollouts"]
    check_server(server[3:], monkeypatch, told)


def check_server(options: list[str], monkeypatch, environment: dict[str, str]) -> None:
    """By vLLM's own reading of what tvad gives it."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from tvad.use.serving import rollouts

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    own = dict(zip(options[:6:2], options[1:6:2], strict=True))
    assert own.keys() == {"--model", "--host", "--port"}
    given = rollouts.command(own["--model"], own["--host"], int(own["--port"]), options[6:], True)
    found, _ = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_known_args(given)
    assert (found.distributed_executor_backend, found.tensor_parallel_size) == ("ray", 8)
    assert found.max_num_seqs == 16


CPUS = {
    **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"},
    "HF_HUB_OFFLINE": "1",
}
SMALL = {"max_steps": 2, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 16}


def small_run(scenes, out: Path) -> list[str]:
    """Options that make the demo's GRPO small."""
    training = [word for key, value in SMALL.items() for word in (f"--training.{key}", str(value))]
    return [
        "--model",
        str(SHIPPED),
        "--data",
        str(scenes),
        "--out",
        str(out),
        "--evaluate",
        "null",
        *training,
    ]


def check_two_trained(out: Path) -> None:
    assert [row["step"] for row in steps_of(out)] == [1, 2] and (out / "model").is_dir()
    assert json.loads((out / "grpo.json").read_text())["made_of"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "zero2", "zero3"])
def test_two_nodes_train_by_torchrun_s_file(scenes, tmp_path, how):
    if how != "ddp":
        pytest.importorskip("deepspeed")
    command = ("torchrun.sh", tmp_path, "configs/grpo/demo.yaml", *small_run(scenes, tmp_path / "run"))
    place = {"NODES": "2", "GPUS": "1", "MASTER": "127.0.0.1", "PORT": str(free_port())}
    shipped = yaml.safe_load((ROOT / f"configs/accelerate/{how}.yaml").read_text())
    # The demo's run is in float32 here, which the file must say, too.
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(shipped | {"mixed_precision": "no"}))
    known = CPUS | place | {"ACCELERATE": str(tmp_path / "own.yaml")}

    def run(node: str) -> tuple[int, str]:
        return launched(*command, "--engine", "transformers", NODE=node, **known)

    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(run, ("0", "1"))]
    assert [code for code, _ in found] == [0, 0], found
    check_two_trained(tmp_path / "run")


@pytest.mark.slow
def test_two_nodes_train_and_a_third_draws_by_slurm_s_file(scenes, tmp_path):
    """With the real server, which the trainers need the file's token for."""
    pytest.importorskip("vllm")
    slurm(tmp_path, ["127.0.0.1"] * 3, f'exec {sys.executable} -m tvad "$@"')
    ports = {"PORT": str(free_port()), "SERVER_PORT": str(free_port())}
    place = {"SLURM_JOB_NODELIST": "x", "GPUS": "1", "ACCELERATE": "configs/accelerate/ddp.yaml"}
    options = small_run(scenes, tmp_path / "run")
    known = CPUS | ports | place | {"TVAD_WEIGHTS": str(tmp_path / "weights"), "MODEL_LEN": "1024"}
    code, said = launched("slurm.sh", tmp_path, "configs/grpo/demo.yaml", *options, **known)
    assert code == 0, said[-3000:]
    check_two_trained(tmp_path / "run")
    assert {row["servers/drew"] for row in steps_of(tmp_path / "run")} == {1}
