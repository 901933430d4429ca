"""T-VAU's re-partition: videos cut into clips of 8 to 40 frames at 1 frame a second, then parted anew 80 :
20.

The paper gives the counts (4,108 and 1,028 clips) and not the list. The authors' public script parts windows
of one video at random, so that a test window's neighbour is in training; here whole videos are parted, by
seed, even over normal and anomalous ones (ours).
"""

import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError, at_least
from tvad.data import masks, shards, truth, video
from tvad.data.build import grounding_questions, in_picture, spans_of
from tvad.data.check import Problem, opened
from tvad.data.dialogue import turns
from tvad.data.folder import load
from tvad.data.parting import build_parts
from tvad.data.recipe import set_of
from tvad.data.sample import Sample, Track, Video, file_stem

RATE = 1.0  # frames a second
SLOWEST = 1.01  # steps from one frame to the next: at RATE what is slower would be shown too fast
LEAST, MOST = 8, 40  # frames of a clip
TRAIN_SHARE = 4108 / (4108 + 1028)
_WINDOW = re.compile(r"(.+?)-\d+_\d+")  # 01_0014-168_191: frames of a video, as T-VAU's authors name them


def windows(count: int) -> list[tuple[int, int]]:
    """Parts (start, end) of `count` sampled frames: as few as possible of at most MOST frames, of nearly
    equal length; none where there are fewer than LEAST."""
    if count < LEAST:
        return []
    edges = np.linspace(0, count, -(-count // MOST) + 1).round().astype(int).tolist()
    return list(itertools.pairwise(edges))


def anomalous_frames(sample: Sample, clock: video.Clock, mask: np.ndarray | masks.Mask | None) -> set[int]:
    """Frames of the video that its tracks or its mask (T, H, W) call anomalous. Raises InputError where
    neither they, nor spans, nor the label say anything: its clips would be called normal."""
    labels = truth.frame_labels(sample, clock.times, mask)
    if labels is None and not truth.regions_known(sample):
        raise InputError(f"{sample.id}: {truth.NO_FRAMES}; whether its clips are is not known")
    found = {f for track in sample.tracks or () for f in track.anomalous}
    return found if mask is None or labels is None else found | set(np.flatnonzero(labels).tolist())


def clips_of(sample: Sample, out: Path) -> list[Sample]:
    """Clips of one video, written below `out`. Raises InputError for a video that is too short or too slow,
    and for a sample that its files contradict."""
    clock, *size, mask_file = opened(sample)
    if (step := clock.step(RATE)) > SLOWEST / RATE:
        raise InputError(
            f"{sample.video.path}: its frames are {step:.3g} s apart, clips have {RATE:g} a second"
        )
    indices, moments = clock.taken(RATE)
    parts = windows(len(indices))
    if not parts:
        raise InputError(
            f"{sample.video.path}: {len(indices)} frames at {RATE:g} a second, a clip needs {LEAST}"
        )
    lit = None if mask_file is None else mask_file.frames(0, len(clock))
    height, width = (side - side % 2 for side in size)
    wrong = anomalous_frames(sample, clock, lit)
    made = []
    with video.Reader(sample.clip()) as reader:
        shown = (image for *_, image in reader.sampled(RATE))
        for n, (start, end) in enumerate(parts):
            name = f"{file_stem(sample.id)}_{n:02d}"
            # A frame that stays for several seconds is several frames of the clip.
            taken: dict[int, list[int]] = {}
            for place, frame in enumerate(indices[start:end].tolist()):
                taken.setdefault(frame, []).append(place)
            known = sample.tracks
            if known is not None:
                known = tuple(in_picture(_tracks(known, taken), width, height))
            lit_places = {place for frame, places in taken.items() if frame in wrong for place in places}
            lit_places |= set(np.flatnonzero(truth.inside(moments[start:end], sample.spans or ())).tolist())
            video.write(out / f"videos/{name}.mp4", itertools.islice(shown, end - start), RATE)
            mask = None
            if lit is not None:
                mask = f"masks/{name}.npz"
                masks.write(out / mask, lit[indices[start:end], :height, :width])
            spans = spans_of(lit_places, RATE)
            source, offset = place_of(sample, float(moments[start]))
            clip = replace(
                sample,
                id=name,
                video=Video(
                    f"videos/{name}.mp4",
                    RATE,
                    end - start,
                    width,
                    height,
                    source=source,
                    offset=offset,
                ),
                label="anomalous" if spans else "normal",
                # What the video's anomaly is, a clip that shows none of it is not about.
                categories=sample.categories if spans else (),
                key_object=sample.key_object if spans else None,
                spans=spans,
                span_categories=None,
                tracks=known,
                mask=mask,
                questions=grounding_questions(spans, known or (), RATE, width, height),
                rationale=None,
                description=None,
                dialogue=None,  # of the whole video; the clip's is what its tracks and spans say
                root="",
            )
            made.append(replace(clip, dialogue=turns(clip, "protocol")))
    return made


def place_of(sample: Sample, begins: float) -> tuple[str, float | None]:
    """(video, seconds from its beginning on) of what begins so many seconds after a sample does; None where
    the sample states its video and not where in it."""
    shown = sample.video
    if shown.source is None:
        return sample.id, round(begins, 6)
    return shown.source, None if shown.offset is None else round(shown.offset + begins, 6)


def _tracks(tracks: tuple[Track, ...], taken: dict[int, list[int]]) -> Iterator[Track]:
    """Tracks by the frames of a clip; taken: frame of the video -> those of the clip that show it."""
    for track in tracks:
        boxes = {place: box for frame, box in track.boxes.items() for place in taken.get(frame, ())}
        if boxes:
            anomalous = tuple(place for frame in track.anomalous for place in taken.get(frame, ()))
            yield Track(track.id, track.kind, boxes, anomalous, track.look)


def videos_of(samples: Iterable[Sample], pattern: str | None = None) -> dict[str, str]:
    """Sample id -> the source video that it is of, which must not be parted: what `pattern` matches of the
    id; else samples are of one video that state the same source, that are the video another one states, and
    that show the same file. It is named by the first source that is stated of it, else by its first id, in
    alphabetical order. Raises InputError where ids look like windows of longer videos and nothing says which,
    and for an id that a pattern does not match."""
    if pattern is not None:
        try:
            rule = re.compile(pattern)
        except re.error as error:
            raise InputError(f"--video: {pattern!r} is no regular expression ({error})") from None
        found = {}
        for sample in samples:
            match = rule.search(sample.id)
            if match is None or not (name := match.group(1 if rule.groups else 0)):
                raise InputError(f"--video: {pattern!r} matches nothing of the id {sample.id!r}")
            found[sample.id] = name
        return found
    one: dict[str, str] = {}  # a name or file -> another of the same video, in the end the first of them

    def first(name: str) -> str:
        while (other := one.setdefault(name, name)) != name:
            one[name] = name = one[other]
        return name

    stated: dict[str, str | None] = {}
    for sample in samples:
        stated[sample.id] = sample.video.source
        name = first(f"video {sample.video.source or sample.id}")
        if (file := _file_of(sample)) is not None:
            one[name] = first(f"file {file}")
    videos = {name: first(f"video {source or name}") for name, source in stated.items()}
    _refuse_guesses(stated)
    called: dict[str, tuple[bool, str]] = {}
    for name, source in stated.items():
        called[videos[name]] = min(called.get(videos[name], (True, name)), (source is None, source or name))
    return {name: called[video][1] for name, video in videos.items()}


def _refuse_guesses(stated: dict[str, str | None]) -> None:
    """Raise InputError where an id looks like a window of the video that another sample is, or is of, and
    states none. stated: id -> source."""
    whole = {source or name: name for name, source in stated.items()}
    cut: dict[str, str] = {}
    for name, source in stated.items():
        if source is None and (match := _WINDOW.fullmatch(name)):
            other = cut.setdefault(match.group(1), whole.get(match.group(1), name))
            if other != name:
                raise InputError(
                    f"{other!r} and {name!r} look like windows of one video, which must lie in one part;"
                    " say by --video which part of an id names the video (a regular expression; '.+' where"
                    " each is a video of its own)"
                )


def _file_of(sample: Sample) -> str | None:
    """Names the file (or the first of the pictures) that a sample shows, by whatever path; links to one file
    are one, as data sets hold them. None where it is not there."""
    try:
        for path in sample.files()[:1]:
            found = path.stat()
            return f"{found.st_dev}:{found.st_ino}"
    except OSError:
        pass
    return None


def parted(clips: Sequence[Sample], video_of: dict[str, str], seed: int) -> dict[str, Sequence[Sample]]:
    """{"train", "test"}: clips parted so that all clips of a video lie in one part, videos with and without
    anomalous clips apart, each by seed, as near to TRAIN_SHARE of the clips as whole videos allow. video_of:
    clip id -> its video. A video that is alone among its like stays in train."""
    videos: dict[str, list[int]] = {}
    anomalous: set[str] = set()
    for place, clip in enumerate(clips):
        videos.setdefault(video_of[clip.id], []).append(place)
        if clip.anomalous:
            anomalous.add(video_of[clip.id])
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for wanted in (False, True):
        some = [name for name in videos if (name in anomalous) is wanted]
        left = (1 - TRAIN_SHARE) * sum(len(videos[name]) for name in some)
        for place in rng.permutation(len(some)).tolist():
            count = len(videos[name := some[place]])
            if len(some) > 1 and abs(left - count) < abs(left):
                chosen.add(name)
                left -= count
    test = sorted(place for name in chosen for place in videos[name])
    train = sorted(place for name, own in videos.items() if name not in chosen for place in own)
    if not test:
        print(
            f"reclip: all {len(clips)} clips are in train: of {len(videos)} videos none can go to test whole"
            f" and leave {1 - TRAIN_SHARE:.0%} there",
            file=sys.stderr,
        )
    return {"train": shards.chosen(clips, train), "test": shards.chosen(clips, test)}


def reclip(
    sources: list[str], out: str | os.PathLike, seed: int = 0, video: str | None = None
) -> tuple[dict[str, int], list[Problem]]:
    """Cut the data sets `sources` into clips below `out`/{train,test}, a video's clips in one of them;
    returns how many each has, and the videos left out. video: see `videos_of`. A killed run continues, also
    between cutting and parting. Raises InputError for an id that is there twice, a seed below 0, and where
    `out` was begun with other options or is done."""
    at_least("seed", seed, 0)
    loaded = [load(source) for source in sources]
    found: dict[str, int] = {}
    names: dict[str, tuple[int, int]] = {}
    for n, samples in enumerate(loaded):
        for place, sample in enumerate(samples):
            stem = file_stem(sample.id)  # by which its clips are called
            if stem in found:
                raise InputError(f"{sources[n]}: id {sample.id!r} is also in {sources[found[stem]]}")
            found[stem] = n
            names[f"{sample.source}/{sample.id}"] = n, place
    video_of = {
        file_stem(name): source
        for name, source in videos_of(itertools.chain.from_iterable(loaded), video).items()
    }

    def make(name: str, where: Path) -> list[Sample]:
        n, place = names[name]
        return clips_of(loaded[n][place], where)

    def parts_of(clips: Sequence[Sample]) -> dict[str, Sequence[Sample]]:
        return parted(clips, {clip.id: video_of[clip.id.rpartition("_")[0]] for clip in clips}, seed)

    options = {"sources": [set_of(source) for source in sources], "seed": seed, "video": video}
    parts, problems = build_parts(out, names, make, "reclip", options, parts_of)
    return {part: len(clips) for part, clips in parts.items()}, problems
