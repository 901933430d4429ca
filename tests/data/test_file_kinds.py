"""Every kind of video file (`video_kinds.py` makes them): the right frames at the right times, the right way
up, or one line that names the file in words."""

import io
import re

import numpy as np
import pytest
from video_kinds import KINDS, Kind, number_of

from tvad.common.errors import InputError
from tvad.data import video

ODD = re.compile(r"Errno|\d{6,}|error log|avcodec|Traceback")


@pytest.mark.parametrize("kind", [k for k in KINDS if k.times is not None], ids=lambda k: k.name)
def test_a_file_is_shown_as_it_is(tmp_path, kind: Kind):
    path = tmp_path / kind.name
    kind.make(path)
    whole = video.decode(path)
    assert whole.times == pytest.approx(kind.times, abs=0.0011) and whole.total == len(kind.times)
    assert whole.images.shape[1:] == (*kind.size[::-1], 3)
    assert whole.times[0] == 0 and whole.duration > whole.times[-1]
    assert [kind.note in note for note in whole.clock.notes] == [True] * bool(kind.note), whole.clock.notes
    # Sampled, in memory, in windows, inspected: the same clock.
    again = video.decode(io.BytesIO(path.read_bytes()), 5.0, 8)
    assert np.array_equal(again.times, whole.times[again.indices]) and len(again.times) <= 8
    assert np.array_equal(again.images, whole.images[again.indices])
    windows = list(video.windows(path, 5.0, 4, 4))
    assert np.array_equal(windows[-1].clock.times, whole.times) and windows[0].indices[0] == 0
    clock, *size = video.inspect(path)
    assert np.array_equal(clock.times, whole.times) and tuple(size) == kind.size[::-1]
    if min(kind.size) >= 48:
        back = whole.images if kind.turn is None else [_as_stored(i, kind) for i in whole.images]
        numbers = kind.numbers or list(range(len(whole.images)))
        assert [number_of(image) for image in back] == numbers


def _as_stored(image: np.ndarray, kind: Kind) -> np.ndarray:
    """The stored picture of which `kind.turn` makes the shown one."""
    places = kind.turn(np.arange(64 * 48).reshape(48, 64))
    stored = np.empty((48 * 64, 3), np.uint8)
    stored[places.ravel()] = image.reshape(-1, 3)
    return stored.reshape(48, 64, 3)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.words], ids=lambda k: k.name)
def test_what_is_no_whole_video_is_one_line_in_words(tmp_path, kind: Kind):
    path = tmp_path / kind.name
    kind.make(path)
    for read in (video.decode, video.inspect):
        with pytest.raises(InputError) as refused:
            read(path)
        line = str(refused.value)
        assert kind.words in line and line.startswith(str(path)) and "\n" not in line
        assert not ODD.search(line.removeprefix(str(path))), line
