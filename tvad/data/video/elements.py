"""Whether a file has all the bytes that it announces: elements of Matroska, mp4 and AVI say how long they
are, headers of Flash and ASF how long the file is. So one that was cut off is known from one whose last
picture stays."""

import struct
from typing import BinaryIO

MOST_ELEMENTS = 1_000_000  # of a file: beyond, nothing is said
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675  # Matroska's identifiers (RFC 9559)
HEAD = 1 << 16  # bytes in which the two other headers are looked for
FLV_SIZE = b"\0\x08filesize\0"  # a name in `onMetaData`, before a number (Adobe's AMF 0)
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # ASF's specification, 3.2


def is_cut(file: BinaryIO, form: str) -> bool | None:
    """Whether the file ends within an element, or before its size; None where its format, by FFmpeg's names,
    or its header does not say."""
    size = file.seek(0, 2)
    names = form.split(",")
    if "matroska" in names:
        return _matroska(file, size)
    if "mov" in names:
        return _mp4(file, size)
    if "avi" in names:
        return _avi(file, size)
    head = _at(file, 0, HEAD)
    if "flv" in names and (place := head.find(FLV_SIZE)) >= 0:
        return _below(size, ">d", head[place + len(FLV_SIZE) :][:8])
    if "asf" in names and (place := head.find(ASF_PROPERTIES)) >= 0:
        return _below(size, "<Q", head[place + 40 :][:8])  # after the object's name and size, the file's name
    return None


def _below(size: int, form: str, stated: bytes) -> bool | None:
    """A size of 0 was written where nothing can be put right afterwards."""
    wanted = struct.unpack(form, stated)[0] if len(stated) == 8 else 0
    return size < wanted if wanted else None


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count) or b""


def _matroska(file: BinaryIO, size: int) -> bool | None:
    place, end = 0, size
    for _ in range(MOST_ELEMENTS):
        if place == end:
            return False
        head = _at(file, place, 12)
        # The first byte's zeros in front count the bytes that follow, of the identifier and of the length.
        wide = 9 - head[0].bit_length() if head else 0
        if not 1 <= wide <= 4 or len(head) <= wide or not head[wide]:
            return True
        name = int.from_bytes(head[:wide], "big")
        long = 9 - head[wide].bit_length()
        if len(head) < wide + long:
            return True
        length = int.from_bytes(head[wide : wide + long], "big") & ((1 << 7 * long) - 1)
        unknown = length == (1 << 7 * long) - 1
        place += wide + long
        if name == SEGMENT and not unknown:
            if place + length > size:
                return True
            end = place + length  # what follows is another file's
        elif not unknown:
            place += length
        elif name not in (SEGMENT, CLUSTER):
            return None
        if place > end:
            return True
    return None


def _mp4(file: BinaryIO, size: int) -> bool | None:
    place, fragments = 0, False
    for _ in range(MOST_ELEMENTS):
        head = _at(file, place, 16)
        if not head.strip(b"\0"):  # at its end, or filled up: a length may begin with zeros, too
            return fragments and 0 < len(head) < 4
        if len(head) < 8:
            return True
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            return False  # to the end of the file
        if length < 8:
            return None
        fragments |= head[4:8] == b"moof"
        place += length
        if place > size:
            return True
    return None


def _avi(file: BinaryIO, size: int) -> bool | None:
    place = 0
    for _ in range(MOST_ELEMENTS):
        head = _at(file, place, 8)
        if head[:4] != b"RIFF":
            return None if place == 0 else False
        length = int.from_bytes(head[4:], "little")
        if length in (0, 0xFFFFFFFF):
            return None  # written where nothing can be put right afterwards
        place += 8 + length + length % 2
        if place > size + length % 2:
            return True
    return None
