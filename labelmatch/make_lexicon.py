"""Make `data/wordnet-nouns.npz` from the WordNet 3.0 files of Debian's package `wordnet-base`.

    apt-get install wordnet-base
    python -m labelmatch.make_lexicon [--wordnet /usr/share/wordnet]

The result holds WordNet's nouns and nothing else: lemmas, senses in WordNet's order with their counts in the tagged
corpora, hypernyms, lexicographer files, irregular plurals. No glosses. The same input gives the same bytes.
File formats: wndb(5WN) for index.noun, data.noun and noun.exc; cntlist(5WN) for cntlist.rev.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelmatch.lexicon import GROUP_FILE, INSTANCE_BIT, WORDNET_FILE

TAXONOMIC_GROUP = "taxonomic group"  # "genus Bison" is an animal to WordNet's files, and never what a label means


def records(path: Path) -> Iterator[list[str]]:
    """The space-separated fields of each line; the licence at the top (lines that begin with two spaces) is skipped."""
    with path.open(encoding="latin-1") as lines:
        for line in lines:
            if not line.startswith("  "):
                yield line.split("|", 1)[0].split()


def read_synsets(path: Path) -> tuple[dict[str, int], list[int], list[list[str]]]:
    """data.noun as: offset -> synset number, lexicographer file of each synset, hypernyms' offsets of each synset."""
    numbers: dict[str, int] = {}
    files: list[int] = []
    hypernyms: list[list[str]] = []
    for fields in records(path):
        words = int(fields[3], 16)
        pointer_start = 4 + 2 * words
        count = int(fields[pointer_start])
        pointers = [fields[pointer_start + 1 + 4 * i : pointer_start + 5 + 4 * i] for i in range(count)]
        above = [pointer[1] for pointer in pointers if pointer[0] in {"@", "@i"}]
        instance = any(pointer[0] == "@i" for pointer in pointers)
        numbers[fields[0]] = len(files)
        files.append(int(fields[1]) | (INSTANCE_BIT if instance else 0))
        hypernyms.append(above)
    return numbers, files, hypernyms


def read_senses(path: Path) -> dict[str, list[str]]:
    """index.noun as lemma -> offsets, most frequent sense first."""
    senses = {}
    for fields in records(path):
        senses[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
    return senses


def read_counts(path: Path) -> dict[tuple[str, int], int]:
    """cntlist.rev as (lemma, sense number from 1) -> how often the sense was tagged; nouns only."""
    counts = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        key, number, count = line.split()
        lemma, sense = key.split("%", 1)
        if sense.startswith("1:"):
            counts[lemma.replace("_", " "), int(number)] = int(count)
    return counts


def mark_taxa(root: int, files: list[int], hypernyms: list[list[int]]) -> None:
    """File everything below `root` under groups."""
    below: dict[int, list[int]] = {}
    for synset, above in enumerate(hypernyms):
        for parent in above:
            below.setdefault(parent, []).append(synset)
    waiting = [root]
    while waiting:
        synset = waiting.pop()
        files[synset] = GROUP_FILE
        waiting.extend(below.get(synset, ()))


def subtree_sizes(hypernyms: list[list[int]]) -> list[int]:
    """For each synset, how many synsets stand below it or are it."""
    sizes = [0] * len(hypernyms)
    for synset in range(len(hypernyms)):
        seen, waiting = {synset}, [synset]
        while waiting:
            for parent in hypernyms[waiting.pop()]:
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        for above in seen:
            sizes[above] += 1
    return sizes


def build(wordnet: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the lexicon file, as `lexicon.Lexicon` reads them."""
    numbers, files, offsets = read_synsets(wordnet / "data.noun")
    hypernyms = [[numbers[offset] for offset in above] for above in offsets]
    senses = read_senses(wordnet / "index.noun")
    counts = read_counts(wordnet / "cntlist.rev")
    mark_taxa(numbers[senses[TAXONOMIC_GROUP][0]], files, hypernyms)

    for lemma in [lemma for lemma in senses if "-" in lemma]:
        spaced = lemma.replace("-", " ")  # labels are compared without hyphens: "t shirt"
        senses.setdefault(spaced, senses[lemma])
        for number in range(1, len(senses[spaced]) + 1):
            counts.setdefault((spaced, number), counts.get((lemma, number), 0))
    lemmas = sorted(senses)
    exceptions = [fields[:2] for fields in records(wordnet / "noun.exc") if len(fields) > 1]
    plurals = sorted({(plural.replace("_", " "), singular.replace("_", " ")) for plural, singular in exceptions})
    return {
        "lemmas": text("\n".join(lemmas)),
        "sense_counts": np.array([len(senses[lemma]) for lemma in lemmas], np.uint8),
        "senses": np.array([numbers[offset] for lemma in lemmas for offset in senses[lemma]], np.int32),
        "tags": np.array(
            [counts.get((lemma, n + 1), 0) for lemma in lemmas for n in range(len(senses[lemma]))], np.uint16
        ),
        "files": np.array(files, np.uint8),
        "sizes": np.array(subtree_sizes(hypernyms), np.int32),
        "hypernym_counts": np.array([len(above) for above in hypernyms], np.uint8),
        "hypernyms": np.array([parent for above in hypernyms for parent in above], np.int32),
        "plurals": text("\n".join(f"{plural}\t{singular}" for plural, singular in plurals)),
    }


def text(value: str) -> NDArray[np.uint8]:
    return np.frombuffer(value.encode("utf-8"), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--output", type=Path, default=WORDNET_FILE)
    arguments = parser.parse_args()
    arrays = build(arguments.wordnet)
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes, {len(arrays['sense_counts']):,} lemmas")


if __name__ == "__main__":
    main()
