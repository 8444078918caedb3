"""Any photo: what Pillow and OpenCV open is answered, with the pixels that `predict`, and so OpenCV, sees."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from serving.errors import RequestError
from serving.inference import apart
from serving.inference.apart import decode
from serving.inference.decode import Decoded
from serving.inference.preprocess import orient
from tests.unit.serving.images import encode, noise

LIMIT = 25_000_000
SIZES = [(120, 90), (97, 61), (16, 16), (33, 1)]
PHOTO = noise(120, 90)


def shown(data: bytes) -> NDArray[np.uint8]:
    decoded = decode(data, LIMIT)
    pixels = orient(decoded.pixels, decoded.orientation)[:, :, :3]
    assert pixels.shape[:2] == (decoded.height, decoded.width)
    return pixels


def opencv(data: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels[:, :, ::-1].astype(np.uint8)


def segment(marker: int, payload: bytes) -> bytes:
    return b"\xff%c" % marker + struct.pack(">H", len(payload) + 2) + payload


def behind_start(data: bytes, inserted: bytes) -> bytes:
    return data[:2] + inserted + data[2:]


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    return mark + struct.pack(order + "IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0) + bytes(4)


def jpegs() -> Iterator[tuple[str, bytes]]:
    for width, height in SIZES:
        photo = noise(width, height)
        for quality in (20, 50, 75, 90, 100):
            for subsampling in (0, 1, 2):
                for progressive in (False, True):
                    name = f"JPEG {width}x{height} q{quality} s{subsampling} {'progressive' if progressive else ''}"
                    yield name, encode(photo, quality=quality, subsampling=subsampling, progressive=progressive)
        yield f"grey JPEG {width}x{height}", encode(photo.convert("L"), subsampling=-1)
        yield f"JPEG with restarts {width}x{height}", encode(photo, restart_marker_blocks=3)
    bgr = np.asarray(PHOTO)[:, :, ::-1]
    for factor in (0x411111, 0x221111, 0x211111, 0x121111, 0x111111):
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])
        yield f"JPEG with sampling {factor:x}", data.tobytes()


def odd_jpegs() -> Iterator[tuple[str, bytes]]:
    """What cameras, editors and messengers write, and libjpeg at most warns about."""
    plain = encode(noise(96, 64), subsampling=0)
    scan = plain.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(plain[scan + 2 : scan + 4])
    yield "a scan header of zeros", plain[: end - 3] + bytes(3) + plain[end:]
    yield "stray bytes between segments", plain[:scan] + b"\x00\x01\x02" + plain[scan:]
    yield "padding between segments", plain[:scan] + b"\xff" * 9 + plain[scan:]
    yield "bytes after the end", plain + b"trailer" * 50
    yield "a second picture after the end", plain + encode(noise(40, 30))
    frame = plain.index(b"\xff\xc0")
    unnamed = bytearray(encode(noise(96, 64), subsampling=0))
    for component in range(3):
        unnamed[frame + 11 + 3 * component] = 0x21
    yield "chroma as fine as luma, in pairs", bytes(unnamed)
    # Read as another layout it is another picture, which is as long or shorter.
    for vertical, luma in ((4, 0x14), (3, 0x13), (1, 0x31), (2, 0x42)):
        unnamed[frame + 11 : frame + 18 : 3] = luma, 0x11, 0x11
        yield f"chroma of a layout of {luma >> 4} by {vertical}", bytes(unnamed)
    for marker in (0xE1, 0xE5, 0xFE):
        whole = segment(marker, b"Exif\x00\x00" + exif(1))
        shortened = whole[:2] + b"\x00\x0a" + whole[4:]
        yield f"a first segment {marker:x} that says it is shorter", behind_start(plain, shortened)
    yield "an application segment of 64 KiB", behind_start(plain, segment(0xE2, bytes(65533)))
    yield "a comment in Latin-1", behind_start(plain, segment(0xFE, "Größe".encode("latin-1")))
    yield "an Exif block of garbage", behind_start(plain, segment(0xE1, b"Exif\x00\x00" + b"garbage" * 9))
    yield "an Exif block that is cut", behind_start(plain, segment(0xE1, b"Exif\x00\x00II*"))
    yield "an empty Exif block", behind_start(plain, segment(0xE1, b"Exif\x00\x00"))
    yield "a thumbnail", behind_start(plain, segment(0xE1, b"Exif\x00\x00" + exif(1) + encode(noise(32, 24))))


def rasters() -> Iterator[tuple[str, bytes]]:
    modes = ["RGB", "RGBA", "L", "LA", "P", "1"]
    kinds: list[tuple[str, list[str], list[dict[str, Any]]]] = [
        ("PNG", modes, [{}, {"optimize": True}, {"compress_level": 0}]),
        ("WEBP", ["RGB", "RGBA", "L"], [{}, {"lossless": True}, {"quality": 30}]),
        ("GIF", ["P", "L", "1"], [{}, {"interlace": 0}]),
        ("BMP", ["RGB", "L", "P", "1"], [{}]),
        ("TIFF", ["RGB", "L", "P", "1"], [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}]),
        ("JPEG2000", ["RGB"], [{}, {"no_jp2": True}, {"irreversible": True}]),
        ("JPEG2000", ["L"], [{}]),  # without the box that names the colours OpenCV does not open grey
        ("PPM", ["RGB", "L", "1"], [{}]),
        ("AVIF", ["RGB", "RGBA"], [{}, {"quality": 100, "subsampling": "4:4:4"}]),
    ]
    for width, height in [(120, 90), (97, 61), (31, 64)]:
        photo = noise(width, height)
        for kind, accepted, variants in kinds:
            for mode in accepted:
                for options in variants:
                    image = photo.quantize(32) if mode == "P" else photo.convert(mode)
                    yield f"{kind} {mode} {width}x{height} {options}", encode(image, kind, **options)
    bgr = np.asarray(PHOTO)[:, :, ::-1]
    for extension in (".png", ".bmp", ".ppm", ".tiff", ".webp", ".jp2", ".avif", ".ras", ".gif"):
        _, data = cv2.imencode(extension, bgr)
        yield f"OpenCV's {extension}", data.tobytes()


EQUAL = [*jpegs(), *odd_jpegs(), *rasters()]


def test_every_kind_of_file_has_the_pixels_that_opencv_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    # What would be decoded apart takes a tenth of a second each there; the other tests do that.
    monkeypatch.setattr(apart, "_decode_apart", apart._decode_any)
    assert len(EQUAL) >= 300
    differing = {}
    for name, data in EQUAL:
        ours, theirs = shown(data), opencv(data)
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
            differing[name] = (ours.shape, theirs.shape)
    assert differing == {}


ORIENTED: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda turn: behind_start(encode(PHOTO), segment(0xE1, b"Exif\x00\x00" + exif(turn))),
    "JPEG, big-endian": lambda turn: behind_start(encode(PHOTO), segment(0xE1, b"Exif\x00\x00" + exif(turn, ">"))),
    "JPEG, behind 128 KiB of profile": lambda turn: behind_start(
        encode(PHOTO), segment(0xE2, bytes(65533)) * 2 + segment(0xE1, b"Exif\x00\x00" + exif(turn))
    ),
    "JPEG, behind another block": lambda turn: behind_start(
        encode(PHOTO),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x/>") + segment(0xE1, b"Exif\x00\x00" + exif(turn)),
    ),
    "PNG": lambda turn: encode(PHOTO, "PNG", exif=exif(turn)),
    "WebP": lambda turn: encode(PHOTO, "WEBP", exif=exif(turn)),
}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ORIENTED)
def test_orientation_is_obeyed_wherever_it_stands(kind: str, turn: int) -> None:
    data = ORIENTED[kind](turn)
    flat = ORIENTED[kind](1)
    upright = np.asarray(ImageOps.exif_transpose(_with_orientation(shown(flat), turn)))
    assert np.array_equal(shown(data), upright)


def _with_orientation(pixels: NDArray[np.uint8], turn: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = turn
    return image


def xmp(turn: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    ) % turn


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_xmp_turns_nothing(kind: str) -> None:
    if kind == "PNG":
        chunk = b"iTXt" + b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + xmp(6)
        data = encode(PHOTO, "PNG")
        data = data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    else:
        data = encode(PHOTO, kind, xmp=xmp(6))
    assert decode(data, LIMIT).orientation == 1


@pytest.mark.parametrize("block", [b"", b"garbage" * 40, b"II*\x00\xff\xff\xff\xff", exif(6)[:13], exif(0), exif(9)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_unreadable_exif_block_never_refuses_whole_pixels(kind: str, block: bytes) -> None:
    with warnings.catch_warnings(action="ignore"):  # Pillow's, who writes the block
        data = encode(PHOTO, kind, exif=block)
    decoded = decode(data, LIMIT)
    assert (decoded.width, decoded.height, decoded.orientation) == (120, 90, 1)


def png_chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


@pytest.mark.parametrize(
    "extra",
    [
        png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(64 * 1024 * 1024))),
        png_chunk(b"zTXt", b"x\x00\x00" + zlib.compress(bytes(64 * 1024 * 1024))),
        png_chunk(b"tEXt", b"x\x00y", crc=1),
        png_chunk(b"eXIf", exif(6), crc=1),
        png_chunk(b"gAMA", b"?"),
    ],
    ids=["a profile that unpacks a thousandfold", "such a text", "a damaged text", "damaged Exif", "short gamma"],
)
def test_a_png_whose_pixels_are_whole_is_answered_whatever_stands_beside_them(extra: bytes) -> None:
    data = encode(PHOTO, "PNG")
    assert np.array_equal(shown(data[:33] + extra + data[33:]), np.asarray(PHOTO))


def test_a_jpeg_in_print_colours_with_a_profile_is_answered() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(PHOTO.convert("CMYK"), icc_profile=profile + bytes(600_000))
    assert np.abs(shown(data).astype(int) - opencv(data)).max() <= 1


def test_deep_grey_keeps_its_high_byte() -> None:
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        expected = np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
        assert np.array_equal(shown(encode(Image.fromarray(grey), kind)), expected)


def deep(channels: int) -> bytes:
    """A JPEG 2000 of 16 bits a colour, whose brightest pixels Pillow makes black."""
    _, data = cv2.imencode(".jp2", np.full((40, 60, channels), 65535, np.uint16))
    return data.tobytes()


@pytest.mark.parametrize("bare", [False, True], ids=["in boxes", "bare"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_jpeg_2000_whose_deep_colours_pillow_spoils_is_refused(channels: int, bare: bool) -> None:
    data = deep(channels)
    with pytest.raises(RequestError, match="more than 8 bits") as refused:
        decode(data[data.index(b"\xff\x4f\xff\x51") :] if bare else data, LIMIT)
    assert refused.value.status == 415


@pytest.mark.parametrize("cut", [12, 40, 80])
def test_a_jpeg_2000_that_is_cut_is_told_as_broken(cut: int) -> None:
    with pytest.raises(RequestError) as refused:
        decode(encode(PHOTO, "JPEG2000")[:cut] + b"\x00\x00\x00\x08free" * 90, LIMIT)
    assert refused.value.code == "corrupt_image"


def test_a_jpeg_2000_in_deep_grey_keeps_its_high_byte() -> None:
    assert np.array_equal(shown(deep(1)), opencv(deep(1)))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_tiff_is_turned_once(turn: int) -> None:
    tiff = encode(PHOTO, "TIFF", tiffinfo={0x0112: turn})
    assert np.array_equal(shown(tiff), np.asarray(ImageOps.exif_transpose(_with_orientation(np.asarray(PHOTO), turn))))


def test_animations_show_their_first_picture() -> None:
    frames = [noise(60, 40, seed) for seed in range(4)]
    for kind in ("GIF", "PNG", "WEBP", "AVIF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
        decoded: Decoded = decode(buffer.getvalue(), LIMIT)
        assert (decoded.width, decoded.height) == (60, 40)


def refusal(data: bytes, limit: int = LIMIT) -> RequestError:
    with pytest.raises(RequestError) as refused:
        decode(data, limit)
    return refused.value


def test_a_photo_in_heic_is_refused_with_the_setting_of_the_phone() -> None:
    for brand in (b"heic", b"heix", b"mif1"):
        error = refusal(struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + bytes(99))
        assert error.status == 415
        assert "Most Compatible" in error.message


@pytest.mark.parametrize("data", [b"<svg/>", b"%PDF-1.7", b"\x00\x00\x00\x18ftypmp42" + bytes(20), b"text", b"P9 1 1"])
def test_what_is_no_image_is_refused_with_what_is_accepted(data: bytes) -> None:
    error = refusal(data)
    assert (error.status, "JPEG 2000" in error.message) == (415, True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_a_file_that_is_cut_is_refused_or_answered_but_never_fails(kind: str) -> None:
    data = encode(PHOTO, kind)
    for part in (0.3, 0.9):
        try:
            decode(data[: int(len(data) * part)], LIMIT)
        except RequestError as error:
            assert error.status in {415, 422}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_the_limit_on_pixels_holds_for_every_kind(kind: str) -> None:
    assert refusal(encode(PHOTO, kind), limit=100).status == 413


def progressive_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated, each time to say nothing new about every block."""
    return with_scans(encode(noise(2000, 1500), progressive=True), count)


def with_scans(data: bytes, count: int, between: bytes = b"") -> bytes:
    start = data.rindex(b"\xff\xda")
    return data[:start] + (data[start : start + 14] + between) * count + data[start:]


def test_thousands_of_empty_scans_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their process's own limit, which is of CPU time."""
    monkeypatch.setattr("serving.inference.apart.SECONDS", 1)
    monkeypatch.setattr("serving.inference.apart.BY_THE_CLOCK", 100.0)
    error = refusal(progressive_with_scans(100_000))
    assert (error.status, "decode" in error.message) == (422, True)


@pytest.mark.parametrize(
    "data",
    [progressive_with_scans(100), encode(PHOTO, "AVIF"), encode(PHOTO, "JPEG2000")],
    ids=["JPEG with many scans", "AVIF", "JPEG 2000"],
)
def test_an_image_is_not_blamed_for_want_of_cpu_time(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is ended by the clock before it had any."""
    monkeypatch.setattr("serving.inference.apart.BY_THE_CLOCK", 0.0)
    error = refusal(data)
    assert (error.status, error.code, error.retry_after) == (503, "overloaded", 1)


def test_fifty_thousand_empty_chunks_are_decoded_apart() -> None:
    data = encode(PHOTO, "PNG")
    crowded = data[:33] + png_chunk(b"tEXt", b"") * 50_000 + data[33:]
    try:
        assert np.array_equal(shown(crowded), np.asarray(PHOTO))
    except RequestError as error:
        assert error.status == 422
