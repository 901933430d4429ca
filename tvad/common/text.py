"""Text that may leave this process: JSON can hold half of a surrogate pair ("\\ud83d", an emoji cut in two),
which UTF-8, tokenizers and HTTP cannot."""

import re

_HALF = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD; any other text as it is."""
    return _HALF.sub("\ufffd", text)
