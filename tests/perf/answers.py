"""Agreement of answer readers with the labelled corpus of tests/cases/answers, by kind: ours and, where
their folders are given, the public suites'. Their code is read where it lies and run unmodified, function by
function; none of it belongs here. A random letter counts as none read; lmms-eval's filter removes `<think>`.

python tests/perf/answers.py
pip download --no-deps lmms-eval==0.7.2 ms-vlmeval==0.0.20    # unpack the two wheels into a folder each
python tests/perf/answers.py --lmms-eval LMMS --vlmevalkit VLM    # they hold lmms_eval/ and vlmeval/
"""

import argparse
import ast
import json
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from answer_corpus import CASES, KINDS, agrees, only_letter, ours, read

GOLDEN = Path(__file__).resolve().parents[1] / "golden/mcq_extract/open/mcq_extract.json"
THINK = [["<think>", "</think>"]]
Reader = Callable[[str, dict], object]
Options = dict[str, str]


def functions(file: Path, *names: str, **others: object) -> SimpleNamespace:
    """The named functions and the module's capitalised constants of a source file, without what it imports.

    Raises ValueError where one is missing."""
    there: dict = {
        "re": re,
        "np": np,
        "string": string,
        "random": SimpleNamespace(choice=lambda _: "RANDOM"),
    } | others
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        wanted = isinstance(node, ast.FunctionDef) and node.name in names
        wanted |= isinstance(node, ast.Assign) and file.name == "mcq_extract.py"
        if wanted or (isinstance(node, ast.ImportFrom) and node.module == "typing"):
            exec(compile(ast.Module([node], []), str(file), "exec"), there)
    if missing := [name for name in names if name not in there]:
        raise ValueError(f"{file} has no {', '.join(missing)}")
    return SimpleNamespace(**{name: there[name] for name in names})


def lmms_eval(root: Path) -> tuple[dict[str, Callable[[str, Options], str]], dict[str, dict[str, Reader]]]:
    """Readers of letters, (text, options) -> letter or mark, by the names of tests/golden/mcq_extract; and
    readers of other kinds, (text, row) -> what the label would be."""
    tasks = root / "lmms_eval/tasks"
    one = functions(tasks / "_task_utils/mcq_extract.py", "extract_mcq_answer").extract_mcq_answer
    v2 = functions(tasks / "videomme_v2/utils.py", "extract_characters_regex").extract_characters_regex
    ego = functions(tasks / "egoplan/utils.py", "extract_characters_regex").extract_characters_regex
    long, next_, world = (
        functions(tasks / task / "utils.py", "parse_multi_choice_response").parse_multi_choice_response
        for task in ("longvideobench", "nextqa", "worldsense")
    )
    mcq_acc = functions(tasks / "mvbench/utils.py", "mcq_acc").mcq_acc
    yes = functions(tasks / "mme/utils.py", "parse_pred_ans").parse_pred_ans
    box = functions(tasks / "refcoco/utils_rec.py", "parse_float_sequence_within").parse_float_sequence_within
    time = functions(tasks / "charades_sta/eval_tvg.py", "extract_time").extract_time
    letters: dict[str, Callable[[str, Options], str]] = {
        "mcq_extract": lambda text, options: one(text, list(options)),
        "videomme_v2_regex": lambda text, options: v2(text),
        "egoplan_regex": lambda text, options: ego(text),
        "longvideobench_parse": lambda text, options: long(text, list(options), options),
        "nextqa_parse": lambda text, options: next_(text, list(options), options),
        "worldsense_parse": lambda text, options: world(text, list(options), options),
        "mvbench_accepts": lambda text, options: "".join(each for each in options if mcq_acc(each, text)),
    }
    others: dict[str, dict[str, Reader]] = {
        "yes_no": {"mme": lambda text, row: {"yes": True, "no": False}.get(yes(text))},
        "span": {"charades_sta": lambda text, row: [list(each) for each in time(text)] or None},
        "box": {"refcoco": lambda text, row: in_permille(box(text), row)},
    }
    return letters, others


def in_permille(four: list[float], row: dict) -> list[list[float]] | None:
    """A box from a text in 0..1000, by the unit that the row names; four noughts are none."""
    (width, height), unit = row["size"], row["box_unit"]
    x, y = {"pixels": (1000 / width, 1000 / height), "unit": (1000, 1000)}.get(unit, (1, 1))
    return [[four[0] * x, four[1] * y, four[2] * x, four[3] * y]] if any(four) else None


def vlmevalkit(root: Path) -> tuple[dict[str, Callable[[str, Options], str]], dict[str, dict[str, Reader]]]:
    """The same for VLMEvalKit."""
    utils = root / "vlmeval/dataset/utils"
    infer = functions(
        root / "vlmeval/utils/matching_util.py",
        *("can_infer_option", "can_infer_text", "can_infer"),
        **{"cp": __import__("copy"), "os": SimpleNamespace(environ={})},
    )
    regex = functions(utils / "videomme.py", "extract_characters_regex", "extract_characters_regex_v2")
    holmes = functions(utils / "videoholmes.py", "extract_option").extract_option
    check = functions(utils / "mvbench.py", "check_ans").check_ans
    punctuation = functions(root / "vlmeval/smp/misc.py", "process_punctuation")
    yes = functions(utils / "yorn.py", "YOrN_Extraction", **vars(punctuation)).YOrN_Extraction
    letters: dict[str, Callable[[str, Options], str]] = {
        "videomme_regex": lambda text, options: regex.extract_characters_regex(text),
        "videomme_regex_v2": lambda text, options: regex.extract_characters_regex_v2(text),
        "can_infer": lambda text, options: infer.can_infer(text, dict(options)) or "",
        "can_infer_option": lambda text, options: infer.can_infer_option(text, options) or "",
        "videomme_exact_matching_pipeline": lambda text, options: (
            regex.extract_characters_regex(text)
            or infer.can_infer(text, {each: said.strip(". \n") for each, said in options.items()})
            or "Z"
        ),
        "videoholmes_extract_option": lambda text, options: holmes(text),
        "mvbench_accepts": lambda text, options: "".join(
            each for each in options if check(text, f"({each}) {options[each]}")
        ),
    }
    others: dict[str, dict[str, Reader]] = {
        "yes_no": {"yorn": lambda text, row: {"Yes": True, "No": False}.get(yes(text))}
    }
    return letters, others


def reproduced(name: str, reader: Callable[[str, Options], str]) -> str:
    """How many of the golden file's answers this source reads as the commits did that it was made with."""
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    return f"{sum(reader(c['response'], c['options']) == c['expected'][name] for c in cases)} of {len(cases)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, nargs="+", default=sorted(CASES.glob("*.jsonl")), help="labelled rows (JSONL)"
    )
    parser.add_argument("--lmms-eval", type=Path, help="folder that holds lmms_eval/")
    parser.add_argument("--vlmevalkit", type=Path, help="folder that holds vlmeval/")
    parser.add_argument(
        "--failures", type=int, default=0, help="print so many rows of each kind that are read otherwise"
    )
    parser.add_argument("--out", type=Path, help="write what the public readers read, by row (JSON)")
    known = parser.parse_args()
    try:
        compare(known)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


def compare(known: argparse.Namespace) -> None:
    rows = [row for path in known.corpus for row in read(path)]
    print("| kind | rows | this project |\n|---|---|---|")
    wrong: dict[str, list[dict]] = {}
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        wrong[kind] = [row for row in mine if not agrees(row, ours(row))]
        print(f"| {kind} | {len(mine)} | {1 - len(wrong[kind]) / max(len(mine), 1):.3f} |")
    for kind in KINDS if known.failures else ():
        for row in wrong[kind][: known.failures]:
            print(f"{row['id']}: {row['text'][:200]!r} is {row['label']!r}, read as {ours(row)!r}")

    folders = (("lmms_eval", known.lmms_eval, lmms_eval), ("vlmevalkit", known.vlmevalkit, vlmevalkit))
    strip = None
    if known.lmms_eval:
        strip = functions(
            known.lmms_eval / "lmms_eval/api/reasoning.py", "strip_reasoning_tags"
        ).strip_reasoning_tags
    letters = [row for row in rows if row["kind"] == "letter"]
    found: dict[str, dict[str, str]] = {}
    print("\n| public reader | kind | agreement | golden answers it reads the same way |\n|---|---|---|---|")
    for suite, folder, readers in folders:
        if folder is None:
            print(f"| {suite} | | not run (no folder given) | |")
            continue
        by_letter, others = readers(folder)
        text = {row["id"]: strip(row["text"], THINK) if strip else row["text"] for row in rows}
        for name, reader in by_letter.items():
            key = f"{suite}.{name}"
            found[key] = {
                row["id"]: reader(
                    text[row["id"]], dict(zip(string.ascii_uppercase, row["options"], strict=False))
                )
                for row in letters
            }
            right = sum(agrees(row, only_letter(found[key][row["id"]])) for row in letters)
            print(f"| `{key}` | letter | {right / len(letters):.3f} | {reproduced(key, reader)} |")
        for kind, each in others.items():
            mine = [row for row in rows if row["kind"] == kind]
            for name, other in each.items():
                right = sum(agrees(row, other(text[row["id"]], row)) for row in mine)
                print(f"| `{suite}.{name}` | {kind} | {right / len(mine):.3f} | |")
    if known.out:
        known.out.write_text(json.dumps(found, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
