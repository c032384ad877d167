"""Reading a label as a person would: what it says, without prefixes, paths, versions and typography.

Nothing here knows any words but a few short lists of words that do not name a thing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

from labelmatch.polarity import Polarity, polarity
from labelmatch.word_lists import WORDS

P = ParamSpec("P")
R = TypeVar("R")


MAX_READ = 200  # characters of a label that are read for meaning; a longer one is compared as a whole only
MAX_FORMS = 8
TOGETHER_COST = 0.1  # of reading "Picture/Frame" as a picture frame
FOLDER_COST = 0.25  # per step up a path, of reading "vehicle.bus.rigid" as a bus

PADDING = WORDS["padding"]
ARTICLES = WORDS["articles"]
MATERIALS = WORDS["materials"]
QUALITIES = WORDS["qualities"] | MATERIALS
NO_OBJECT = WORDS["no object"]

SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015\u2212\u00ad]+")
INVISIBLE = dict.fromkeys([0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
ID_PREFIX = re.compile(r"^(?:n\d{8}[\s_\-:]+|\d{1,5}\s*[:.)]\s*|0\d{0,3}[\s_\-]+|\d{2,4}[_\-]+)(?=\D)")
NUMBERED = re.compile(
    r"^(?:label|class|cls|category|id|object|obj|type|item|classid|index)?[\s_\-#:]*\d+$", re.IGNORECASE
)
VERSION = re.compile(
    r"[\s_\-]+v(?:er(?:sion)?)?\.?\s?\d+(?:\.\d+)*$|[\s_\-]+\d{1,3}$|(?<=[^\W\d]{3})\d{1,2}$", re.IGNORECASE
)
BRACKETS = re.compile(r"[(\[{<]([^()\[\]{}<>]*)[)\]}>]")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
PATH = re.compile(
    r"--+|(?<=[\w)\]] )_{2,}(?=\w)|(?<=[^\W_])_{2,}(?=\w)|::|(?<=[^\W\d_]{2})[.:|>](?=[^\W\d_]{2})|\s>\s|->|\\"
)
ALTERNATIVES = re.compile(r"\s*[,;]\s*|\s+/\s+|\s+(?:or|and|&)\s+|\s*&\s*")
WITHOUT = re.compile(r"(?<!\w)w/o(?:\s|_|$)", re.IGNORECASE)
OUTER = re.compile(r"[^\w'+#]+", re.UNICODE)


def kept(count: int) -> Callable[[Callable[Concatenate[str, P], R]], Callable[Concatenate[str, P], R]]:
    """Keep the answers for the last `count` names, of those that are short: so the memory that they take is bounded."""

    def decorate(function: Callable[Concatenate[str, P], R]) -> Callable[Concatenate[str, P], R]:
        cached = lru_cache(maxsize=count)(function)

        @wraps(function)
        def call(name: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return cached(name, *args, **kwargs) if len(name) <= MAX_READ else function(name, *args, **kwargs)  # type: ignore[arg-type]

        return call

    return decorate


@dataclass(frozen=True, slots=True)
class Form:
    """One way to read a label: lower-case words with single spaces, and what choosing it costs (0 to 1)."""

    words: str
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Parsed:
    """A label as read.

    folded: the name without case, separators and Unicode's variants; equal ones are the same name.
    forms: the readings, likeliest first; none for a label that names nothing.
    hints: words that say what is meant without being it: the folders of a path, remarks in brackets.
    polarity: "absent" ("no helmet") or "wrong" ("incorrect mask"), which are never the thing; the forms name it.
    names_nothing: background, LABEL_0 and the like, which match an identical name only.
    """

    folded: str
    forms: tuple[Form, ...] = ()
    hints: tuple[str, ...] = ()
    polarity: Polarity = ""
    names_nothing: bool = False


@kept(65_536)
def fold(name: str) -> str:
    """The name without case, separators and Unicode's variants (NFKC); "" for a blank one.

    >>> fold("Traffic_Light")
    'traffic light'
    """
    once = unicodedata.normalize("NFKC", name).translate(INVISIBLE).casefold()
    return SEPARATORS.sub(" ", unicodedata.normalize("NFKC", once)).strip()


@kept(65_536)
def parse(name: str) -> Parsed:
    """Read a label; never fails, whatever the text.

    >>> [form.words for form in parse("n02085620_Chihuahua").forms]
    ['chihuahua']
    >>> [form.words for form in parse("Cutting/chopping Board").forms]
    ['cutting board', 'chopping board']
    """
    folded = fold(name)
    if len(folded) > MAX_READ:
        return Parsed(folded)
    if not folded or folded in NO_OBJECT or NUMBERED.match(folded):
        return Parsed(folded, names_nothing=True)
    text = unicodedata.normalize("NFKC", name).translate(INVISIBLE).strip()
    text = WITHOUT.sub("without ", ID_PREFIX.sub("", text))
    hints = tuple(plain(hint) for hint in BRACKETS.findall(text))
    outside = BRACKETS.sub(" ", text).strip()
    parts = [part for part in PATH.split(outside or text) if part.strip(" _-")]
    forms: dict[str, float] = {}
    for cost, reading in path_readings(parts):
        for extra, alternative in enumerate_alternatives(reading):
            for words, spelling_cost in spellings(alternative):
                forms.setdefault(words, round(min(cost + extra + spelling_cost, 0.6), 3))
    kept = {words: cost for words, cost in forms.items() if words and words not in NO_OBJECT}
    ranked = sorted(kept.items(), key=lambda item: item[1])[:MAX_FORMS]
    said, _ = polarity(ranked[0][0] if ranked else folded)
    return Parsed(
        folded=folded,
        forms=tuple(Form(polarity(words)[1] if said else words, cost) for words, cost in ranked),
        hints=tuple(hint for hint in (*map(plain, parts[:-1]), *hints) if hint),
        polarity=said,
    )


def path_readings(parts: list[str]) -> list[tuple[float, str]]:
    """(cost, text) of a path's last part, with its folder in front, and of the folders."""
    if not parts:
        return []
    named = [part for part in parts if not set(plain(part).split()) <= PADDING]  # not "marking--general"'s last part
    parts = named or parts
    leaf = parts[-1]
    readings = [(0.0, leaf)]
    if len(parts) > 1:
        readings.append((0.02, f"{leaf} {parts[-2]}"))
        readings.append((TOGETHER_COST, f"{parts[-2]} {leaf}"))
        readings.extend((FOLDER_COST * steps, folder) for steps, folder in enumerate(reversed(parts[:-1]), 1))
    return readings[:6]


def enumerate_alternatives(text: str) -> list[tuple[float, str]]:
    """(cost, text) of each thing named in "tench, Tinca tinca", "towel/napkin", "trash bin/can"."""
    found: list[tuple[float, str]] = []
    pieces = [piece for piece in ALTERNATIVES.split(text) if piece]
    for index, piece in enumerate(pieces):
        cost = 0.02 * min(index, 3)
        if "/" in piece:
            found.extend((cost + extra, reading) for extra, reading in slashed(piece))
        else:
            found.append((cost, piece))
    return found[: 2 * MAX_FORMS]


def slashed(text: str) -> list[tuple[float, str]]:
    """(cost, text) for words joined by "/": each with the words around it."""
    sides = [side.strip() for side in text.split("/") if side.strip()]
    if len(sides) < 2:
        return [(0.0, side) for side in sides]
    first, last = SEPARATORS.split(sides[0]), SEPARATORS.split(sides[-1])
    before, after = first[:-1], last[1:]
    if len(sides) == 2 and bool(before) != bool(after):
        words = [first[-1], last[0]]
        return [(0.02 * index, " ".join([*before, word, *after])) for index, word in enumerate(words)]
    found = [(0.03 * min(index, 3), side) for index, side in enumerate(sides)]
    if len(sides) == 2 and not before and not after:
        found.append((TOGETHER_COST, " ".join(sides)))
    return found


def spellings(text: str) -> list[tuple[str, float]]:
    """(words, cost) of one alternative: as it is, without padding and version, without accents."""
    words = plain(text)
    found = [(words, 0.0)]
    stripped = plain(VERSION.sub("", text.strip()))
    if stripped and stripped != words:
        found.append((stripped, 0.02))
    padded = stripped.split() if stripped else words.split()
    core = [word for word in padded if word not in ARTICLES]
    while core and core[-1] in PADDING:
        core.pop()
    while core and core[0] in PADDING:
        core.pop(0)
    if core and core != padded:
        found.append((" ".join(core), 0.02))
    bare = "".join(c for c in unicodedata.normalize("NFKD", found[-1][0]) if not unicodedata.combining(c))
    if bare != found[-1][0]:
        found.append((unicodedata.normalize("NFKC", bare), 0.02))
    return found


def plain(text: str) -> str:
    """Lower-case words with single spaces, CamelCase taken apart, signs around words dropped."""
    apart = SEPARATORS.sub(" ", CAMEL.sub(" ", text))
    return " ".join(word for word in OUTER.sub(" ", apart.casefold()).split() if word)
