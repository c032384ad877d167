"""Ready models by short names: references only. What one is, its host says when it is added."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from adapters.references import HttpsFile, parse_reference
from adapters.references.cascade import SCHEME
from adapters.references.file_hints import NAMES
from adapters.references.kinds import UNKNOWN


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that can be added by its name.

    reference   its canonical text, which could be pasted as well
    finds       what it finds, in words
    proof       the test that runs such a model; empty: unverified, its wire or layout stands in documentation only
    cvat        what CVAT calls it, where CVAT comes with it
    """

    name: str
    title: str
    task_type: str
    finds: str
    reference: str
    proof: str = ""
    cvat: str = ""

    @property
    def verified(self) -> bool:
        return bool(self.proof)

    def is_source_of(self, reference: str) -> bool:
        """Whether a registered model comes from here; a file is known by its address, since its digest came later."""
        mark = f"#sha256={UNKNOWN}"
        if mark in self.reference and not self.reference.startswith(SCHEME):
            return reference.startswith(self.reference.partition(mark)[0] + "#")
        return reference == self.reference


@cache
def catalogue() -> tuple[CatalogueEntry, ...]:
    """All of them, in the order of the file."""
    whole = tomllib.loads((files("bridge") / "data" / "catalogue.toml").read_text("utf-8"))
    labels: Mapping[str, Sequence[str]] = whole["labels"]
    parts = {name: _file(written, labels).canonical for name, written in whole["file"].items()}
    return tuple(_entry(written, labels, parts) for written in whole["model"])


def find(name: str) -> CatalogueEntry | None:
    return next((entry for entry in catalogue() if entry.name == name.strip()), None)


def expanded(text: str) -> str:
    """The reference that a name of the catalogue stands for; every other text as it is."""
    entry = find(text)
    return entry.reference if entry is not None else text


def _entry(written: Mapping[str, Any], labels: Mapping[str, Sequence[str]], parts: Mapping[str, str]) -> CatalogueEntry:
    if "url" in written:
        reference = _file(written, labels).canonical
    elif "cascade" in written:
        reference = parse_reference(SCHEME + json.dumps(_with_files(written["cascade"], parts))).reference.canonical
    else:
        reference = parse_reference(written["reference"]).reference.canonical
    further = {
        name: written[name] for name in ("name", "title", "task_type", "finds", "proof", "cvat") if name in written
    }
    return CatalogueEntry(reference=reference, **further)


def _with_files(cascade: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, Any]:
    """The cascade with the names of files replaced by what they stand for."""
    whole = dict(cascade)
    for key in ("detector", "pose"):
        if key in whole:
            whole[key] = parts.get(whole[key], whole[key])
    whole["attributes"] = [
        {**each, "model": parts.get(each["model"], each["model"])} for each in cascade.get("attributes", ())
    ]
    return whole


def _file(written: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> HttpsFile:
    said = dict(written.get("said", {}))
    if said.get("labels") in labels:
        said["labels"] = ",".join(labels[said["labels"]])
    ordered = tuple((name, said[name]) for name in NAMES if name in said)
    assert len(ordered) == len(said), written
    return HttpsFile(written["url"], written.get("sha256", ""), written.get("bin_sha256", ""), ordered)
