"""Writes docs/configurations.md: every key of every configuration, from the classes that read them.

python docs/configurations.py
"""

import textwrap
from pathlib import Path

from bench.gate import Gate
from bench.suite import Suite
from leaderboard.board.config import Board
from rft.curriculum.config import Curriculum
from rft.grpo.config import GrpoRun
from rft.studies.ablation import Ablation
from rft.studies.experiment import Experiment
from tvad.common.config import keys
from tvad.model.prompt_sets import PromptSet
from tvad.model.tiny import TinyModel

TARGET = Path(__file__).with_suffix(".md")
FILES = {
    "Supervised stages (`configs/stage/`)": Curriculum,
    "The paper's ablation (`configs/stage/ablation.yaml`)": Ablation,
    "Reinforcement runs (`configs/grpo/`)": GrpoRun,
    "Experiments (`configs/grpo/experiment.yaml`, `ablation.yaml`)": Experiment,
    "Suites (`configs/bench/`)": Suite,
    "Gates (`configs/gate/`)": Gate,
    "Leaderboards (`configs/leaderboard/`)": Board,
    "Prompt sets of AHD (`configs/prompts/`)": PromptSet,
    "Untrained models (`configs/model/`)": TinyModel,
}
HEAD = """# Keys of configurations

Made by `python docs/configurations.py` from the classes that read them; `--help` of a command shows the
same. A file may say `version: 1`; an older form of a key is refused with the new one. `x[].y` is a key of
every member of a list, `x.NAME.y` of every member of a mapping.
"""


def text() -> str:
    parts = [HEAD]
    for title, cls in FILES.items():
        parts.append(f"\n## {title}\n\n")
        for key in keys(cls):
            if cls is Ablation and key.place.startswith(("backbone.", "stages[].")):
                continue  # those of supervised stages
            default = f", default `{key.default}`" if key.default else ""
            line = f"- `{key.place}` ({key.kind}{default}): {key.text}"
            parts.append(
                "\n".join(textwrap.wrap(line, 118, subsequent_indent="  ", break_on_hyphens=False)) + "\n"
            )
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
