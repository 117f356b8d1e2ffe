"""Colours and composition, measured with Pillow alone."""

import pytest
from PIL import Image, ImageDraw

from captioning.vision import colours
from captioning.vision.pixels import as_rgb, composition_of, taken_by

# Pairs 1, 4, 7, 9, 17, 21 and 25 of the test data published with the formula (Sharma, Wu, Dalal 2005): they cover the
# rotation term, hues either side of zero, colours without hue and large differences.
PUBLISHED = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (50.0, 3.1736, 0.5854), 1.0000),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
]


def noise(size=(200, 200)):
    return Image.effect_noise(size, 60).convert("RGB")


@pytest.mark.parametrize(("one", "other", "expected"), PUBLISHED)
def test_colour_difference_agrees_with_the_published_pairs_both_ways(one, other, expected):
    assert colours.difference(one, other) == pytest.approx(expected, abs=1e-4)
    assert colours.difference(other, one) == pytest.approx(expected, abs=1e-4)


def test_white_and_black_are_the_ends_of_the_scale():
    assert colours.to_lab((255, 255, 255)) == pytest.approx((100, 0, 0), abs=0.02)
    assert colours.to_lab((0, 0, 0)) == pytest.approx((0, 0, 0))


@pytest.mark.parametrize(
    ("shade", "name"),
    [
        ((255, 0, 0), "red"), ((150, 230, 30), "lime"), ((0, 0, 255), "blue"), ((250, 250, 250), "white"),
        ((5, 5, 5), "black"), ((128, 128, 128), "grey"), ((255, 140, 0), "orange"), ((100, 65, 40), "brown"),
        ((0, 130, 130), "teal"), ((255, 192, 203), "pink"),
    ],
)  # fmt: skip
def test_a_shade_gets_its_everyday_name(shade, name):
    assert colours.name_of(shade) == name


def test_shares_of_colours_are_shares_of_the_area():
    picture = Image.new("RGB", (100, 100), (208, 32, 36))
    picture.paste((255, 255, 255), (0, 0, 100, 25))

    found = colours.colours_of(picture)

    assert [(one.name, round(one.share, 2)) for one in found] == [("red", 0.75), ("white", 0.25)]
    assert found[0].hex == "#d02024"


@pytest.mark.parametrize(
    ("size", "orientation"),
    [((300, 200), "landscape"), ((200, 300), "portrait"), ((200, 205), "square"), ((1, 5000), "portrait")],
)
def test_orientation_is_told_by_the_shape(size, orientation):
    assert composition_of(Image.new("RGB", size)).orientation == orientation


def test_light_runs_from_black_to_white():
    measured = [composition_of(Image.new("RGB", (20, 20), (level,) * 3)).brightness for level in (0, 128, 255)]

    assert measured == pytest.approx([0, 0.502, 1], abs=0.001)


def test_a_blurred_picture_is_less_sharp():
    from PIL import ImageFilter

    picture = noise()

    assert (
        composition_of(picture.filter(ImageFilter.GaussianBlur(3))).sharpness < composition_of(picture).sharpness / 10
    )


def test_sharpness_does_not_change_when_the_picture_is_mirrored():
    picture = noise()
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    assert composition_of(mirrored).sharpness == pytest.approx(composition_of(picture).sharpness)


def test_one_colour_is_uniform_and_two_are_not():
    picture = Image.new("RGB", (64, 64), (120, 180, 230))

    assert composition_of(picture).is_uniform
    picture.paste((20, 22, 26), (0, 0, 32, 64))
    assert not composition_of(picture).is_uniform


def test_grey_is_monochrome_and_red_is_not():
    assert composition_of(noise()).is_monochrome
    assert not composition_of(Image.new("RGB", (20, 20), "red")).is_monochrome


def test_a_drawing_is_flat_and_a_photograph_of_noise_is_not():
    drawing = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(drawing).ellipse((50, 50, 200, 200), fill="navy")

    assert composition_of(drawing).is_flat
    assert not composition_of(noise()).is_flat


def test_what_is_transparent_becomes_white():
    assert as_rgb(Image.new("RGBA", (2, 2), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert as_rgb(Image.new("LA", (2, 2), (0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_rather_than_cut():
    deep = Image.new("I;16", (2, 1))
    deep.putpixel((0, 0), 1000)
    deep.putpixel((1, 0), 65000)

    assert [as_rgb(deep).getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]


def test_the_file_tells_camera_and_date_but_no_place():
    picture = Image.new("RGB", (2, 2))
    exif = picture.getexif()
    exif[271], exif[272] = "Nikon", "Nikon D750"
    exif.get_ifd(0x8769)[36867] = "2024:05:01 10:11:12"
    exif.get_ifd(0x8825)[1] = "N"

    assert taken_by(picture) == "Nikon D750, 2024-05-01"
    assert taken_by(Image.new("RGB", (2, 2))) == ""
