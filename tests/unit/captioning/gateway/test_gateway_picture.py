from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import Image

from captioning.gateway.errors import Permanent
from captioning.gateway.picture import prepare, shrink


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(3).randbytes(width * height * 3))


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((3136, 1000), None, (1568, 500)),
        ((1000, 3136), None, (500, 1568)),
        ((800, 600), None, (800, 600)),
        ((1280, 960), "SD_VGA", (640, 480)),
        ((960, 1280), "SD_VGA", (480, 640)),
        ((2000, 500), "HD_720P", (1280, 320)),
        ((320, 200), "UHD_8K", (320, 200)),
        ((2000, 1000), "FHD_1080P", (1920, 960)),
        ((3136, 1000), "NONE", (1568, 500)),
    ],
)
def test_proportions_are_kept_and_nothing_grows(size, resize, expected):
    picture = prepare(encoded(noise(*size), "JPEG"), resize=resize)

    assert (picture.width, picture.height) == expected
    assert decoded(picture.content).size == expected


def test_a_photograph_becomes_a_jpeg_within_its_cap():
    picture = prepare(encoded(noise(1200, 900)), byte_cap=60_000)

    assert picture.mime == "image/jpeg"
    assert decoded(picture.content).format == "JPEG"
    assert len(picture.content) <= 60_000


def test_a_drawing_stays_a_png_with_its_exact_colours():
    drawing = Image.new("RGB", (200, 100), (250, 230, 20))
    drawing.paste((0, 0, 0), (50, 20, 60, 80))

    picture = prepare(encoded(drawing, "BMP"))

    assert picture.mime == "image/png"
    assert decoded(picture.content).getpixel((55, 50)) == (0, 0, 0)
    assert picture.data_url.startswith("data:image/png;base64,iVBOR")


def test_it_is_turned_upright_and_its_metadata_stay_here():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    exif[0x010F] = "Camera with a serial number"
    picture = prepare(encoded(noise(400, 300), "JPEG", exif=exif))

    assert (picture.width, picture.height) == (300, 400)
    assert not decoded(picture.content).getexif()
    assert b"serial number" not in picture.content


def test_transparency_becomes_white():
    picture = prepare(encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0))))

    assert decoded(picture.content).convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_deep_greys_are_spread_and_not_clipped():
    deep = Image.new("I;16", (100, 10))
    for x in range(100):
        for y in range(10):
            deep.putpixel((x, y), 1000 + x * 500)

    greys = decoded(prepare(encoded(deep, "TIFF")).content).convert("L")

    assert greys.getpixel((0, 5)) == 0
    assert greys.getpixel((99, 5)) == 255
    assert 120 <= greys.getpixel((50, 5)) <= 135


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I", "F", "RGBA"])
def test_every_mode_becomes_rgb(mode):
    source = noise(64, 48).convert("L").convert(mode) if mode in ("I", "F", "LA") else noise(64, 48).convert(mode)

    picture = prepare(encoded(source, "TIFF"))

    assert decoded(picture.content).convert("RGB").size == (64, 48)


@pytest.mark.parametrize("content", [b"", b"not a picture", encoded(noise(64, 64))[:200]])
def test_what_cannot_be_read_is_refused(content):
    with pytest.raises(Permanent) as caught:
        prepare(content)

    assert caught.value.code == "bad_picture"


def test_a_bomb_is_refused_before_it_is_decoded():
    bomb = encoded(Image.new("1", (14_200, 14_200)))

    with pytest.raises(Permanent) as caught:
        prepare(bomb)

    assert caught.value.code == "bad_picture"


def test_an_unknown_preset_is_refused():
    with pytest.raises(Permanent, match="SD_VGA"):
        prepare(encoded(noise(64, 64)), resize="TINY")


def test_shrinking_halves_size_and_weight():
    before = prepare(encoded(noise(800, 400)))

    after = shrink(before)

    assert (after.width, after.height) == (400, 200)
    assert len(after.content) <= len(before.content) / 2
