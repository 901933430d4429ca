"""Videos of people and their masks, in the layouts in which UBnormal and ShanghaiTech are distributed."""

import cv2
import numpy as np

from tvad.data import video

HEIGHT, WIDTH, FRAMES, RATE = 48, 96, 20, 10.0
# id -> (x at first, steps a frame, y): four people, of whom number 3 misbehaves from frame 5 to 12.
PEOPLE = {1: (4, 0, 4), 2: (40, 0, 14), 3: (4, 4, 24), 9: (84, -1, 36)}


def maps_of(people, frames=FRAMES, size=(HEIGHT, WIDTH)):
    """Maps of ids (T, H, W) uint8."""
    maps = np.zeros((frames, *size), np.uint8)
    for number, (x, step, y) in people.items():
        for frame in range(frames):
            left = max(0, x + step * frame)
            maps[frame, y : y + 8, left : left + 8] = number
    return maps


def write_ubnormal(root, name, maps, rows=(), rate=RATE):
    """A video of UBnormal with its annotations."""
    folder = root / f"Scene{name.split('_')[2]}"
    notes = folder / f"{name}_annotations"
    notes.mkdir(parents=True)
    shown = np.full((*maps.shape, 3), 60, np.uint8)
    shown[maps > 0] = 220
    video.write(folder / f"{name}.mp4", shown, rate)
    for frame, ids in enumerate(maps):
        cv2.imwrite(str(notes / f"{name}_{frame:04d}_gt.png"), ids)
    if rows:
        (notes / f"{name}_tracks.txt").write_text("".join(f"{a},{b},{c}\n" for a, b, c in rows))
    return notes


def write_shanghaitech(tmp_path):
    """Two test videos with the people, one anomalous from frame 5 to 12, one normal; the roots of the data
    and of its tracks."""
    root, tracks = tmp_path / "st", tmp_path / "tracks"
    maps = maps_of(PEOPLE)
    for name, wrong in (("01_0014", range(5, 13)), ("01_0015", ())):
        folder = root / "testing/frames" / name
        folder.mkdir(parents=True)
        lit = np.zeros_like(maps)
        for frame, ids in enumerate(maps):
            cv2.imwrite(str(folder / f"{frame:03d}.jpg"), np.where(ids[..., None] > 0, 220, 60).repeat(3, -1))
            lit[frame] = (ids == 3) & (frame in wrong)
        for part, data in (("pixel", lit), ("frame", lit.any((1, 2)).astype(np.int8))):
            (root / f"testing/test_{part}_mask").mkdir(exist_ok=True)
            np.save(root / f"testing/test_{part}_mask/{name}.npy", data)
    tracks.mkdir()
    rows = (f"0,{f},{4 + 4 * f},24,{11 + 4 * f},31\n" for f in range(5, 13))
    (tracks / "01_0014.txt").write_text("".join(rows))
    return root, tracks
