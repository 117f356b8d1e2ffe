import json
import random
from contextlib import ExitStack
from datetime import UTC, datetime
from io import BytesIO

import pytest
from PIL import ExifTags, Image, ImageCms

from captioning import pictures
from captioning.pictures import PictureRefused
from tests.pictures import encoded, gradient, jpeg, png, png_header

TAGS = ExifTags.Base


def inspect(content: bytes) -> pictures.Picture:
    return pictures.inspect(BytesIO(content))


def exif_of(**tags) -> Image.Exif:
    exif = Image.Exif()
    details = {}
    for name, value in tags.items():
        tag = TAGS[name]
        (details if name.startswith(("DateTimeO", "DateTimeD", "OffsetTime", "FNumber")) else exif)[tag] = value
    exif[ExifTags.IFD.Exif] = details
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_each_format_is_known_by_its_bytes(kind):
    picture = inspect(encoded(gradient(40, 30), kind))

    assert (picture.format, picture.width, picture.height, picture.n_frames) == (kind, 40, 30, 1)


def test_a_jpeg_with_further_views_is_an_mpo():
    content = encoded(gradient(), "MPO", save_all=True, append_images=[gradient(seed=1)])

    picture = inspect(content)

    assert picture.format == "MPO"
    assert picture.suffix == ".jpg"
    assert picture.n_frames == 2


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40))])
def test_width_and_height_follow_the_orientation(orientation, size):
    picture = inspect(jpeg(exif=exif_of(Orientation=orientation)))

    assert (picture.width, picture.height) == size


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_kept_and_its_frames_counted(kind):
    frames = [gradient(seed=seed) for seed in range(1, 4)]

    picture = inspect(encoded(gradient(seed=0), kind, save_all=True, append_images=frames, duration=50))

    assert picture.n_frames == 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_is_kept(mode):
    source = Image.new(mode, (9, 7)) if mode == "I;16" else gradient(9, 7).convert(mode)

    assert inspect(encoded(source)).width == 9


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "F", "I;16"])
def test_unusual_modes_become_plain_colours(mode):
    source = Image.new(mode, (20, 10), 30000) if mode == "I;16" else Image.new(mode, (20, 10))
    content = encoded(source, "JPEG" if mode in ("CMYK", "YCbCr") else "TIFF")

    frame = pictures.first_frame(BytesIO(content), within=(10, 10))

    assert inspect(content).width == 20
    assert (frame.mode, frame.size) == ("RGB", (10, 5))


def test_16_bit_levels_are_scaled_and_not_cut_off():
    content = encoded(Image.new("I;16", (4, 4), 32896))  # 128 of 255

    frame = pictures.first_frame(BytesIO(content), within=(4, 4))

    assert frame.getpixel((0, 0)) == (128, 128, 128)


def test_cmyk_white_is_white():
    content = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=95)

    frame = pictures.first_frame(BytesIO(content), within=(8, 8))

    assert min(frame.getpixel((4, 4))) > 250


def test_a_profile_that_does_not_fit_is_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    content = encoded(Image.new("RGB", (8, 8), (200, 10, 10)), icc_profile=profile)

    frame = pictures.first_frame(BytesIO(content), within=(8, 8))

    assert frame.getpixel((4, 4)) == (200, 10, 10)


def test_the_first_frame_stands_upright():
    source = Image.new("RGB", (40, 20), "red")
    source.paste("blue", (0, 0, 20, 20))  # blue left, red right; turned by 90 degrees clockwise: blue on top
    content = encoded(source, "JPEG", quality=95, exif=exif_of(Orientation=6))

    frame = pictures.first_frame(BytesIO(content), within=(20, 40))

    assert frame.size == (20, 40)
    top, bottom = frame.getpixel((10, 5)), frame.getpixel((10, 35))
    assert top[2] > 200 > 60 > top[0]
    assert bottom[0] > 200 > 60 > bottom[2]


def test_one_pixel_is_a_picture():
    picture = inspect(encoded(Image.new("RGB", (1, 1))))

    assert (picture.width, picture.height) == (1, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"a caption, not a picture\n", "This is text"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg/>', "SVG"),
        (b"PK\x03\x04" + b"\0" * 60, "zip archive"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 50, "HEIC"),
        (b"\x7fELF" + b"\0" * 60, "not a picture that can be read"),
        (b"\xff\xd8\xff\xe0", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (jpeg(width=400, height=300)[:-2000], "damaged"),
        (png(width=400, height=300)[:1000], "damaged"),
        (encoded(gradient(400, 300), "WEBP")[:500], "damaged"),
        (encoded(gradient(400, 300), "BMP")[:5000], "damaged"),
        (encoded(gradient(400, 300), "TIFF")[:5000], "damaged"),
        (encoded(gradient(400, 300), "GIF")[:2000], "damaged"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_a_reason(content, reason):
    with pytest.raises(PictureRefused) as refusal:
        inspect(content)

    assert reason in refusal.value.detail
    assert refusal.value.detail.endswith(".")


@pytest.mark.parametrize("size", [(50_000, 50_000), (12_000, 12_000)])
def test_a_bomb_is_refused_before_it_is_decoded(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))

    with pytest.raises(PictureRefused, match="120 megapixels"):
        inspect(png_header(*size))


def test_every_cut_of_a_picture_is_refused_and_none_is_a_bug():
    content = jpeg(width=64, height=64, exif=exif_of(Make="Camera", Orientation=6))

    for length in range(0, len(content) - 40, 7):
        with pytest.raises(PictureRefused):
            inspect(content[:length])


def test_broken_bytes_are_refused_or_can_be_shown_and_are_never_a_bug(settings):
    settings.IMAGE_MAX_PIXELS = 1_000_000  # a broken header may well say a hundred million, which takes its time
    whole = [encoded(gradient(60, 50), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    whole.append(jpeg(exif=exif_of(Make="Maker", Orientation=6, DateTimeOriginal="2024:05:06 07:08:09", FNumber=2.8)))
    whole.append(encoded(gradient(60, 50), "GIF", save_all=True, append_images=[gradient(60, 50, seed=1)]))
    chance = random.Random(7)
    n_taken = 0

    for number in range(600):
        content = bytearray(whole[number % len(whole)])
        for _ in range(chance.choice([1, 2, 8])):
            at = chance.randrange(min(len(content), chance.choice([40, 400, 10_000])))
            content[at : at + chance.randrange(4)] = chance.choice([b"\xff" * 4, b"\0", chance.randbytes(2)])
        try:
            picture = inspect(bytes(content))
        except PictureRefused:
            continue
        n_taken += 1
        assert "\\u0000" not in json.dumps(picture.exif, allow_nan=False)
        pictures.first_frame(BytesIO(content), within=(40, 160))

    assert 60 < n_taken < 540  # else nothing was broken, or nothing was left to look at


def test_exif_is_kept_as_plain_json():
    exif = exif_of(Make="Maker\0\0", Model="One", FNumber=2.8, Orientation=1)
    exif[TAGS.UserComment] = b"\0\1binary"
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48.0, 8.0, 15.5)}

    kept = inspect(jpeg(exif=exif)).exif

    assert kept["Make"] == "Maker"
    assert kept["Model"] == "One"
    assert kept["FNumber"] == pytest.approx(2.8)
    assert kept["GPSInfo"] == {"GPSLatitudeRef": "N", "GPSLatitude": [48.0, 8.0, 15.5]}
    assert "UserComment" not in kept


def test_the_strips_of_a_tiff_are_not_taken_for_exif():
    kept = inspect(encoded(gradient(20, 3000), "TIFF", description="of the maker")).exif

    assert kept["ImageDescription"] == "of the maker"
    assert not {"StripOffsets", "StripByteCounts"} & kept.keys()


@pytest.mark.parametrize(
    ("tags", "taken_at"),
    [
        ({"DateTimeOriginal": "2024:05:06 07:08:09"}, datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        (
            {"DateTimeOriginal": "2024:05:06 07:08:09", "OffsetTimeOriginal": "+02:00"},
            datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC),
        ),
        (
            {"DateTimeOriginal": "2024:05:06 07:08:09", "OffsetTimeOriginal": "north"},
            datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        ),
        ({"DateTime": "2023:01:02 03:04:05"}, datetime(2023, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({"DateTimeOriginal": "0000:00:00 00:00:00"}, None),
        ({"DateTimeOriginal": "0001:01:01 00:00:00", "OffsetTimeOriginal": "+14:00"}, None),
        (
            {"DateTimeOriginal": "9999:12:31 23:59:59", "OffsetTimeOriginal": "-12:00"},
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        ),
        ({"DateTimeOriginal": "soon"}, None),
        ({}, None),
    ],
)
def test_the_moment_of_the_shutter_is_read(tags, taken_at):
    assert inspect(jpeg(exif=exif_of(**tags))).taken_at == taken_at


def test_unreadable_exif_does_not_cost_the_picture():
    content = jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 200)

    picture = inspect(content)

    assert picture.exif == {}
    assert picture.width == 40


def test_as_many_pictures_are_decoded_at_once_as_there_are_cores(settings):
    with ExitStack() as open_pictures:
        for _ in range(settings.CORES):
            open_pictures.enter_context(pictures._opened(BytesIO(png())))

        assert not pictures._decoders.acquire(blocking=False)

    assert inspect(png()).format == "PNG"
