"""Labels in other languages, by a table from their words to English ones.

A table is `{language: {word: English word}}`. Ours, `data/coco-names.tsv`, holds the 80 COCO names in German, French,
Spanish, Russian, Chinese and Japanese, and the group words that tasks use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from labelmatch.lexicon import DATA, lexicon
from labelmatch.normalize import Parsed, fold

Translations = Mapping[str, Mapping[str, str]]

TABLE_FILE = DATA / "coco-names.tsv"
OWN_SHARE = 0.5  # of a list's labels that must be in a language for its English-looking words to be so too
PLURALS = ("s", "es", "n", "en", "e", "er", "x", "и", "ы")  # endings of the table's languages that only add letters
LEAST_PLURAL = 5  # letters


@dataclass(frozen=True, slots=True)
class Translation:
    """An English word for a foreign one, and the language that it is from."""

    english: str
    language: str


Dictionary = dict[str, tuple[Translation, ...]]


@cache
def coco_names() -> Translations:
    """Our table: languages' English names as keys; a cell of the file may hold several words, by "|"."""
    lines = [line for line in TABLE_FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    languages = lines[0].split("\t")[1:]
    table: dict[str, dict[str, str]] = {language: {} for language in languages}
    for line in lines[1:]:
        english, *cells = line.split("\t")
        for language, cell in zip(languages, cells, strict=True):
            for word in cell.split("|"):
                table[language].setdefault(word, english)
    return table


@cache
def coco_dictionary() -> Dictionary:
    return dictionary(coco_names())


def dictionary(translations: Translations) -> Dictionary:
    """The table turned around: folded word -> its translations, in the order of the languages."""
    found: dict[str, list[Translation]] = {}
    for language, words in translations.items():
        for word, english in words.items():
            found.setdefault(fold(word), []).append(Translation(english, language))
    return {word: tuple(choices) for word, choices in found.items() if word}


def of_plural(word: str, words: Dictionary) -> tuple[Translation, ...]:
    """The translations of a word without a plural's ending, where English has no such word: "perros"."""
    if len(word) < LEAST_PLURAL or not word.endswith(PLURALS):
        return ()
    stem = next((word[: -len(end)] for end in PLURALS if word.endswith(end) and word[: -len(end)] in words), None)
    return words[stem] if stem and not lexicon().find(word) else ()


def translate(labels: Sequence[Parsed], words: Dictionary) -> dict[str, Translation]:
    """The translations that a list of labels needs, by the label's folded name.

    A word that English lacks is translated whenever the table has it. One that is English too ("four", "Bank") is
    translated only where most of the list may be in that language, and a word of it is no English. Where two
    languages share a word, the one with more labels wins.
    """
    choices: dict[str, tuple[Translation, ...]] = {}
    for label in labels:
        form = label.forms[0].words if label.forms else ""
        match = words.get(label.folded) or words.get(form) or of_plural(form, words)
        if match:
            choices[label.folded] = match
    if not choices:
        return {}
    foreign = {folded for folded in choices if lexicon().find(folded) is None}
    votes = Counter(choice.language for found in choices.values() for choice in found)
    certain = {choice.language for folded in foreign for choice in choices[folded]}
    result = {}
    for folded, found in choices.items():
        best = max(found, key=lambda choice: (votes[choice.language], choice.language))
        if folded in foreign or (best.language in certain and votes[best.language] > OWN_SHARE * len(labels)):
            result[folded] = best
    return result
