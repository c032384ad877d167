"""How commands on this machine learn that a server is at work on their data: ``server.json`` in the data folder."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path

from bridge.owner import is_dead, owner_here
from bridge.settings import Settings

FILE_NAME = "server.json"


def announce_server(settings: Settings, url: str) -> None:
    """Note that this process serves at ``url``; a note that another one left is replaced."""
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
    pending.write_text(json.dumps({"owner": owner_here(), "url": url}))
    pending.replace(path)


def withdraw_server(settings: Settings) -> None:
    """Take the note away where it is this process's own."""
    found = _read(settings)
    if found is not None and found[0] == owner_here():
        with suppress(FileNotFoundError):
            _path(settings).unlink()


def live_server(settings: Settings) -> str | None:
    """The URL of a server that lives and works on the same data; None without one."""
    found = _read(settings)
    return None if found is None or is_dead(found[0]) else found[1]


def _path(settings: Settings) -> Path:
    return settings.storage.folder / FILE_NAME


def _read(settings: Settings) -> tuple[str, str] | None:
    """(owner, url), or None where there is no whole note."""
    try:
        note = json.loads(_path(settings).read_text())
        owner, url = note["owner"], note["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = isinstance(owner, str) and isinstance(url, str) and owner.count("/") >= 2
    return (owner, url) if known else None
