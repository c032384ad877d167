"""What a file of weights is by its first bytes, whatever its name says. A pickle can run code when it is read."""

from __future__ import annotations

from adapters.errors import BadOutput, Unsupported

HEAD_BYTES = 64
PICKLE = b"\x80"  # of protocols 2 to 5
# The beginnings of what can hold or run code when it is read.
_FOREIGN = (
    (PICKLE, "a pickle"),
    (b"PK\x03\x04", "a zip, as PyTorch packs its pickles"),
    (b"PK\x05\x06", "a zip"),
    (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras saves"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"\x1f\x8b", "packed"),
    (b"7z\xbc\xaf\x27\x1c", "packed"),
    (b"\xfd7zXZ", "packed"),
    (b"BZh", "packed"),
    (b"\x28\xb5\x2f\xfd", "packed"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a program"),
)


def foreign(head: bytes) -> str:
    """What a file is that begins with these bytes, where no file of weights does; empty where it may be one."""
    return next((what for start, what in _FOREIGN if head.startswith(start)), "")


def check_head(head: bytes, name: str, where: str) -> None:
    """Raises Unsupported where ``head`` begins a pickle or another format, BadOutput where it is text or nothing.

    An ONNX file starts with the field of its version, and an OpenVINO .xml with a bracket.
    """
    if what := foreign(head):
        raise Unsupported(
            f"{name} is {what}, whatever its name says, and what is no file of weights can run code when it is read.",
            hint="Export the model to ONNX.",
        )
    text = head.lstrip().lower()
    is_xml = name.lower().endswith(".xml")
    if not head or (text.startswith((b"<!doctype", b"<html", b"{", b"version https://git-lfs")) and not is_xml):
        raise BadOutput(
            f"{where} answered a page or a note instead of {name}.",
            hint="Paste the address that the download itself has.",
        )
    if is_xml and not text.startswith((b"<?xml", b"<net")):
        raise BadOutput(f"{where} answered something that is no OpenVINO model as {name}.")
