"""Figures as their authors published them. They stand on a page of their own, or below a table, never in
it."""

from pathlib import Path

import yaml

PUBLISHED = [
    {"note": None, **part}
    for part in yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
]
