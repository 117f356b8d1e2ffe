"""Observations and perspectives made by hand, for tests in which no model takes part."""

from dataclasses import replace

from captioning.vision.observation import Box, Colour, Composition, Observation, Subject, TextLine, Thing

PLAIN = Observation(
    width=640,
    height=480,
    composition=Composition("landscape", 0.5, 0.2, 300.0, is_monochrome=False, is_uniform=False, is_flat=False),
    colours=(Colour("moss green", "#5a703e", 0.6), Colour("white", "#ffffff", 0.3)),
)
COW = Thing("cow", 0.9, Box(0.1, 0.1, 0.4, 0.9))
FAR_COW = Thing("cow", 0.7, Box(0.6, 0.4, 0.7, 0.5))
OWL = Subject("owl", 0.8, "great grey owl", "bird")
EXIT = TextLine("EXIT", 0.97, Box(0.1, 0.1, 0.3, 0.2))


def seen(**changes):
    return replace(PLAIN, **changes)


def perspective(local_vision, *fields, template=""):
    return {
        "name": "tried",
        "schema_fields": list(fields),
        "local_vision": local_vision,
        "context_template": template,
    }


def field(name, kind="str", *, is_list=False, parts=()):
    described = {"name": name, "type": kind, "description": "", "is_list": is_list, "is_complex": bool(parts)}
    return {**described, "fields": list(parts)} if parts else described
