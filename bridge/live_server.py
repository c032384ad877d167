"""How commands learn that a server is at work on their data: ``server.json`` in the data folder.

On one machine its process is looked for. Another machine or container cannot see that process: there the note counts
as long as the server touches it, which it does all the time.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from bridge.owner import is_dead, is_here, owner_here
from bridge.settings import Settings

FILE_NAME = "server.json"
STALE_S = 60.0  # of a server elsewhere that has not touched its note: its machine is gone, and so is it


def announce_server(settings: Settings, url: str) -> None:
    """Note that this process serves at ``url``; a note that another one left is replaced."""
    path = _path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pending = path.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
    pending.write_text(json.dumps({"owner": owner_here(), "url": url}))
    pending.replace(path)


def keep_announced(settings: Settings, url: str) -> None:
    """To be called again and again: the note is touched, and made anew where another server's has gone."""
    found = _read(settings)
    if found is not None and found[0] == owner_here():
        with suppress(FileNotFoundError):
            os.utime(_path(settings))
    elif live_server(settings) is None:
        announce_server(settings, url)


def withdraw_server(settings: Settings) -> None:
    """Take the note away where it is this process's own."""
    found = _read(settings)
    if found is not None and found[0] == owner_here():
        with suppress(FileNotFoundError):
            _path(settings).unlink()


def live_server(settings: Settings) -> str | None:
    """The URL of a server that lives and works on the same data; None without one."""
    found = _read(settings)
    if found is None or is_dead(found[0]) or (not is_here(found[0]) and _is_stale(settings)):
        return None
    return found[1]


def _is_stale(settings: Settings) -> bool:
    try:
        return time.time() - _path(settings).stat().st_mtime > STALE_S
    except OSError:
        return True


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
