"""How long a file was meant to be, by its header: only formats that are written so that they say it."""

import re

import av

# AVI counts frames; where it did not know how many there would be, a recorder leaves what is no number.
PLACEHOLDER = 1 << 24
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def stated_end(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[float | None, bool]:
    """(seconds, on the scale of the stream's time stamps, at which the video was meant to end, or None;
    whether that is the end of all streams together). Of other formats (MPEG, Ogg, GIF, …) FFmpeg gives a
    length that it has guessed from what is there."""
    form = container.format.name.split(",")
    base = float(stream.time_base or 0)
    whole = container.duration / av.time_base if container.duration else None
    if "mov" in form:
        if not stream.duration:
            return None, False
        return float(((stream.start_time or 0) + stream.duration) * base), False
    if "avi" in form:
        known = 0 < stream.frames < PLACEHOLDER
        return ((stream.frames + (stream.start_time or 0)) * base if known else None), False
    if "matroska" in form:
        # mkvmerge and FFmpeg write each stream's own; a stale one, of a file that was longer, is not
        # believed.
        own = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), "")
        if (match := _CLOCK.match(own)) and whole is not None:
            seconds = 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])
            if seconds <= whole + 1:
                return seconds, False
        return whole, True
    if "flv" in form or "asf" in form:
        return whole, True
    return None, False
