"""Which files callers may name: those below [server] server_folders, wherever links lead."""

from __future__ import annotations

from pathlib import Path

from adapters.errors import PredictorError
from adapters.references import parse_reference
from adapters.references.cascade import REGISTERED, Cascade
from adapters.references.kinds import LocalFile, LocalFolder, Reference
from bridge.catalogue import expanded
from bridge.errors import Forbidden, InvalidRequest
from bridge.settings import Settings


def allowed_roots(settings: Settings) -> list[Path]:
    """The folders of [server] server_folders, as they really are."""
    return [Path(root).expanduser().resolve() for root in settings.server.server_folders]


def allowed_path(text: str, settings: Settings) -> Path:
    """The real path that ``text`` names. Raises InvalidRequest, or Forbidden where it is not below an allowed folder.

    Whether something exists outside of the allowed folders is not said. Blocks.
    """
    path = Path(text)
    if not path.is_absolute():
        raise InvalidRequest(f"{text[:200]!r} is no absolute path.", hint="Paths on the server begin with /.")
    try:
        real = path.resolve()
        roots = allowed_roots(settings)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidRequest(f"{text[:200]!r} is no path.") from error
    if not any(real == root or root in real.parents for root in roots):
        raise Forbidden(
            f"{text[:200]} lies outside the folders that may be used over the network.",
            hint="The operator lists them in [server] server_folders; files can also be uploaded.",
            code="folder_not_allowed",
        )
    if not real.exists():
        raise InvalidRequest(f"There is no file or folder {text[:200]}.", hint="Check the path.")
    return real


def check_reference(text: str, settings: Settings) -> None:
    """Raises Forbidden where a reference names files of the server that callers may not use. Blocks."""
    for reference in _named(text):
        if isinstance(reference, LocalFolder | LocalFile):
            allowed_path(str(Path(reference.path).expanduser().absolute()), settings)


def _named(text: str) -> list[Reference]:
    """The reference, or the parts of a cascade; nothing where it cannot be read, of which the registry says why."""
    try:
        reference = parse_reference(expanded(text)).reference
    except PredictorError:
        return []
    if not isinstance(reference, Cascade):
        return [reference]
    return [each for part in reference.models if not part.startswith(REGISTERED) for each in _named(part)]
