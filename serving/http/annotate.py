"""Draws detections on the image they were found in, for people."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from serving.inference.apart import decode
from serving.inference.postprocess import Boxes
from serving.inference.preprocess import orient

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
JPEG_QUALITY = 90


def annotated_jpeg(data: bytes, boxes: Boxes, classes: Sequence[str], max_pixels: int) -> bytes:
    """Returns the image, turned as displayed, as a JPEG with a labelled rectangle for each box."""
    decoded = decode(data, max_pixels)
    pixels = orient(decoded.pixels, decoded.orientation)[:, :, :3]
    image = Image.fromarray(pixels.copy())
    draw = ImageDraw.Draw(image)
    line = max(1, max(image.size) // 400)
    for corners, score, class_id in zip(boxes.corners, boxes.scores, boxes.class_ids, strict=True):
        colour = COLOURS[class_id % len(COLOURS)]
        x1, y1, x2, y2 = (float(value) for value in corners)
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)
        label = f"{classes[class_id]} {score:.2f}"
        size = max(10, max(image.size) // 60)
        at = (x1 + line, max(0.0, y1 - size - line))
        draw.rectangle(draw.textbbox(at, label, font_size=size), fill=colour)
        draw.text(at, label, fill="white", font_size=size)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
