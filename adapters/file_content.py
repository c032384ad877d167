"""What a file of weights is by its first bytes, whatever its name says. A pickle can run code when it is read."""

from __future__ import annotations

from adapters.errors import BadOutput, Unsupported

HEAD_BYTES = 64
_ZIP, _PICKLE, _HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n"


def check_head(head: bytes, name: str, where: str) -> None:
    """Raises Unsupported where ``head`` begins a pickle or another format, BadOutput where it is text or nothing.

    A pickle of protocol 2 or later starts with 0x80, and torch saves one in a zip. An ONNX file starts with the field
    of its version, and an OpenVINO .xml with a bracket.
    """
    if head.startswith((_PICKLE, _ZIP)):
        raise Unsupported(
            f"{name} holds a pickle or a zip, whatever its name says, and a pickle can run code when it is read.",
            hint="Export the model to ONNX.",
        )
    if head.startswith(_HDF5):
        raise Unsupported(f"{name} is an HDF5 file of Keras, not ONNX.", hint="Export the model to ONNX.")
    text = head.lstrip().lower()
    is_xml = name.lower().endswith(".xml")
    if not head or (text.startswith((b"<!doctype", b"<html", b"{", b"version https://git-lfs")) and not is_xml):
        raise BadOutput(
            f"{where} answered a page or a note instead of {name}.",
            hint="Paste the address that the download itself has.",
        )
    if is_xml and not text.startswith((b"<?xml", b"<net")):
        raise BadOutput(f"{where} answered something that is no OpenVINO model as {name}.")
