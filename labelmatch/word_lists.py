"""The short lists of words that do not name a thing: `data/word-lists.txt`."""

from __future__ import annotations

from pathlib import Path


def read_word_lists(path: Path) -> dict[str, frozenset[str]]:
    """The sections of a file of "[name]" lines, each followed by its words, parted by commas."""
    lists: dict[str, set[str]] = {}
    words: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            words = lists.setdefault(line.strip("[]"), set())
        elif not line.startswith("#"):
            words.update(word.strip() for word in line.split(",") if word.strip())
    return {name: frozenset(words) for name, words in lists.items()}


WORDS = read_word_lists(Path(__file__).parent / "data" / "word-lists.txt")
