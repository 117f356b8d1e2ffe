"""How pictures look, and which look alike"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import call_command
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps

from captioning import looks
from captioning.intake import intake
from captioning.models import Image
from captioning.pictures import inspect
from tests.captions import make_dataset
from tests.pictures import encoded

DEMO = sorted((Path(__file__).resolve().parents[3] / "captioning" / "demo").glob("*.jpg"))


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def photograph(n: int = 0) -> Pillow.Image:
    with Pillow.open(DEMO[n]) as picture:
        picture.load()
        return picture.convert("RGB")


def look_of_bytes(content: bytes) -> int:
    look = inspect(io.BytesIO(content)).look
    assert look is not None
    return look


@pytest.mark.parametrize("n", range(len(DEMO)))
def test_a_photograph_looks_like_itself_smaller_compressed_and_brighter(n):
    original = photograph(n)
    whole = look_of_bytes(encoded(original, "JPEG", quality=95))
    small = original.resize((original.width // 3, original.height // 3))

    for other in (
        encoded(small, "PNG"),
        encoded(original, "JPEG", quality=30),
        encoded(ImageEnhance.Brightness(original).enhance(1.15), "JPEG"),
    ):
        assert looks.distance(whole, look_of_bytes(other)) <= looks.ALIKE_BITS


def test_different_photographs_do_not_look_alike():
    found = [look_of_bytes(path.read_bytes()) for path in DEMO]

    for n, one in enumerate(found):
        for other in found[n + 1 :]:
            assert looks.distance(one, other) > 2 * looks.ALIKE_BITS


def test_a_mirrored_photograph_is_another_picture():
    assert looks.distance(looks.look_of(photograph()), looks.look_of(ImageOps.mirror(photograph()))) > 12


def test_a_picture_that_its_exif_data_turn_looks_like_the_turned_one():
    upright = photograph()
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn a quarter to show it
    lying = encoded(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95)

    assert looks.distance(look_of_bytes(encoded(upright, "PNG")), look_of_bytes(lying)) <= looks.ALIKE_BITS


def test_plain_colours_have_no_look():
    for colour in ("white", "black", "#336699"):
        assert looks.look_of(Pillow.new("RGB", (200, 100), colour)) is None


def test_looks_that_are_alike_share_a_band():
    look = look_of_bytes(DEMO[0].read_bytes())
    # One bit in each of six bands: the worst that still counts as alike.
    other = look ^ sum(1 << shift for shift in (0, 9, 18, 27, 36, 45))

    assert looks.distance(look, other) == looks.ALIKE_BITS
    assert set(looks.bands(look)) & set(looks.bands(other))


@pytest.mark.django_db(transaction=True)
def test_lookalikes_meet_in_one_group_over_data_sets(ada, bob):
    here, there = make_dataset(ada, "here"), make_dataset(bob, "there")
    picture = photograph()

    first = intake(here, "a.jpg", io.BytesIO(encoded(picture, "JPEG", quality=95))).image
    again = intake(there, "b.png", io.BytesIO(encoded(picture.resize((400, 300)), "PNG"))).image
    other = intake(here, "c.jpg", io.BytesIO(encoded(photograph(1), "JPEG"))).image

    assert first.look_group == again.look_group == first.pk
    assert other.look_group == other.pk
    assert set(Image.objects.filter(ever_alike=True)) == {first, again}


@pytest.mark.django_db(transaction=True)
def test_plain_colours_are_alike_only_byte_for_byte(ada):
    here, there = make_dataset(ada, "here"), make_dataset(ada, "there")
    white, black = (encoded(Pillow.new("RGB", (90, 90), colour)) for colour in ("white", "black"))

    one = intake(here, "w.png", io.BytesIO(white)).image
    same = intake(there, "w.png", io.BytesIO(white)).image
    dark = intake(here, "b.png", io.BytesIO(black)).image

    assert one.look_group == same.look_group != dark.look_group


@pytest.mark.django_db
def test_pictures_from_before_are_grouped_by_the_command(ada):
    for n, name in enumerate(("here", "there")):
        content = encoded(photograph().resize((600 + 40 * n, 400)), "JPEG")
        intake(make_dataset(ada, name), "a.jpg", io.BytesIO(content))
    Image.objects.update(look=None, look_bands=[], look_group=None, ever_alike=False)

    call_command("find_lookalikes")

    assert Image.objects.values("look_group").distinct().count() == 1
    assert Image.objects.filter(ever_alike=True).count() == 2
