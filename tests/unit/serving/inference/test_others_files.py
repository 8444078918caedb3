"""Files that others made, and files of every encoder at hand: serving sees the pixels that `predict` reads of each.

The suites of others lie in `others` with their licences; more pictures come with the packages of the lock.
"""

import importlib.util
import io
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from examples.quiet import ultralytics
from serving.inference import apart
from serving.inference.preprocess import orient
from tests.unit.serving.images import encode, noise

LIMIT = 25_000_000
SUITES = Path(__file__).parent / "others" / "others.zip"
PACKAGES = (
    "apprise", "matplotlib", "mlflow", "networkx", "playwright", "scipy.ndimage", "sklearn", "supervisor",
    "sympy.plotting", "ultralytics", "werkzeug",
)  # fmt: skip
"""Of the lock, that bring pictures along: icons, photographs, figures of their tests."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
PHOTO, DEEP = noise(60, 44), np.random.default_rng(3).integers(0, 65536, (44, 60, 4)).astype(np.uint16)
ALPHA = np.random.default_rng(4).integers(0, 256, (44, 60)).astype(np.uint8)


def suites() -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(SUITES) as archive:
        yield from ((name, archive.read(name)) for name in archive.namelist())


def of_packages() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in map(Path, (spec and spec.submodule_search_locations) or []):
            found = sorted(path for path in folder.rglob("*.*") if path.suffix.lower() in SUFFIXES)
            yield from ((str(path.relative_to(folder.parent)), path.read_bytes()) for path in found)


def with_alpha() -> Image.Image:
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.fromarray(ALPHA))
    return image


def moving(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    frames = [noise(60, 44, seed).convert(mode) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def turned() -> Iterator[tuple[str, bytes]]:
    alpha = with_alpha()
    for turn in range(1, 9):
        tags = Image.Exif()
        tags[0x0112] = turn
        for kind in ("JPEG", "PNG", "AVIF"):
            yield f"turned {turn}.{kind}", encode(PHOTO, kind, exif=tags)
        for image in (PHOTO, alpha, PHOTO.convert("L")):
            yield f"TIFF {image.mode} turned {turn}.tif", encode(image, "TIFF", tiffinfo={0x0112: turn})
        block = tags.tobytes().removeprefix(b"Exif\x00\x00")
        yield f"WebP turned {turn}.webp", encode(PHOTO, "WEBP", exif=block)
        yield f"WebP with a prefix, turned {turn}.webp", encode(PHOTO, "WEBP", exif=b"Exif\x00\x00" + block)


def see_through() -> Iterator[tuple[str, bytes]]:
    alpha, few = with_alpha(), PHOTO.quantize(16)
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"):
        for image in (alpha, PHOTO.convert("CMYK")):
            yield f"TIFF {image.mode} {compression}.tif", encode(image, "TIFF", compression=compression)
    for transparent in (0, 3, 15):
        yield f"see-through {transparent}.gif", encode(few, "GIF", transparency=transparent, background=5)
        yield f"see-through {transparent}.png", encode(few, "PNG", transparency=transparent)
    for lossless in (False, True):
        for method in (0, 6):
            yield f"alpha {lossless} {method}.webp", encode(alpha, "WEBP", lossless=lossless, method=method, exact=True)
    for speed in (6, 10):
        yield f"alpha {speed}.avif", encode(alpha, "AVIF", speed=speed)


def animations() -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "RGBA", "L", "P"):
        for own in (False, True):
            yield f"moving, own picture {own} {mode}.png", moving("PNG", mode, default_image=own)
    for kind in ("GIF", "WEBP", "AVIF", "TIFF"):
        yield f"moving.{kind}", moving(kind)


def of_pillow() -> Iterator[tuple[str, bytes]]:
    yield from (*turned(), *see_through(), *animations())
    for quality in (10, 60, 95):
        yield f"CMYK {quality}.jpg", encode(PHOTO.convert("CMYK"), quality=quality, subsampling=0)


def of_opencv() -> Iterator[tuple[str, bytes]]:
    colour = np.ascontiguousarray(np.asarray(PHOTO)[:, :, ::-1])
    pictures = {"colour": colour, "grey": colour[:, :, 0].copy(), "alpha": np.dstack([colour, ALPHA])}
    kinds = (".png", ".bmp", ".tiff", ".webp", ".gif", ".ras", ".avif")
    options: list[tuple[str, str, list[int]]] = [(kind, name, []) for kind in kinds for name in pictures]
    options += [(".png", "colour", [cv2.IMWRITE_PNG_STRATEGY, strategy]) for strategy in range(5)]
    options += [(".webp", "colour", [cv2.IMWRITE_WEBP_QUALITY, quality]) for quality in (5, 50, 90)]
    options += [(".jpg", "colour", [cv2.IMWRITE_JPEG_QUALITY, quality]) for quality in (5, 40, 80, 100)]
    options += [(".jpg", "colour", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, n]) for n in (0, 3)]
    for kind, name, parameters in options:
        if (kind, name) not in {(".gif", "grey"), (".ras", "alpha")}:
            _, data = cv2.imencode(kind, pictures[name], parameters)
            yield f"OpenCV's {name} {parameters}{kind}", data.tobytes()
    for kind in (".png", ".tiff"):
        for channels in (1, 3, 4):
            _, data = cv2.imencode(kind, DEEP[:, :, :channels])
            yield f"OpenCV's {channels} channels of 16 bits{kind}", data.tobytes()


def of_turbojpeg() -> Iterator[tuple[str, bytes]]:
    pixels = np.asarray(PHOTO)
    for chroma in ("444", "422", "420", "440", "411", "Gray"):
        for quality in (30, 85):
            data = simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling=chroma)
            yield f"libjpeg-turbo's {chroma} {quality}.jpg", data


def bitmap(bits: int, masks: tuple[int, ...] = ()) -> bytes:
    """A bitmap of 16 bits as Windows and cameras of old wrote it; nothing at hand writes one."""
    pixels = DEEP[:, :, 0].astype("<u2").tobytes()
    body = b"".join(mask.to_bytes(4, "little") for mask in masks)
    start = 54 + len(body)
    sizes = [start + len(pixels), 0, start, 40, 60, 44, bits << 16 | 1, 3 if masks else 0, len(pixels), 0, 0, 0, 0]
    return b"BM" + b"".join(size.to_bytes(4, "little") for size in sizes) + body + pixels


def bitmaps() -> Iterator[tuple[str, bytes]]:
    yield "fifteen bits.bmp", bitmap(16)
    yield "fifteen bits, as masks say.bmp", bitmap(16, (0x7C00, 0x03E0, 0x001F))
    yield "sixteen bits.bmp", bitmap(16, (0xF800, 0x07E0, 0x001F))


@cache
def reader() -> Callable[[str], NDArray[np.uint8] | None]:
    """What `predict` reads a file with."""
    ultralytics()
    from ultralytics.utils.patches import imread

    return imread


def test_serving_sees_of_every_file_what_predict_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # What would be decoded apart takes a tenth of a second each there; other tests do that.
    monkeypatch.setattr(apart, "_decode_apart", apart._decode_any)
    others = [*suites(), *of_packages()]
    files = [*others, *of_pillow(), *of_opencv(), *of_turbojpeg(), *bitmaps()]
    assert len(others) >= 180
    assert len(files) >= 350
    differing = []
    for name, data in files:
        file = tmp_path / f"file{Path(name).suffix.lower()}"
        file.write_bytes(data)
        theirs = reader()(str(file))
        decoded = apart.decode(data, LIMIT)
        ours = orient(decoded.pixels, decoded.orientation)[:, :, :3]
        assert ours.shape[:2] == (decoded.height, decoded.width)
        if theirs is None or not np.array_equal(ours, theirs[:, :, ::-1]):
            differing.append(name)
    assert differing == []
