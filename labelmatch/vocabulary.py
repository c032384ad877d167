"""Reading `data/vocabulary.txt`: words that WordNet lacks or understands otherwise. Its head tells the format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kind:
    """Each child is a kind of the parent."""

    children: tuple[str, ...]
    parent: str


@dataclass(slots=True)
class Vocabulary:
    """The lines of the file, by what they say; phrases are lower case, `phrase#2` names a sense of WordNet."""

    synonyms: list[tuple[str, ...]] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    taken_for: list[tuple[str, str]] = field(default_factory=list)
    company: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_vocabulary(path: Path) -> Vocabulary:
    """Parse the file; a line that says nothing is a ValueError with its number."""
    vocabulary = Vocabulary()
    for number, line in logical_lines(path.read_text(encoding="utf-8")):
        if "~<" in line:
            child, parent = line.split("~<")
            vocabulary.taken_for.append((child.strip(), parent.strip()))
        elif "~" in line:
            sense, words = line.split("~")
            vocabulary.company[sense.strip()] = phrases(words, ",")
        elif "<" in line:
            below, parent = line.split("<")
            children = [phrases(child, "=") for child in below.split(",")]
            vocabulary.synonyms.extend(child for child in children if len(child) > 1)
            vocabulary.kinds.append(Kind(tuple(child[0] for child in children), parent.strip()))
        elif "=" in line:
            vocabulary.synonyms.append(phrases(line, "="))
        else:
            raise ValueError(f"{path.name}, line {number}: expected '=', '<' or '~'")
    return vocabulary


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and blanks, with their numbers; an indented line continues the one before it."""
    number, pending = 0, ""
    for current, line in enumerate(text.splitlines(), 1):
        content = line.split("  #")[0].rstrip() if not line.startswith("#") else ""
        if content.startswith(" "):
            pending = f"{pending} {content.strip()}"
            continue
        if pending:
            yield number, pending
        number, pending = current, content
    if pending:
        yield number, pending


def phrases(text: str, separator: str) -> tuple[str, ...]:
    """The phrases of a list, with spaces for hyphens: so are the words that they are compared with."""
    return tuple(phrase.strip().replace("-", " ") for phrase in text.split(separator) if phrase.strip())
