"""Labels made ready for the tiers: parsed, translated where they need it, and looked up in the lexicon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from labelmatch.lexicon import lexicon
from labelmatch.meaning import PREPOSITIONS, PRIVATIVE, Phrase, find_phrases
from labelmatch.normalize import Form, Parsed, kept, parse
from labelmatch.translations import Dictionary, Translation, translate

SHARED_PREFIX_LABELS = 3  # at least so many labels make a prefix
SHARED_PREFIX_COST = 0.03
SHORT = 40  # characters of a name that a reason shows


@dataclass(frozen=True, slots=True)
class Reading:
    """A label with all that the tiers need of it.

    keys: (key, cost) of each way to read it; labels with a key in common are one name.
    tails: what its last words are ("computer keyboard": "keyboard"), in the singular; singular: all of its words so.
    word_set: the same without order; known: whether the lexicon has the whole.
    company: the words that it brings into a list, for the decision on other labels' homonyms.
    hints: the nodes that its path or its brackets speak of.
    """

    name: str
    parsed: Parsed
    keys: tuple[tuple[str, float], ...]
    phrases: tuple[Phrase, ...]
    translation: Translation | None
    singular: str
    word_set: frozenset[str]
    known: bool
    tails: tuple[str, ...]
    company: tuple[str, ...]
    hints: tuple[int, ...] = field(default=())

    @property
    def short(self) -> str:
        """The name, cut where it is a text."""
        return self.name if len(self.name) <= SHORT else self.name[: SHORT - 1] + "…"

    @property
    def compound(self) -> bool:
        """Whether it is several words of which the last ones may say what it is: a toy car and a cup of tea are not."""
        words = self.singular.split()
        return len(words) > 1 and PRIVATIVE.isdisjoint(words) and PREPOSITIONS.isdisjoint(words)

    @property
    def said(self) -> str:
        """What is spoken of: the name, or what it says to be absent or wrong."""
        return self.parsed.forms[0].words[:SHORT] if self.parsed.polarity and self.parsed.forms else self.short


def read(names: Sequence[str], words: Dictionary) -> list[Reading]:
    """The readings of a list of names; the list counts, for its language and for a prefix that all names share."""
    parsed = [parse(name) for name in names]
    translated = translate(parsed, words)
    prefix = has_shared_prefix(parsed)
    if not translated:
        return [reading(name, None, prefix) for name in names]
    return [reading(name, translated.get(one.folded), prefix) for name, one in zip(names, parsed, strict=True)]


def has_shared_prefix(parsed: Sequence[Parsed]) -> bool:
    """Whether all names begin with one word, as TYPE_CAR and TYPE_SIGN do."""
    if len(parsed) < SHARED_PREFIX_LABELS:
        return False
    first = parsed[0].folded.partition(" ")[0] + " "
    return all(one.folded.startswith(first) for one in parsed)


@kept(16_384)
def reading(name: str, translation: Translation | None, prefix: bool) -> Reading:
    """One label, read. `prefix`: its first word is shared by its whole list, and may say nothing."""
    known = lexicon()
    parsed = parse(name)
    forms = (Form(translation.english),) if translation else parsed.forms
    if prefix:
        shorter = (form.words.partition(" ")[2] for form in forms)
        forms = (*forms, *(Form(words, SHARED_PREFIX_COST) for words in dict.fromkeys(shorter) if words))
    phrases = find_phrases(forms)
    singular = known.singular(forms[0].words) if forms else ""
    tokens = singular.split()
    return Reading(
        name=name,
        parsed=parsed,
        keys=tuple((known.singular(form.words).replace(" ", ""), form.cost) for form in forms),
        phrases=phrases,
        translation=translation,
        singular=singular,
        word_set=frozenset(tokens),
        known=bool(forms) and known.find(forms[0].words) is not None,
        tails=tuple(" ".join(tokens[begin:]) for begin in range(1, len(tokens))),
        company=(parsed.folded, *(phrase.words for phrase in phrases)),
        hints=hint_nodes(parsed.hints) if parsed.hints else (),
    )


def hint_nodes(hints: tuple[str, ...]) -> tuple[int, ...]:
    """All that the words of a path or in brackets likely mean, or are kinds of."""
    known = lexicon()
    found = {known.find(words) for hint in hints for words in (hint, *hint.split())}
    nodes = {sense.node for phrase in found if phrase for sense in known.senses(phrase) if sense.weight > 0.15}
    return tuple(sorted({above for node in nodes for above in known.path(node)}))
