from io import BytesIO

import pytest
from PIL import Image

from captioning import thumbnails
from orchestrator.problems import Invalid
from tests.pictures import encoded, gradient, jpeg
from tests.unit.captioning.test_pictures import exif_of
from uploads import storage

SHA256 = "ab" * 32
KEY = storage.key_of("images", SHA256, ".bin")


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"


def made(content: bytes, width: int) -> Image.Image:
    storage.put(KEY, BytesIO(content))
    return Image.open(thumbnails.thumbnail(SHA256, KEY, width))


@pytest.mark.parametrize(("wish", "width"), [(64, 96), (96, 96), (97, 192), (384, 384), (769, 1024), (1024, 1024)])
def test_a_wish_is_answered_by_the_next_larger_width(wish, width):
    assert thumbnails.snap(wish) == width


@pytest.mark.parametrize("wish", [-1, 0, 63, 1025, 10**12])
def test_a_width_beyond_the_limits_is_refused(wish):
    with pytest.raises(Invalid, match="64 to 1024"):
        thumbnails.snap(wish)


def test_a_thumbnail_keeps_the_proportions():
    thumbnail = made(jpeg(width=800, height=600), 192)

    assert (thumbnail.format, thumbnail.size) == ("WEBP", (192, 144))


def test_a_small_picture_is_not_enlarged():
    assert made(jpeg(width=50, height=40), 384).size == (50, 40)


def test_a_turned_picture_stands_upright():
    assert made(jpeg(width=800, height=400, exif=exif_of(Orientation=6)), 192).size == (192, 384)


def test_a_very_tall_picture_is_bounded():
    assert made(encoded(gradient(10, 20_000)), 96).height <= 4 * 96


def test_a_very_wide_picture_keeps_a_pixel_of_height():
    assert made(encoded(gradient(20_000, 3)), 96).size == (96, 1)


def test_the_first_frame_of_an_animation_is_shown():
    red, blue = Image.new("RGB", (200, 100), "red"), Image.new("RGB", (200, 100), "blue")
    content = encoded(red, "GIF", save_all=True, append_images=[blue], duration=50)

    thumbnail = made(content, 96)

    assert getattr(thumbnail, "n_frames", 1) == 1
    red_level, _, blue_level = thumbnail.convert("RGB").getpixel((40, 20))
    assert red_level > 200 > 60 > blue_level


def test_transparency_is_kept():
    assert made(encoded(Image.new("RGBA", (200, 100), (255, 0, 0, 0))), 96).mode == "RGBA"


def test_a_thumbnail_is_made_once():
    made(jpeg(width=800, height=600), 192)
    storage.delete(KEY)

    assert thumbnails.thumbnail(SHA256, KEY, 192).exists()


def test_a_lost_original_is_said():
    with pytest.raises(storage.FileMissing):
        thumbnails.thumbnail(SHA256, KEY, 192)
