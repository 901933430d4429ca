"""One self-contained HTML page of a run or of a comparison: tables, plots, and samples with frames, boxes,
heatmaps, rationales."""

import base64
import html
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from bench.blind import warnings
from bench.compare import Difference, compare
from bench.metrics import frame
from bench.run_folder import open_run
from bench.suite import Item, Suite, load
from bench.tasks import PRIMARIES, RATIONALE, TASKS, heatmap
from tvad.answer import NONE
from tvad.common import config
from tvad.common.files import write_whole
from tvad.data.dataset import ClipStore
from tvad.data.sample import DIALOGUE_TURN, Sample
from tvad.pictures import GREEN, RED, glow, outline

STYLE = """
:root{color-scheme:light dark;--ink:#1a1d21;--dim:#5c6670;--page:#f6f7f9;--card:#fff;--line:#dde2e7;--up:#0a7d3c;--down:#b3261e;--bar:#3b6fd4}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--dim:#a2abb5;--page:#14171a;--card:#1d2125;--line:#343a41;--up:#5fd38d;--down:#ff8a80;--bar:#7aa2f7}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:20px}h1{font-size:24px;margin:.2em 0}h2{font-size:18px;margin:1.6em 0 .5em}
p.note{color:var(--dim);margin:.3em 0}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;background:var(--card)}
td,th{padding:6px 10px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}td:first-child,th:first-child{text-align:left}
.better{color:var(--up);font-weight:600}.worse{color:var(--down);font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;overflow-wrap:anywhere}
.card img{width:100%;border-radius:4px;image-rendering:auto}.card dl{margin:.4em 0;font-size:13px}.card dt{color:var(--dim)}.card dd{margin:0 0 .3em}
.tag{display:inline-block;font-size:12px;border:1px solid var(--line);border-radius:10px;padding:0 8px;margin-right:4px}
input,select{font:inherit;width:100%;padding:8px;margin:8px 0;background:var(--card);color:var(--ink);border:1px solid var(--line);border-radius:6px}
svg{max-width:100%;height:auto}svg text{fill:var(--dim);font-size:11px}.axis{stroke:var(--line)}.curve{stroke:var(--bar);fill:none;stroke-width:2}
.whisker{stroke:var(--ink);stroke-width:1.5}.filter{display:flex;flex-wrap:wrap;gap:10px;align-items:center;margin:8px 0}
.filter select,.filter input{width:auto;margin:0}td.left,th.left{text-align:left;white-space:normal}details{font-size:13px;white-space:normal}
@media(max-width:600px){main{padding:12px}.cards{grid-template-columns:1fr}td,th{padding:5px 6px;font-size:13px}h1{font-size:20px}}
.dot{fill:var(--bar);opacity:.35}.rect{fill:var(--bar)}.rect.old{opacity:.4}
"""


def esc(text: object, most: int = 1500) -> str:
    """Text for HTML: escaped, cut at `most` characters, lone surrogates spelt out."""
    plain = str(text).encode("utf-8", "backslashreplace").decode()
    return html.escape(plain if len(plain) <= most else plain[:most] + " …", quote=True)


def number(value: float | None, sign: bool = False) -> str:
    return "--" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"


def line_plot(
    series: dict[str, tuple[list[float], list[float]]], x_name: str, y_name: str, dots: bool = False
) -> str:
    """Curves {name: (x, y)} as an SVG."""
    width, height, left, bottom = 520, 240, 46, 34
    xs = [v for x, _ in series.values() for v in x]
    ys = [v for _, y in series.values() for v in y]
    if not xs:
        return "<p class=note>nothing to draw</p>"
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    x1, y1 = (x1 if x1 > x0 else x0 + 1), (y1 if y1 > y0 else y0 + 1)

    def place(x, y):
        return left + (x - x0) / (x1 - x0) * (width - left - 10), height - bottom - (y - y0) / (y1 - y0) * (
            height - bottom - 10
        )

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{esc(y_name)} over {esc(x_name)}">']
    for i in range(5):
        level = y0 + (y1 - y0) * i / 4
        _, py = place(x0, level)
        parts.append(
            f"<line class=axis x1={left} x2={width - 10} y1={py:.1f} y2={py:.1f} /><text x=4"
            f" y={py + 4:.1f}>{level:.3g}</text>"
        )
    for tick in (x0, (x0 + x1) / 2, x1):
        parts.append(f"<text x={place(tick, y0)[0]:.1f} y={height - 16} text-anchor=middle>{tick:g}</text>")
    parts.append(f"<text x={width / 2} y={height - 2} text-anchor=middle>{esc(x_name)}; {esc(y_name)}</text>")
    for name, (x, y) in series.items():
        points = [place(a, b) for a, b in zip(x, y, strict=True)]
        if dots and name == "step":
            parts += [f"<circle class=dot cx={a:.1f} cy={b:.1f} r=2 />" for a, b in points]
        else:
            parts.append(
                "<polyline class=curve"
                f' points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"><title>{esc(name)}</title></polyline>'
            )
    return "".join([*parts, "</svg>"])


def bars(values: Mapping[str, tuple[float | None, float | None]]) -> str:
    """Horizontal bars {name: (before or None, value)} on 0..1 as an SVG."""
    width, row = 520, 30
    parts = [f'<svg viewBox="0 0 {width} {row * len(values) + 8}" role="img" aria-label="scores">']
    for i, (name, (old, new)) in enumerate(values.items()):
        y = i * row + 4
        parts.append(f"<text x=0 y={y + 15}>{esc(name)}</text>")
        if old is not None:
            parts.append(f'<rect class="rect old" x=170 y={y} width={300 * old:.1f} height=9 />')
        if new is not None:
            parts.append(
                f"<rect class=rect x=170 y={y + 11} width={300 * new:.1f} height=9 /><text"
                f" x={176 + 300 * new:.1f} y={y + 20}>{new:.2f}</text>"
            )
    return "".join([*parts, "</svg>"])


def histogram(values: np.ndarray, name: str) -> str:
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    top = max(1, counts.max())
    parts = [f'<svg viewBox="0 0 520 160" role="img" aria-label="{esc(name)}">']
    for i, count in enumerate(counts):
        h = 120 * count / top
        parts.append(
            f"<rect class=rect x={20 + i * 24} y={130 - h:.1f} width=20 height={h:.1f}><title>{i / 20:.2f}:"
            f" {count}</title></rect>"
        )
    return "".join(
        [
            *parts,
            f"<text x=20 y=150>0</text><text x=495 y=150>1</text><text x=240 y=150>{esc(name)}</text></svg>",
        ]
    )


def metric_table(metrics: dict[str, dict]) -> str:
    rows = "".join(
        f"<tr><td>{esc(name)}<td>{number(m['value'])}<td>{'--' if m['low'] is None else '[' + number(m['low']) + ', ' + number(m['high']) + ']'}<td>{m['n']}"
        for name, m in metrics.items()
    )
    return f"<div class=wide><table><tr><th>metric<th>value<th>95 % interval<th>n</tr>{rows}</table></div>"


def difference_table(differences: list[Difference]) -> str:
    rows = []
    for d in differences:
        interval = (
            "--" if d.change.low is None else f"[{number(d.change.low, True)}, {number(d.change.high, True)}]"
        )
        rows.append(
            f"<tr><td>{esc(d.metric)}<td>{number(d.before)}<td>{number(d.after)}<td"
            f" class={d.verdict}>{number(d.change.value, True)}<td>{interval}<td>{d.change.n}<td"
            f" class={d.verdict}>{d.verdict}"
        )
    head = "<tr><th>metric<th>before<th>after<th>change<th>95 % interval<th>n<th>verdict</tr>"
    return f"<div class=wide><table>{head}{''.join(rows)}</table></div>"


def jpeg(image: np.ndarray) -> bytes:
    """An RGB image (H, W, 3) uint8 as a JPEG file."""
    return cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 82])[
        1
    ].tobytes()


def embed_picture(image: np.ndarray) -> str:
    """An RGB image (H, W, 3) uint8 as the address of an embedded JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode()


def reference(item: Item) -> str:
    """What is right, in words."""
    question = item.question
    if item.task == RATIONALE:
        return question.rationale or ""
    return question.answer + (
        "" if question.span is None else f" {question.span if question.span == NONE else list(question.span)}"
    )


def kind_of(sample: Sample) -> str:
    """The class by which answers are grouped."""
    return str(sample.category or sample.label)


def class_means(lines: list[dict], samples: list[Sample]) -> dict[str, dict[str, tuple[float, int]]]:
    """{task: {class: (mean of the task's primary metric, answers)}}."""
    kinds = {s.id: kind_of(s) for s in samples}
    values: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        if (value := line["scores"].get(TASKS[line["task"]].PRIMARY)) is not None:
            values.setdefault(line["task"], {}).setdefault(kinds[line["sample"]], []).append(value)
    return {
        task: {kind: (float(np.mean(v)), len(v)) for kind, v in sorted(of.items())}
        for task, of in values.items()
    }


def picture(sample: Sample, line: dict, store: ClipStore, heat: np.ndarray | None) -> np.ndarray:
    """Four frames with true (green) and predicted (red) boxes over the heatmap (T', h, w): an RGB image (H,
    W, 3) uint8."""
    frames = store.frames(sample)
    count, height, width = frames.images.shape[:3]
    chosen = np.unique(np.linspace(0, count - 1, 4).round().astype(int))
    images = list(frames.images[chosen])
    if heat is not None:
        images = [
            glow(image, heat[step * len(heat) // count]) for image, step in zip(images, chosen, strict=True)
        ]
    scale = max(1, 168 // width)
    tiles = []
    for index, image in zip(chosen, images, strict=True):
        tile = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        frame = int(frames.indices[index])
        tile = outline(
            tile,
            [t.boxes[frame] for t in sample.tracks or () if frame in t.anomalous and frame in t.boxes],
            GREEN,
            scale,
        )
        for x1, y1, x2, y2 in line["parsed"]["boxes"] or ():
            corners = [
                int(v / 1000 * s * scale) for v, s in ((x1, width), (y1, height), (x2, width), (y2, height))
            ]
            cv2.rectangle(tile, tuple(corners[:2]), tuple(corners[2:]), RED, 1)
        tiles.append(tile)
    half = -(-len(tiles) // 2)
    tiles += [np.zeros_like(tiles[0])] * (2 * half - len(tiles))
    return np.concatenate([np.concatenate(tiles[:half], 1), np.concatenate(tiles[half:], 1)], 0)


SCRIPT = """<script>(()=>{const q=s=>document.getElementById(s),cards=[...document.querySelectorAll('[data-text]')];
function show(){const words=q('find').value.toLowerCase(),task=q('task').value,kind=q('kind').value;let n=0;
for(const c of cards){c.hidden=!(c.dataset.text.includes(words)&&(!task||c.dataset.task===task)&&(!kind||c.dataset.kind===kind));n+=!c.hidden}
q('count').textContent=n+' of '+cards.length+' shown'}
for(const s of ['find','task','kind'])q(s).addEventListener('input',show);show()})()</script>"""


def _choices(name: str, label: str, values: list[str]) -> str:
    options = "".join(f"<option value='{esc(v)}'>{esc(v)}</option>" for v in values)
    return f"<label>{label} <select id={name}><option value=''>all</option>{options}</select></label>"


def sample_cards(run: Path, suite: Suite, items: list[Item], lines: list[dict], per_task: int = 6) -> str:
    """The worst and the best answers of every task, to be filtered and searched."""
    by_id = {item.id: item for item in items}
    store = ClipStore(suite.rate, suite.max_frames)
    maps = dict(np.load(run / "heatmaps.npz")) if (run / "heatmaps.npz").exists() else {}
    cards, kinds = [], set()
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    for task in tasks:
        primary = TASKS[task].PRIMARY
        rows = [
            line
            for line in lines
            if line["task"] == task and line["attempt"] == 0 and primary in line["scores"]
        ]
        rows.sort(key=lambda line: (line["scores"][primary], line["id"]))
        chosen = (
            rows if len(rows) <= per_task else rows[: per_task // 2] + rows[-(per_task - per_task // 2) :]
        )
        for line in chosen:
            item = by_id[line["id"]]
            question, kind = item.question, kind_of(item.sample)
            kinds.add(kind)
            shown = embed_picture(picture(item.sample, line, store, maps.get(item.sample.id)))
            options = " · ".join(
                f"{a}. {b}" for a, b in zip("ABCDEFGH", question.options or (), strict=False)
            )
            tags = "".join(
                f"<span class=tag>{esc(t)}</span>"
                for t in (task, kind, f"{primary} {line['scores'][primary]:.2f}")
            )
            cards.append(
                f"<article class=card data-task='{esc(task)}' data-kind='{esc(kind)}'"
                f" data-text='{esc((item.sample.id + ' ' + line['response']).lower())}'>"
                f"<img loading=lazy alt='frames of {esc(item.sample.id)} with boxes' src='{shown}'>{tags}"
                f"<dl><dt>question</dt><dd>{esc(question.text)}"
                f" {esc(options)}</dd><dt>response</dt><dd>{esc(line['response'])}</dd>"
                f"<dt>reference</dt><dd>{esc(reference(item))}</dd></dl></article>"
            )
    fields = (
        "<div"
        f" class=filter>{_choices('task', 'task', tasks)}{_choices('kind', 'class', sorted(kinds))}<label>words"
        " <input id=find type=search placeholder='of the response, or a video'></label><span id=count"
        " class=note role=status></span></div>"
    )
    return f"{fields}<div class=cards>{''.join(cards)}</div>{SCRIPT}"


def headline(metrics: dict[str, dict]) -> str:
    """The primary metric of every task with its interval as a bar."""
    width, row = 520, 34
    rows = [
        (name, metrics[name]) for name in PRIMARIES if name in metrics and metrics[name]["value"] is not None
    ]
    parts = [
        f'<svg viewBox="0 0 {width} {row * len(rows) + 18}" role="img" aria-label="primary metrics with 95 %'
        ' intervals">'
    ]
    for n, (name, m) in enumerate(rows):
        y, left, scale = n * row + 6, 190, 260
        parts.append(
            f'<text x=0 y={y + 14}>{esc(name)}</text><rect class="rect old" x={left} y={y + 4} width={scale}'
            " height=12 opacity=.15 />"
        )
        parts.append(f"<rect class=rect x={left} y={y + 4} width={scale * m['value']:.1f} height=12 />")
        if m["low"] is not None:
            a, b = left + scale * m["low"], left + scale * m["high"]
            for x1, x2, top, bottom in ((a, b, y + 10, y + 10), (a, a, y + 5, y + 15), (b, b, y + 5, y + 15)):
                parts.append(f"<line class=whisker x1={x1:.1f} x2={x2:.1f} y1={top} y2={bottom} />")
        parts.append(f"<text x={left + scale + 8} y={y + 14}>{m['value']:.3f}</text>")
    return "".join([*parts, "</svg>"])


def parsing(lines: list[dict]) -> str:
    """How reliably answers could be read: share of answers with each defect, by task."""
    rows = []
    for task in dict.fromkeys(line["task"] for line in lines):
        of_task = [line for line in lines if line["task"] == task]
        counts = Counter(defect for line in of_task for defect in line["defects"])
        if task == DIALOGUE_TURN:
            continue
        clean = sum(not line["defects"] for line in of_task) / len(of_task)
        defects = (
            ", ".join(f"{esc(name)} {count / len(of_task):.1%}" for name, count in counts.most_common(6))
            or "none"
        )
        rows.append(f"<tr><td>{esc(task)}<td>{len(of_task)}<td>{clean:.1%}<td class=left>{defects}")
    return (
        "<div class=wide><table><tr><th>task<th>answers<th>well formed<th"
        f" class=left>defects</tr>{''.join(rows)}</table></div>"
    )


def by_class(lines: list[dict], samples: list[Sample]) -> str:
    """The primary metric of every task by class."""
    cards = []
    for task, values in class_means(lines, samples).items():
        if len(values) > 1:
            shown = {f"{kind} ({count})": (None, mean) for kind, (mean, count) in list(values.items())[:24]}
            cards.append(
                f"<div class=card>{bars(shown)}<p class=note>{esc(task)}, {esc(TASKS[task].PRIMARY)} by class"
                " (answers)</p></div>"
            )
    return f"<div class=cards>{''.join(cards)}</div>" if cards else ""


def confusions(lines: list[dict]) -> str:
    """Truth by prediction, for tasks with classes."""
    cards = []
    for task in dict.fromkeys(line["task"] for line in lines if "labels" in line):
        pairs = [line["labels"] for line in lines if line["task"] == task]
        classes = sorted({truth for truth, _ in pairs})
        counts = Counter((truth, predicted if predicted in classes else None) for truth, predicted in pairs)
        totals = Counter(truth for truth, _ in pairs)
        head = "".join(f"<th>{esc(c)}" for c in [*classes, "other"])
        rows = []
        for truth in classes:
            cells = "".join(
                "<td style='background:color-mix(in srgb,var(--bar)"
                f" {70 * counts[truth, c] / totals[truth]:.0f}%,transparent)'>{counts[truth, c] or ''}"
                for c in [*classes, None]
            )
            rows.append(f"<tr><td>{esc(truth)}{cells}")
        cards.append(
            f"<div class=wide><table><tr><th>{esc(task)}: truth by"
            f" answer{head}</tr>{''.join(rows)}</table></div>"
        )
    return "".join(cards)


def curves(run: Path) -> str:
    """Frame ROC, and the curves below which RBDC and TBDC are areas."""
    file = run / heatmap.VIDEOS
    if not file.exists():
        return ""
    videos = list(heatmap.load_videos(file).values())
    x, y = frame.roc_curve(
        np.concatenate([v.labels for v in videos]), np.concatenate([v.scores for v in videos])
    )
    cards = []
    if len(x):
        plot = line_plot({"micro ROC": (x.tolist(), y.tolist())}, "false positive rate", "true positive rate")
        cards.append(f"<div class=card>{plot}<p class=note>frames of all videos in one ROC</p></div>")
    points = heatmap.detection_curves(videos)
    for name, what in (("rbdr", "regions found"), ("tbdr", "tracks found")):
        keep = points["fpr"] <= 1
        if keep.sum() > 1:
            chosen = np.unique(np.linspace(0, keep.sum() - 1, 200).round().astype(int))
            plot = line_plot(
                {name: (points["fpr"][keep][chosen].tolist(), points[name][keep][chosen].tolist())},
                "false positives per frame",
                what,
            )
            cards.append(
                f"<div class=card>{plot}<p class=note>{'RBDC' if name == 'rbdr' else 'TBDC'} is the area"
                " below</p></div>"
            )
    return f"<div class=cards>{''.join(cards)}</div>" if cards else ""


def without_looking(found: dict[str, dict]) -> str:
    """What blind baselines score on the run's questions (`bench.blind`)."""
    rows = []
    for task, row in found.items():
        values = ", ".join(f"{esc(name)} {value:.3f}" for name, value in row["baselines"].items())
        rows.append(f"<tr><td>{esc(task)}<td>{row['chance']:.3f}<td class=left>{values}")
    if not rows:
        return ""
    flags = "".join(f"<p class=worse>{esc(line)}</p>" for line in warnings(found))
    return (
        f"{flags}<div class=wide><table><tr><th>task<th>chance<th class=left>accuracy of blind"
        f" baselines</tr>{''.join(rows)}</table></div>"
    )


def run_sections(run: Path, against: Path | None = None) -> list[tuple[str, str]]:
    """(title, HTML) of a run; with `against`, compared with that earlier run."""
    record, lines, metrics = open_run(run)
    sections = []
    old = open_run(against)[2] if against else {}
    if against:
        sections.append(("Before and after, paired", difference_table(compare(against, run))))
        shown = {
            name: (old.get(name, {}).get("value"), metrics[name]["value"])
            for name in PRIMARIES
            if name in metrics
        }
        sections.append(("Before (pale) and after", f"<div class=card>{bars(shown)}</div>"))
    else:
        sections.append(("At a glance", f"<div class=card>{headline(metrics)}</div>"))
    sections.append(("Metrics", metric_table(metrics)))
    sections.append(("What can be answered without looking", without_looking(record.get("blind", {}))))
    sections.append(("How reliably answers could be read", parsing(lines)))
    plots = []
    for task in ("temporal", "spatial"):
        ious = np.array(
            [line["scores"]["miou"] for line in lines if line["task"] == task and "miou" in line["scores"]]
        )
        if len(ious):
            plots.append(histogram(ious, f"IoU, {task} grounding"))
    if plots:
        sections.append(
            (
                "Grounding",
                "<div class=cards>" + "".join(f"<div class=card>{p}</div>" for p in plots) + "</div>",
            )
        )
    suite = config.build(Suite, record["suite"], str(run / "run.json"))
    samples, items = load(suite)
    sections.append(("By class", by_class(lines, samples)))
    sections.append(("Confusion", confusions(lines)))
    sections.append(("Heatmaps", curves(run)))
    sections.append(
        ("Samples: green true, red predicted, glow the heatmap", sample_cards(run, suite, items, lines))
    )
    return [section for section in sections if section[1]]


def page(title: str, subtitle: str, sections: list[tuple[str, str]]) -> str:
    body = "".join(f"<section><h2>{esc(name)}</h2>{content}</section>" for name, content in sections)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport"
        f" content='width=device-width,initial-scale=1'><title>{esc(title)}</title><style>{STYLE}</style></head><body><main><h1>{esc(title)}</h1><p"
        f" class=note>{esc(subtitle)}</p>{body}</main></body></html>"
    )


def write_report(run: str | Path, against: str | Path | None = None) -> Path:
    """Write RUN/report.html. Raises InputError for an unfinished run."""
    run = Path(run)
    record, _, _ = open_run(run)
    subtitle = (
        f"{record['model']} on {record['suite']['name']} ({record['videos']} videos, suite"
        f" {record['suite_hash']})"
    )
    return write_whole(
        run / "report.html",
        page("Benchmark report", subtitle, run_sections(run, Path(against) if against else None)),
    )
