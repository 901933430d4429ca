"""What a data set is, by a hash: two that say the same of every video have the same one, wherever they lie.
Videos are not read: one that was corrupt may be mended, and a run goes on."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tvad.common.errors import InputError
from tvad.data import masks
from tvad.data.sample import Sample, to_json

MASKS = "+masks:"  # between the two parts of `data_hash`


def spelt(sample: Sample) -> bytes:
    """All that a sample's row says."""
    return json.dumps(to_json(sample), sort_keys=True, allow_nan=False).encode()


def told(sample: Sample) -> bytes:
    """What a row says, in whichever split and under whichever names its files lie."""
    return spelt(replace(sample, split="", video=replace(sample.video, path="", pictures=None), mask=None))


def masks_hash(samples: Iterable[Sample]) -> str:
    """Of the pixels in the samples' masks, "" where none has one. A mask that cannot be read is another than
    any that can: who needs it refuses it by name."""
    found = None
    for sample in samples:
        if sample.mask is not None:
            found = found or hashlib.sha256()
            try:
                found.update(masks.fingerprint(sample.path(sample.mask)))
            except InputError:
                found.update(b"unreadable")
    return found.hexdigest()[:16] if found else ""


def data_hash(samples: Sequence[Sample]) -> str:
    """Of all that a data set says: 16 digits of its rows, and where it has masks `MASKS` and 16 of these."""
    found = hashlib.sha256()
    for sample in samples:
        found.update(spelt(sample))
    lit = masks_hash(samples)
    return found.hexdigest()[:16] + (f"{MASKS}{lit}" if lit else "")
