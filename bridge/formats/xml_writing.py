"""XML, out: indented elements, written as they come, without the characters that XML cannot hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import TextIOBase
from typing import IO, cast
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl


class Xml:
    """``indent``: how deep the first element stands."""

    def __init__(self, out: IO[str], indent: int = 0) -> None:
        self._generator = XMLGenerator(cast(TextIOBase, out), "utf-8", short_empty_elements=True)
        self._depth = indent

    def element(self, name: str, attributes: Mapping[str, str] | None = None) -> _Element:
        return _Element(self, name, attributes or {})

    def text(self, name: str, content: str | None, attributes: Mapping[str, str] | None = None) -> None:
        self._pad()
        self._generator.startElement(name, _clean_all(attributes or {}))
        if content:
            self._generator.characters(clean(content))
        self._generator.endElement(name)
        self._generator.ignorableWhitespace("\n")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._pad()
        self._generator.startElement(name, _clean_all(attributes))
        self._generator.ignorableWhitespace("\n")
        self._depth += 1

    def end(self, name: str) -> None:
        self._depth -= 1
        self._pad()
        self._generator.endElement(name)
        self._generator.ignorableWhitespace("\n")

    def _pad(self) -> None:
        self._generator.ignorableWhitespace("  " * self._depth)


class _Element:
    def __init__(self, xml: Xml, name: str, attributes: Mapping[str, str]) -> None:
        self._xml, self._name, self._attributes = xml, name, attributes

    def __enter__(self) -> None:
        self._xml.start(self._name, self._attributes)

    def __exit__(self, *_: object) -> None:
        self._xml.end(self._name)


_ILLEGAL = re.compile("[^\\t\\n\\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not a Char of XML 1.0, section 2.2


def clean(text: str) -> str:
    """Without the characters that XML cannot hold at all."""
    return _ILLEGAL.sub("", text)


def _clean_all(attributes: Mapping[str, str]) -> AttributesImpl[str]:
    return AttributesImpl({key: clean(value) for key, value in attributes.items()})
