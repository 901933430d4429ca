"""Shared fixtures: a small scenes data set, an untrained tiny checkpoint, one vLLM engine a session. Nothing
here needs a network."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import pytest
import torch
from ports import free_port, until_up

from tvad.data.scenes.dataset import ScenesConfig, generate

pytest_plugins = ["board_fixtures"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
GOLDEN = ROOT / "tests/golden"
SHIPPED = ROOT / "assets" / "tvad-tiny"
KEY = "sesame"  # of the server

# Other people's files that the repository may not hold; tests that need them are skipped where they are
# absent, and the end of the run names them.
OUTSIDE = {
    "data/vau_bench": "three annotation files of VAU-Bench (test_msad.csv, test_ucf_crime.csv, val.csv)",
    "data/ubnormal": "two clips of UBnormal and its official split lists",
    "data/shanghaitech_tvau": "ShanghaiTech's windows, texts and four clips as T-VAU's authors made them",
    "data/shanghaitech_tracks": "anomaly tracks of 30 ShanghaiTech test videos",
    "data/ucsd_ped2": "eight test videos and the training videos of UCSD Ped2, with masks and tracks",
    "data/ucf_crime": "the temporal annotation of UCF-Crime's test videos",
    "foreign": "a script that builds tiny checkpoints of fifteen families",
    "golden/rbdc_tbdc_shanghaitech": "RBDC and TBDC of a public program on those tracks",
}


def golden(relative: str) -> Path:
    """A golden value of the repository: one that is missing is a failure, never a skip."""
    path = GOLDEN / relative
    if not path.exists():
        pytest.fail(f"tests/golden/{relative} is missing", pytrace=False)
    return path


def golden_files() -> dict[str, str]:
    """Name (relative to tests/golden) and SHA-256 of every golden file, as the repository lists them."""
    lines = (GOLDEN / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def shared(relative: str) -> Path:
    """A file of other people's, beside the repository; the test is skipped, and named, where it is absent."""
    folder = next(name for name in OUTSIDE if Path(relative).is_relative_to(name))
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"no ../shared/{folder}")
    return path


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_terminal_summary(terminalreporter) -> None:
    """One line for each folder of other people's that was not there: how many tests, and what it is."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    for folder, what in OUTSIDE.items():
        if count := sum(reason.endswith(f"no ../shared/{folder}") for reason in reasons):
            terminalreporter.write_line(f"{count} skipped for lack of ../shared/{folder}: {what}")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A data set of 16 clips."""
    folder = tmp_path_factory.mktemp("scenes")
    generate(ScenesConfig(split="test", clips=16, seed=3, max_crowd=4), folder)
    return folder


@pytest.fixture(scope="session")
def families(tmp_path_factory) -> Path:
    """Tiny checkpoints of families that this project did not make, a folder each."""
    script = shared("foreign/build_checkpoints.py")
    out = tmp_path_factory.mktemp("families")
    command = [sys.executable, str(script), "--out", str(out), "--tokenizer", str(SHIPPED / "tokenizer.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "FAIL" not in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def untrained(config: str, folder: Path, **switches) -> Path:
    """An untrained tiny T-VAD, with weights large enough that every module moves the logits."""
    from tvad.model.tiny import build

    model, processor = build(ROOT / "configs/model" / config, **switches)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.08)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    return untrained("tiny.yaml", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def checkpoint_published(tmp_path_factory) -> Path:
    """As `checkpoint`, which is made as the shipped ones were, in the published form."""
    form = {"rae_input": "classes", "prompt_order": "video_first"}
    return untrained("tiny.yaml", tmp_path_factory.mktemp("published"), **form)


@pytest.fixture(scope="session")
def checkpoint_qwen3(tmp_path_factory) -> Path:
    return untrained("tiny-qwen3.yaml", tmp_path_factory.mktemp("checkpoint3"))


@pytest.fixture(scope="session")
def engine(checkpoint):
    """One vLLM engine for the whole session; tests that change its weights put the checkpoint's back."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    from bench.models.vllm import VllmModel

    return VllmModel(str(checkpoint), max_num_seqs=16)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Base URL of an OpenAI-compatible vLLM server of the shipped checkpoint, named "tiny"; it wants KEY,
    takes frames a request, and fetches from this machine's own address and from a name of it."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tvad",
        "serve",
        "--model",
        str(SHIPPED),
        "--port",
        str(port),
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "1024",
        "--max-num-seqs",
        "8",
        "--served-model-name",
        "tiny",
        "--api-key",
        KEY,
        "--trust-request-mm-kwargs",
        "--allowed-media-domains",
        "127.0.0.1",
        "localhost",
    ]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    log = tmp_path_factory.mktemp("server") / "server.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    try:
        until_up(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        status = process.wait(60)
    assert status == 0, log.read_text()[-3000:]  # a server that is told to end ends well


@pytest.fixture(scope="module")
def browser():
    """A real browser, through playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()
