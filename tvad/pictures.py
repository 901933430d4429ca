"""Drawing on pictures: heatmaps as a glow, boxes, sizes, JPEG. Arrays in, arrays or bytes out; what is drawn
of an analysed video is in `tvad.use.drawing`, of a benchmark's answers in its report."""

import base64
from pathlib import Path

import cv2
import numpy as np

from tvad.common.errors import InputError

RED, GREEN = (255, 70, 70), (60, 210, 90)
LEAST_WIDTH, MOST_WIDTH = 320, 640  # pixels of pictures and overlay videos
LEAST_SIDE, MOST_HEIGHT = 16, 1280  # of an extreme shape: a strip is kept from being a line, or a mile long


def save(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture through a temporary name. Raises InputError where that fails."""
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    if not cv2.imwrite(str(temporary), np.ascontiguousarray(image[..., ::-1])):
        raise InputError(f"{path}: cannot be written")
    temporary.replace(path)


def fit(image: np.ndarray, least: int = LEAST_WIDTH, most: int = MOST_WIDTH) -> np.ndarray:
    """The picture scaled so that its width lies between `least` and `most`, and its height below MOST_HEIGHT;
    one so narrow that a side would be shorter than LEAST_SIDE is widened."""
    height, width = image.shape[:2]
    scale = within(min(max(1.0, least / width), most / width), height, width, MOST_HEIGHT)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    if min(height, width) * scale < LEAST_SIDE:
        size = max(LEAST_SIDE, round(width * scale)), max(LEAST_SIDE, round(height * scale))
        return cv2.resize(image, size, interpolation=way)
    return image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)


def within(scale: float, height: int, width: int, longest: int) -> float:
    """`scale`, or less, so that no side of the scaled picture is longer than `longest` pixels."""
    return min(scale, longest / max(height, width))


def jpeg(image: np.ndarray, quality: int) -> bytes:
    """An RGB picture (H, W, 3) uint8 as JPEG, `quality` in 0..100."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def data_url(image: np.ndarray, quality: int) -> str:
    """The same as a `data:` URL, for pages that stand alone and for requests."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality)).decode()


def pack(image: np.ndarray) -> bytes:
    """An RGB picture, at most MOST_WIDTH wide, as JPEG."""
    return jpeg(fit(image, 1), 92)


def unpack(packed: bytes) -> np.ndarray:
    """What `pack` packed: (H, W, 3) uint8 RGB."""
    image = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1])


def glow(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Frame (H, W, 3) RGB under its heatmap (h, w) in 0..1, which is scaled to it: cold places stay as they
    are."""
    heat = np.clip(
        cv2.resize(heat.astype(np.float32), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR),
        0,
        1,
    )
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = 0.65 * heat[..., None]
    return (image * (1 - alpha) + colours * alpha).astype(np.uint8)


def outline(
    image: np.ndarray,
    boxes,
    colour,
    scale: float | tuple[float, float] = 1.0,
    words: list[str] | None = None,
) -> np.ndarray:
    """Draw inclusive boxes (x1, y1, x2, y2) of a picture `1 / scale` times as large (across, down), with a
    word each."""
    image = np.ascontiguousarray(image)
    thick = max(1, image.shape[1] // 320)
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    for n, box in enumerate(boxes):
        x1, x2 = int(box[0] * across), int((box[2] + 1) * across)
        y1, y2 = int(box[1] * down), int((box[3] + 1) * down)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thick)
        if words:
            cv2.putText(
                image, words[n], (x1, max(10, y1 - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA
            )
    return image
