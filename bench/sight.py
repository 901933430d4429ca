"""Whether a model sees: before the first question, the log-probs of an answer's first token must change when
the frames are noise. A model whose pixels are lost on the way answers as fluently as any
and would be scored.
"""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from bench import models
from bench.models.base import Engine, Peeks, Request, Sampling, Unseen, ended
from bench.models.clips import made, noise
from tvad.common.errors import InputError
from tvad.prompts import messages

DRAWS = 3


def apart(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> float:
    """The largest difference between two tables of log-probs; a token that only one names has at most the
    other's least."""
    least = min(first.values()), min(second.values())
    return max(abs(first.get(t, least[0]) - second.get(t, least[1])) for t in {*first, *second})


def look(model: Engine, name: str, request: Request, seed: int) -> dict[str, Any]:
    """What run.json holds of it: {"checked", "change", "again"}: the least change by noise, and the largest
    between askings of one and the same, nats; for a model that gives no log-probs {"checked": False, "why"}.
    Raises InputError where noise changes no more than asking again does, and where the model ends in an error
    of its own."""
    tables = None
    if isinstance(model, Peeks):
        shown = [request.frames] * (DRAWS + 1) + [noise(request.frames, seed + n) for n in range(DRAWS)]
        try:
            tables = model.first_token([replace(request, frames=clip) for clip in shown])
        except InputError:
            raise
        except Unseen as error:
            return {"checked": False, "why": str(error)}
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever a foreign model raises: nothing of a run would be answered
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise InputError(f"{name}: ends where it is asked about a clip ({said})") from error
    if tables is None:
        return {"checked": False, "why": f"{model.name} gives no log-probs"}
    own, *rest = tables
    again = max(apart(own, table) for table in rest[:DRAWS])
    change = min(apart(own, table) for table in rest[DRAWS:])
    if not change > again:
        raise InputError(
            f"{name}: does not see: with noise for frames the log-probs of an answer's first token change by"
            f" {change:.2g}, asked again by {again:.2g}; no pixel reaches this model"
        )
    return {"checked": True, "change": change, "again": again}


def rows(specs: list[str], trust_remote_code: bool = False) -> list[dict[str, Any]]:
    """`examined` of several models."""
    trusted = {"trust_remote_code": True} if trust_remote_code else {}
    return [
        examined(spec, **(trusted if models.is_checkpoint(spec) else {}))
        for spec in tqdm(specs, unit="model", disable=None)
    ]


def examined(spec: str, **options: Any) -> dict[str, Any]:
    """What a model KIND:PATH, opened with options, does with made clips: {"model", "clip" (how it is given
    one), what `look` finds, "batch" (whether two questions together are answered as each alone), "answers"
    (the first words)}; of one that cannot be asked {"model", "refused"}."""
    try:
        model = models.load(spec, **options)
        if not isinstance(model, Peeks):
            raise InputError(f"{model.name} looks at nothing")
        short = Request(messages("Is there an anomaly?"), made(6, (90, 120), 1), key="0")
        long = Request(
            messages("When does it happen, and where in the picture?"), made(4, (120, 90), 2), key="1"
        )
        found = look(model, spec, short, 3)
        sampling = Sampling(max_tokens=8)
        together = [completions[0].text for completions in model.sample([short, long], sampling)]
        alone = [model.sample([request], sampling)[0][0].text for request in (short, long)]
    except InputError as error:
        return {"model": spec, "refused": str(error)}
    except SystemExit as error:
        return {"model": spec, "refused": str(ended(error))}
    given = getattr(model, "given", None)
    clip = "as it takes it" if given is None else "images" if given.form == "images" else "a video"
    return {"model": spec, "clip": clip, **found, "batch": together == alone, "answers": together[0]}


def table(rows: list[dict[str, Any]]) -> str:
    """`examined` of several models in lines."""
    width = max(len(row["model"]) for row in rows)
    lines = [f"{'model':{width}}  {'clip':8}  {'change':>8}  {'again':>8}  batch  answers"]
    for row in rows:
        if "refused" in row:
            lines.append(f"{row['model']:{width}}  refused: {row['refused']}")
            continue
        figures = [f"{row[key]:8.2g}" if key in row else "      --" for key in ("change", "again")]
        batch, answers = "same" if row["batch"] else "other", row["answers"][:40]
        lines.append(f"{row['model']:{width}}  {row['clip']:8}  {'  '.join(figures)}  {batch:5}  {answers!r}")
    return "\n".join(lines)
