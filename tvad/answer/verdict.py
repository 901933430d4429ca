"""Yes or no: does an answer say that there is an anomaly?"""

_YES = {"yes", "anomaly", "anomalous", "abnormal", "true"}
_NO = {"no", "normal", "false", "none"}


def judged(text: str | None) -> bool | None:
    """True for an anomaly, False for none, None where undecidable: the first word decides."""
    words = (text or "").lower().replace(",", " ").replace(".", " ").split()
    if not words:
        return None
    return True if words[0] in _YES else False if words[0] in _NO else None
