"""Every word that people read can be translated: pages, scripts and answers of pages"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted((PROJECT / "templates").rglob("*.html"))
SCRIPTS = sorted((PROJECT / "static" / "desk").glob("*.js"))
ANSWERS = sorted({*PROJECT.glob("*/pages/*.py"), PROJECT / "orchestrator" / "answers.py"})

# What is the same in every language: names, units, and what stands for itself.
SAME_EVERYWHERE = re.compile(r"Job desk|sha256|\bHTTP\b|\bpx\b|m[²³]|EPSG:\d+")
READ_ALOUD = ("title", "placeholder", "aria-label", "alt")
LITERAL = {"code", "kbd", "script", "style"}  # typed, never translated
TRANSLATED = re.compile(
    r"{%\s*comment.*?{%\s*endcomment\s*%}|{#.*?#}|{%\s*blocktrans(?:late)?\b.*?{%\s*endblocktrans(?:late)?\s*%}"
    r"|{%\s*block live(?:_job)?\s*%}.*?{%\s*endblock\s*%}",  # the last: addresses inside a tag of the base page
    re.DOTALL,
)
DEFAULT = re.compile(r"""\|default(?:_if_none)?:(["'])(?P<words>.*?)\1""")
TAG = re.compile(r"{%.*?%}", re.DOTALL)
VALUE = re.compile(r"{{.*?}}", re.DOTALL)
A_WORD = re.compile(r"[^\W\d_]{2,}")


class Words(HTMLParser):
    """Collects the text that stands in a page as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in LITERAL:
            self._open.append(tag)
        for name, value in attrs:
            said = (value or "").strip()
            # A script's words come with their element; numbers, addresses and JSON are no words.
            is_for_script = name.startswith("data-") and " " in said and not said.startswith("{")
            if is_for_script or (name in READ_ALOUD):
                self._take(said)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open:
            self._take(data)

    def _take(self, text: str) -> None:
        if A_WORD.search(SAME_EVERYWHERE.sub("", text)):
            self.found.append(text.strip())


def untranslated(template: str) -> list[str]:
    """Find what a page says outside of translations."""
    rest = TRANSLATED.sub("", template)
    said = [words for _, words in DEFAULT.findall(rest) if A_WORD.search(words)]
    words = Words()
    words.feed(VALUE.sub("", TAG.sub("", rest)))
    return said + words.found


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(PROJECT / "templates")))
def test_a_template_says_nothing_that_cannot_be_translated(template: Path) -> None:
    assert untranslated(template.read_text()) == []


@pytest.mark.parametrize(
    "template",
    [
        "<p>Hello</p>",
        '<input placeholder="Find it">',
        '{{ name|default:"somebody" }}',
        "<p>{% translate 'One' %} and two</p>",
        '<div data-lost="Not sent yet"></div>',
    ],
)
def test_words_that_were_forgotten_are_found(template: str) -> None:
    assert untranslated(template) != []


@pytest.mark.parametrize(
    "template",
    [
        "<p>{% translate 'Hello' %}</p>",
        '<a title="{% blocktranslate with n=n %}{{ n }} more{% endblocktranslate %}">{{ name }}</a>',
        '{{ name|default:_("somebody") }}',
        "<p>{# why it stands here #}<code>manage.py up</code></p>",
        '<p class="{% if a == "b" %}one two{% endif %}" data-key="q"></p>',
    ],
)
def test_words_that_can_be_translated_are_left_alone(template: str) -> None:
    assert untranslated(template) == []


# --- What pages answer


def said_as_it_is(source: str) -> list[str]:
    """Find refusals, messages and returned sentences that are written out instead of translated."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Raise(exc=ast.Call(args=[told, *_])):
                found.append(told)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="messages")), args=[_, told, *_]):
                found.append(told)
            case ast.Return(value=ast.Constant() | ast.JoinedStr() as told):
                found.append(told)
    return [ast.unparse(told) for told in found if any(" " in text and A_WORD.search(text) for text in _texts(told))]


def _texts(told: ast.expr) -> list[str]:
    if isinstance(told, ast.JoinedStr):
        return [text for part in told.values for text in _texts(part)]
    return [told.value] if isinstance(told, ast.Constant) and isinstance(told.value, str) else []


@pytest.mark.parametrize("answers", ANSWERS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_page_answers_nothing_that_cannot_be_translated(answers: Path) -> None:
    assert said_as_it_is(answers.read_text()) == []


def test_an_answer_that_was_forgotten_is_found() -> None:
    assert said_as_it_is('raise Invalid("Choose a picture.")')
    assert said_as_it_is('messages.error(request, f"There are {n} left")')
    assert said_as_it_is('def answer():\n    return f"{n} pictures were added."')


def test_an_answer_that_can_be_translated_is_left_alone() -> None:
    assert not said_as_it_is('raise Invalid(_("Choose a picture."))')
    assert not said_as_it_is('def answer():\n    return f"/jobs/{job}?tab=items"')


# --- What scripts write

SENTENCE_IN_SCRIPT = re.compile(r"""(["'`])(?P<words>[A-Z][a-z]+ [^"'`]*|[a-z]+ (?:[a-z]+ )+[a-z]+[.…]?)\1""")
WRITES_WORDS = re.compile(
    r"""\.(?:textContent|title|placeholder|innerText)\s*=\s*(["'`])(?P<words>[A-Za-z]{2}[^"'`]*)\1"""
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_takes_its_words_from_the_page(script: Path) -> None:
    code = re.sub(r"^\s*(?://|/?\*).*$", "", script.read_text(), flags=re.MULTILINE)

    found = [match["words"] for match in WRITES_WORDS.finditer(code)]
    found += [match["words"] for match in SENTENCE_IN_SCRIPT.finditer(code)]

    assert found == []


# --- What translators get


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="GETTEXT IS MISSING: nobody collected words to translate.")
def test_translators_get_a_list_of_all_words(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "templates", tmp_path / "templates")
    for answers in ANSWERS:
        kept = tmp_path / answers.relative_to(PROJECT)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(answers, kept)
    (tmp_path / "locale").mkdir()

    made = subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "--locale", "de"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        check=True,
    )

    assert "warning" not in made.stdout + made.stderr
    words = (tmp_path / "locale/de/LC_MESSAGES/django.po").read_text()
    assert 'msgid "Choose at least one picture to upload."' in words
    assert 'msgid "No surveys yet"' in words
