"""The real models on the demo pictures and on pictures made here. Missing models fail these tests; they never skip."""

import json
import os
import threading

import pytest
from PIL import Image, ImageDraw, ImageFont

from captioning import library
from captioning.vision import Availability, LocalVision, local_vision, supports

DEMO = library.SHIPPED.parent / "demo"
PICTURES = sorted(path for path in DEMO.iterdir() if path.suffix in (".jpg", ".webp"))
DOCUMENTS = [json.loads(path.read_text()) for path in sorted(library.SHIPPED.glob("*.json"))]
FILLABLE = [document for document in DOCUMENTS if supports(document).ok]
NOTHING = "nothing recognised"


@pytest.fixture(scope="module")
def looker():
    provider = local_vision()
    assert provider.available().full, f"install the extra local-vision; missing: {provider.available().missing}"
    return provider


@pytest.fixture(scope="module")
def observations(looker):
    return {path.stem.split("-")[0]: looker.look(Image.open(path)) for path in PICTURES}


def demo(name):
    return Image.open(next(path for path in PICTURES if path.stem.startswith(name))).convert("RGB")


def page(*lines):
    picture = Image.new("RGB", (900, 400), "white")
    for n, line in enumerate(lines):
        ImageDraw.Draw(picture).text((60, 60 + 110 * n), line, fill="black", font=ImageFont.load_default(size=64))
    return picture


def sentence(looker, observation):
    document = next(document for document in DOCUMENTS if document["name"] == "graph_caption")
    return looker.fill(document, observation).result["short_caption"].lower()


@pytest.mark.parametrize(
    ("name", "said", "never"),
    [
        ("highland", ["a cow"], ["elephant", "owl"]),
        ("ural", ["owl"], ["elephant", "cow"]),
        ("childs", ["person", "daisy"], ["bird"]),
        ("universe", ["natural landscape"], ["person"]),
        # A statue is no person, stars on a drawing are no kites, and towers of glass are not among the labels.
        ("big", [NOTHING], ["person"]),
        ("girl", [NOTHING, "drawing"], ["kite"]),
        ("new", [NOTHING], ["bridge", "pier"]),
    ],
)
def test_it_names_what_it_is_sure_of_and_abstains_otherwise(looker, observations, name, said, never):
    short = sentence(looker, observations[name])

    assert [words for words in said if words not in short] == []
    assert [words for words in never if words in short] == []


def test_refused_claims_are_kept_as_doubts(observations):
    assert [doubt.name for doubt in observations["big"].doubts] == ["person"]
    assert "kite" in [doubt.name for doubt in observations["girl"].doubts]


def test_different_pictures_and_different_perspectives_give_different_answers(looker, observations):
    for document in FILLABLE:
        filled = [looker.fill(document, seen) for seen in observations.values()]
        assert len({json.dumps(one.result, sort_keys=True) for one in filled}) == len(PICTURES), document["name"]
        assert len({one.text for one in filled}) == len(PICTURES), document["name"]
    for seen in observations.values():
        assert len({looker.fill(document, seen).text for document in FILLABLE}) == len(FILLABLE)


def test_the_same_picture_gives_the_same_observation(looker, observations):
    assert looker.look(demo("highland")) == observations["highland"]


def test_boxes_lie_within_the_picture(observations):
    boxes = [thing.box for seen in observations.values() for thing in seen.things]

    assert boxes
    assert all(0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1 for box in boxes)


@pytest.mark.parametrize("colour", ["white", "black", (90, 140, 60)])
def test_a_blank_picture_shows_nothing(looker, colour):
    seen = looker.look(Image.new("RGB", (640, 480), colour))

    assert (seen.things, seen.subject, seen.lines, seen.candidates) == ((), None, (), ())
    assert seen.unseen == "the picture is uniform"


def test_noise_shows_no_object_and_no_text(looker):
    seen = looker.look(Image.effect_noise((640, 480), 80).convert("RGB"))

    assert (seen.things, seen.lines) == ((), ())


def test_writing_is_read_and_nothing_else_is_counted(looker):
    seen = looker.look(page("Harbour office", "Open 9 to 17"))

    assert [line.string for line in seen.lines] == ["Harbour office", "Open 9 to 17"]
    assert seen.things == ()
    assert seen.lines[0].box.bottom < seen.lines[1].box.top
    assert "harbour office" in sentence(looker, seen)


def test_two_animals_are_counted_each_in_its_place(looker):
    both = Image.new("RGB", (1000, 500), (70, 80, 70))
    both.paste(demo("highland").resize((500, 500)), (0, 0))
    both.paste(demo("ural").crop((110, 60, 450, 400)).resize((500, 500)), (500, 0))

    seen = looker.look(both)

    sides = {thing.name: (thing.box.left + thing.box.right) / 2 for thing in seen.things}
    assert sides["cow"] < 0.5
    assert set(sides) <= {"cow", "owl", "bird"}, "the other animal may be missed, but not mistaken"


def test_two_of_a_kind_are_two(looker):
    cow = demo("highland").resize((500, 400))
    both = Image.new("RGB", (1000, 400))
    both.paste(cow, (0, 0))
    both.paste(cow.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (500, 0))

    assert [thing.name for thing in looker.look(both).things] == ["cow", "cow"]


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
def test_a_turned_picture_is_recognised_or_not_but_never_mistaken(looker, turn):
    seen = looker.look(demo("highland").transpose(turn))

    assert {thing.name for thing in seen.things} <= {"cow"}
    assert seen.subject is None or seen.subject.group == "mammal"
    assert seen.composition.orientation == ("landscape" if turn == Image.Transpose.ROTATE_180 else "portrait")


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 2), (31, 31), (32, 32), (40, 3000)])
def test_odd_sizes_are_looked_at_without_complaint(looker, size):
    gradient = Image.radial_gradient("L").resize(size).convert("RGB")

    seen = looker.look(gradient)

    assert (seen.width, seen.height) == size
    assert seen.things == ()
    for document in FILLABLE:
        assert looker.fill(document, seen).text


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"]
)
def test_every_mode_is_looked_at(looker, mode):
    gradient = Image.radial_gradient("L").resize((120, 90))
    source = gradient.convert("RGB") if mode == "LAB" else gradient
    picture = source.convert("RGB").convert("P").convert("PA") if mode == "PA" else _converted(source, mode)
    assert picture.mode == mode

    seen = looker.look(picture)

    assert seen.colours
    assert seen.composition.brightness > 0


def _converted(picture, mode):
    if mode == "LAB":
        from PIL import ImageCms

        return ImageCms.profileToProfile(
            picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    return picture.convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)


def test_looking_changes_nothing_about_the_picture(looker):
    picture = demo("ural")
    before = picture.tobytes()

    looker.look(picture)

    assert picture.tobytes() == before


def test_without_models_the_pixels_are_described_and_it_says_so():
    blind = LocalVision(Availability(full=False, missing=["rapidocr"]))

    seen = blind.look(demo("highland"))

    assert seen.unseen == "the models are not installed"
    assert seen.things == ()
    assert seen.colours
    assert "cow" not in sentence(blind, seen)
    assert "pixels only" in blind.versions()["provider"]


def test_two_threads_share_one_provider(looker, observations):
    found = {}

    def look(name):
        found[name] = looker.look(demo(name))

    threads = [threading.Thread(target=look, args=(name,)) for name in ("highland", "childs", "universe")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {name: observations[name] for name in found}


def test_a_process_has_one_provider_and_a_fork_its_own(looker):
    assert local_vision() is looker
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"own" if local_vision() is not looker else b"shared")
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 10) == b"own"


def test_versions_name_models_releases_and_thresholds(looker):
    versions = looker.versions()

    assert {"provider", "detector", "classifier", "ocr", "pixels", "thresholds"} == set(versions)
    assert "not installed" not in " ".join(versions.values())
