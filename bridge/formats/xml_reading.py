"""XML, in: as a stream, without document types (so there are no entities to expand), and never deep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import ParseError, XMLParser

from bridge.errors import InvalidRequest

MAX_SIDE = 1_000_000
MAX_DEPTH = 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class Wrong(Exception):
    """What is wrong, without saying where."""


class Node:
    """An element as a small tree; what is missing or no number in it is Wrong."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Node] = []
        self.texts: list[str] = []

    def all(self, tag: str) -> list[Node]:
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> Node:
        found = self.all(tag)
        if not found:
            raise Wrong(f"a <{self.tag}> has no <{tag}>")
        return found[0]

    @property
    def text(self) -> str:
        return "".join(self.texts).strip()

    def text_of(self, tag: str) -> str:
        return "".join(child.text for child in self.all(tag)[:1])

    def need(self, key: str) -> str:
        try:
            return self.attributes[key]
        except KeyError:
            raise Wrong(f"a <{self.tag}> has no {key}") from None

    def numbers(self, *keys: str) -> tuple[float, ...]:
        return tuple(self.number(self.need(key), key) for key in keys)

    def whole(self, key: str, *, least: int = 0, most: int = MAX_SIDE) -> int:
        value = self.number(self.need(key), key)
        if not value.is_integer() or not least <= value <= most:
            raise Wrong(f"a <{self.tag}> has a {key} that is no whole number from {least} to {most}")
        return int(value)

    def pairs(self, key: str, least: int) -> tuple[float, ...]:
        flat: list[float] = []
        for pair in self.need(key).split(";"):
            values = pair.split(",")
            if len(values) != 2:
                raise Wrong(f"a <{self.tag}> has points that are not written as x,y;x,y")
            flat += [self.number(value, key) for value in values]
        if len(flat) < 2 * least:
            raise Wrong(f"a <{self.tag}> has fewer than {least} points")
        return tuple(flat)

    def number(self, text: str, key: str) -> float:
        stripped = text.strip()
        value = float(stripped) if _NUMBER.fullmatch(stripped) else float("nan")
        if not -1e9 < value < 1e9:
            raise Wrong(f"a <{self.tag}> has a {key} that is no finite number")
        return value


class Trees:
    """Receives a parser's events and hands over the elements that are ``wanted``, each as a tree, when they end.

    path    the names of the elements that are open, the root first
    """

    def __init__(self, root: str, wanted: Callable[[list[str]], bool], found: Callable[[Node], None]) -> None:
        self.path: list[str] = []
        self.open: Node | None = None
        self._root, self._wanted, self._found = root, wanted, found
        self._tree: list[Node] = []

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise Wrong("it declares a document type, which annotations never do")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.path and tag != self._root:
            raise Wrong(f"it begins with <{tag[:40]}>, not <{self._root}>")
        if len(self.path) > MAX_DEPTH:
            raise Wrong("its elements are nested too deeply")
        self.path.append(tag)
        if self._tree or self._wanted(self.path):
            node = Node(tag, attributes)
            if self._tree:
                self._tree[-1].children.append(node)
            else:
                self.open = node
            self._tree.append(node)

    def data(self, text: str) -> None:
        if self._tree:
            self._tree[-1].texts.append(text)

    def end(self, tag: str) -> None:
        self.path.pop()
        if not self._tree:
            return
        node = self._tree.pop()
        if not self._tree:
            self._found(node)
            self.open = None

    def close(self) -> None:
        return None


def parse_file(path: Path, trees: Trees, hint: str, where: Callable[[], str] = str) -> None:
    """Feed a file to ``trees``. Raises InvalidRequest; ``where`` tells what of the file was at hand."""
    try:
        with path.open("rb") as file:
            parse_stream(file, path.name, trees, hint, where)
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror or error}.") from error


def parse_stream(file: IO[bytes], name: str, trees: Trees, hint: str, where: Callable[[], str] = str) -> None:
    parser = XMLParser(target=trees)  # noqa: S314  (no document type, so no entities)
    try:
        while block := file.read(1 << 18):
            parser.feed(block)
        parser.close()
    except ParseError as error:
        raise InvalidRequest(f"{name} is not whole XML: {error.msg}.", hint=hint) from error
    except (ValueError, LookupError) as error:  # an encoding that is unknown, or of several bytes
        raise InvalidRequest(f"{name} is in an encoding that cannot be read.", hint=hint) from error
    except Wrong as wrong:
        raise InvalidRequest(f"{name}{where()}: {wrong}.", hint=hint) from wrong
