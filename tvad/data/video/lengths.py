"""How long a file was meant to be, by its header: only formats that are written so that they say it."""

import re

import av

# AVI counts frames; where it did not know how many there would be, a recorder leaves what is no number.
PLACEHOLDER = 1 << 24
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def stated_ends(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[float | None, float | None]:
    """Seconds, on the scale of the stream's time stamps, at which the video was meant to end, and at which
    the last of all streams was; None where the file does not say. Of other formats (MPEG, Ogg, GIF, …) FFmpeg
    gives a length that it has guessed from what is there."""
    form = container.format.name.split(",")
    base = float(stream.time_base or 0)
    start = stream.start_time or 0
    whole = container.duration / av.time_base if container.duration else None
    if "mov" in form:
        return ((start + stream.duration) * base if stream.duration else None), None
    if "avi" in form:
        return ((start + stream.frames) * base if 0 < stream.frames < PLACEHOLDER else None), None
    if "matroska" in form:
        # mkvmerge and FFmpeg write each stream's own beside the file's.
        own = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), "")
        match = _CLOCK.match(own)
        return (3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]) if match else None), whole
    if "flv" in form or "asf" in form:
        return None, whole
    return None, None
