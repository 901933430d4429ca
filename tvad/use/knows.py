"""What the shipped checkpoints know, in one sentence, for whoever points them at a real video."""

from pathlib import Path

from tvad.common.shipped import MADE_BY, checkpoint, folder
from tvad.data.scenes.script import classes_of

SETTING = {"tvad-tiny": "core", "tvad-tiny-closed": "closed"}  # of the generated scenes that it has seen


def knows(model: str) -> str:
    """Of a shipped checkpoint, by name or folder; "" of every other."""
    here = Path(checkpoint(model)).resolve()
    name = next((name for name in MADE_BY if here == (folder("assets") / name).resolve()), None)
    if name is None:
        return ""
    classes = classes_of(SETTING[name], "test")
    return (
        f"{name} has seen generated scenes only and knows nothing of real video; its {len(classes)} classes"
        f" of anomaly: {', '.join(classes)}."
    )
