"""Tokens at rest: encrypted with Fernet under a key that stands in the settings or in a file of mode 0600."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from bridge.errors import BridgeError
from bridge.settings import Settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_FILE = "secret.key"
KEY_SETTING = "HUBBRIDGE_SECRETS__KEY"


class SecretsError(BridgeError):
    """The key that protects stored tokens is missing, unsafe or another one."""

    status, code = 500, "secrets_unavailable"


class SecretBox:
    """Encrypts and decrypts the secrets of connections. The key is read, or made, at the first use.

    key    Fernet keys (url-safe base64 of 32 bytes), separated by commas: the first encrypts, all decrypt. So a key
           is changed by putting the new one in front, ``rotate`` on every stored token, and dropping the old one.
    file   where the key stands when ``key`` is empty; made with mode 0600 when it is missing.
    """

    def __init__(self, key: SecretStr, file: Path) -> None:
        self._key = key
        self._file = file
        self._fernet: MultiFernet | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> SecretBox:
        return cls(settings.secrets.key, settings.storage.folder / KEY_FILE)

    def encrypt(self, secret: SecretStr) -> bytes:
        """ASCII bytes that only a holder of the key can read. Raises SecretsError."""
        return self._open().encrypt(secret.get_secret_value().encode())

    def decrypt(self, token: bytes) -> SecretStr:
        """What ``encrypt`` was given. Raises SecretsError where the key is another one or the token was changed."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  (30 ms that few commands need)

        try:
            return SecretStr(self._open().decrypt(token).decode())
        except InvalidToken:
            raise self._wrong_key() from None

    def rotate(self, token: bytes) -> bytes:
        """The same secret under the first key. Raises SecretsError."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            return self._open().rotate(token)
        except InvalidToken:
            raise self._wrong_key() from None

    def _open(self) -> MultiFernet:
        if self._fernet is None:
            from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415

            given = self._key.get_secret_value().strip()
            place = KEY_SETTING if given else str(self._file)
            keys = [part.strip() for part in (given or read_or_make_key(self._file)).split(",") if part.strip()]
            try:
                self._fernet = MultiFernet([Fernet(key) for key in keys])
            except ValueError:
                raise SecretsError(
                    f"{place} holds no Fernet key (url-safe base64 of 32 bytes).",
                    hint="Restore the key that the tokens were stored with, or remove it and add the connections anew.",
                ) from None
        return self._fernet

    def _wrong_key(self) -> SecretsError:
        return SecretsError(
            "A stored token cannot be decrypted: it was stored under another key.",
            hint=f"Restore {self._file} or {KEY_SETTING} as it was, or add the connection anew.",
        )


def read_or_make_key(file: Path) -> str:
    """The key in ``file``; made there when it is missing, and of processes that do so at once the first one's counts.

    Raises SecretsError where the file can be read by others, cannot be read, or cannot be made.
    """
    try:
        if not file.exists():
            _make_key(file)
        return _read_key(file)
    except OSError as error:
        raise SecretsError(
            f"The key file {file} cannot be used: {error.strerror or type(error).__name__}.",
            hint=f"Make its folder writable, or set {KEY_SETTING}.",
        ) from None


def _read_key(file: Path) -> str:
    with file.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode  # of the file that is read, not of one put in its place
        # Windows keeps access in lists of its own; the mode says nothing there.
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise SecretsError(
                f"The key file {file} is open to other users (mode {stat.S_IMODE(mode):04o}).",
                hint=f"Run: chmod 600 {file}",
            )
        return opened.read(4096).decode("ascii", "replace").strip()


def _make_key(file: Path) -> None:
    """Write a whole key beside ``file`` and link it into place: a link, unlike a rename, never replaces another's."""
    from cryptography.fernet import Fernet  # noqa: PLC0415

    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(Fernet.generate_key() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()
