"""Videos: when their frames are shown (`clock`), their pictures the right way up (`file`, `upright`), folders
of pictures (`pictures`), sampling (`reading`), writing. Nothing else decides what time a frame has."""

from tvad.common.errors import InputError
from tvad.data.video.budget import Budget
from tvad.data.video.clock import Clock, sample_indices
from tvad.data.video.file import SUFFIXES
from tvad.data.video.pictures import Pictures, as_text, name_of, pictures_in
from tvad.data.video.reading import Frames, Reader, Source, decode, inspect, windows
from tvad.data.video.writing import Writer, write

# What `tvad infer`, `demo` and `serve` show a model where nothing else is asked for; what a benchmark or a
# training run shows it stands in its configuration.
RATE = 2.0  # frames a second
MAX_FRAMES = 8  # of a clip (`tvad/use/commands.py`): a window of `infer` and `demo`, a whole video of `serve`


def check_sampling(rate: float, max_frames: int) -> None:
    """Raises InputError for a rate (frames a second) or a number of frames that no clip can have."""
    if not 0 < rate < float("inf") or max_frames < 2:
        raise InputError(
            f"--rate must be positive and --max-frames at least 2, found {rate:g} and {max_frames}"
        )


__all__ = [
    "MAX_FRAMES",
    "RATE",
    "SUFFIXES",
    "Budget",
    "Clock",
    "Frames",
    "Pictures",
    "Reader",
    "Source",
    "Writer",
    "as_text",
    "check_sampling",
    "decode",
    "inspect",
    "name_of",
    "pictures_in",
    "sample_indices",
    "windows",
    "write",
]
