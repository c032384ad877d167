"""Labels that deny a thing ("no helmet", "sans casque", "nohelmet") or find it wrong ("incorrect mask").

Neither is the thing, and the two are not each other: a label matches one of its own class only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from labelmatch.lexicon import lexicon
from labelmatch.word_lists import WORDS

Polarity = Literal["", "absent", "wrong"]

ABSENT, WRONG, WEARING, WORN = WORDS["absent"], WORDS["wrong"], WORDS["wearing"], WORDS["worn things"]
GLUED = re.compile(r"^(?:without|non|not|no)(?=[a-z]{3})|(?<=[a-z]{3})less$")
CHINESE = re.compile(r"^(?:没有|没|未戴|未|无(?!人|轨|线|障)|無(?!人|線))(?=.)")
JAPANESE = re.compile(r"(?<=.)(?:なし|無し|ない)$")
OPPOSITE = re.compile(r"^(?:without|non|not|no|un|in|im|il|ir|ab|an|a|dis|mis|mal|anti|de)(?=.{3})|(?:less|free)$")


def polarity(words: str) -> tuple[Polarity, str]:
    """What the words say of a thing, and the thing: "person without helmet" is ("absent", "helmet").

    The words are lower case with single spaces. What is positive comes back as it is.
    """
    tokens = words.split()
    if len(tokens) > 1 and lexicon().find(words):  # a "no entry sign" is a thing
        tokens = []
    if not WRONG.isdisjoint(tokens):
        return "wrong", thing(tokens, WRONG) or words
    denials = [index for index, token in enumerate(tokens) if token in ABSENT]
    if denials:
        behind = thing(tokens[denials[-1] + 1 :], ABSENT)
        return "absent", behind or thing(tokens, ABSENT) or words
    if len(tokens) > 1 and tokens[-1] == "off" and not WORN.isdisjoint(tokens):
        return "absent", thing(tokens[:-1], ABSENT) or words
    for index, token in enumerate(tokens):
        bare = unglued_denial(token, last=index == len(tokens) - 1)
        if bare:
            return "absent", thing([*tokens[:index], bare, *tokens[index + 1 :]], ABSENT) or words
    bare = JAPANESE.sub("", CHINESE.sub("", words))
    return "" if bare == words else "absent", bare


def thing(tokens: Sequence[str], besides: frozenset[str]) -> str:
    return " ".join(token for token in tokens if token not in besides and token not in WEARING)


def unglued_denial(word: str, last: bool) -> str | None:
    """ "nohelmet" -> "helmet"; None for a word that says something else ("notebook", "wireless")."""
    match = GLUED.search(word)
    if match is None or (match.start() and not last):  # a cordless phone is a phone
        return None
    bare = word[: match.start()] + word[match.end() :]
    known = lexicon()
    return bare if known.find(bare) and not known.find(word) else None


def opposites(one: str, other: str) -> bool:
    """Whether two words differ by a prefix or an ending that turns the meaning around: unmasked, masked."""
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return any(longer[: m.start()] + longer[m.end() :] == shorter for m in OPPOSITE.finditer(longer))
