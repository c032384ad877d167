"""Secrets at rest: only the key's holder reads them, one key wins a race, and nothing unsafe is used."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from bridge.secrets import SecretBox, SecretsError
from bridge.settings import load_settings

TOKEN = SecretStr("hf_a-token-that-nobody-may-see")
ROOT = Path(__file__).parents[3]


def new_key() -> str:
    return Fernet.generate_key().decode()


def box(tmp_path: Path, key: str = "") -> SecretBox:
    return SecretBox(SecretStr(key), tmp_path / "data" / "secret.key")


def test_a_secret_comes_back_and_cannot_be_read_in_between(tmp_path: Path) -> None:
    secrets = box(tmp_path)
    stored = secrets.encrypt(TOKEN)
    assert TOKEN.get_secret_value().encode() not in stored
    assert secrets.decrypt(stored) == TOKEN
    assert box(tmp_path).decrypt(stored) == TOKEN  # another process, later
    assert "nobody" not in f"{secrets.decrypt(stored)} {secrets.decrypt(stored)!r} {secrets!r}"


def test_the_key_file_is_made_at_first_need_for_its_owner_only(tmp_path: Path) -> None:
    secrets = box(tmp_path)
    assert not (tmp_path / "data").exists()
    secrets.encrypt(TOKEN)
    file = tmp_path / "data" / "secret.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["secret.key"]


def test_a_given_key_needs_no_file(tmp_path: Path) -> None:
    key = new_key()
    assert box(tmp_path, key).decrypt(box(tmp_path, key).encrypt(TOKEN)) == TOKEN
    assert not (tmp_path / "data").exists()


def test_settings_say_where_the_key_is(tmp_path: Path) -> None:
    SecretBox.from_settings(load_settings(storage={"data_dir": str(tmp_path)})).encrypt(TOKEN)
    assert (tmp_path / "secret.key").is_file()
    key = new_key()
    settings = load_settings(storage={"data_dir": str(tmp_path)}, secrets={"key": key})
    assert box(tmp_path, key).decrypt(SecretBox.from_settings(settings).encrypt(TOKEN)) == TOKEN


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    box(tmp_path).encrypt(TOKEN)
    file = tmp_path / "data" / "secret.key"
    key = file.read_text().strip()
    file.chmod(mode)
    with pytest.raises(SecretsError, match="open to other users") as error:
        box(tmp_path).encrypt(TOKEN)
    assert error.value.hint == f"Run: chmod 600 {file}"
    assert key not in error.value.message + error.value.hint


def test_another_key_and_a_changed_token_are_refused(tmp_path: Path) -> None:
    stored = box(tmp_path, new_key()).encrypt(TOKEN)
    for wrong in (box(tmp_path, new_key()), box(tmp_path)):
        with pytest.raises(SecretsError, match="another key"):
            wrong.decrypt(stored)
        with pytest.raises(SecretsError, match="another key"):
            wrong.rotate(stored)
    secrets = box(tmp_path)
    changed = bytearray(secrets.encrypt(TOKEN))
    changed[20] ^= 1
    with pytest.raises(SecretsError):
        secrets.decrypt(bytes(changed))


NO_KEYS = {"word": "sesame", "long": "s" * 44, "not-ascii": "schlüssel", "second": f"{new_key()},sesame", "comma": ","}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(SecretsError, match="HUBBRIDGE_SECRETS__KEY holds no Fernet key") as error:
        box(tmp_path, key).encrypt(TOKEN)
    assert key == "," or key not in error.value.message + error.value.hint


def test_a_damaged_key_file_is_named_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret.key"
    file.parent.mkdir()
    file.touch(mode=0o600)
    with pytest.raises(SecretsError, match=r"secret\.key holds no Fernet key"):
        box(tmp_path).encrypt(TOKEN)
    assert file.read_bytes() == b""


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(SecretsError, match="cannot be used"):
        box(tmp_path).encrypt(TOKEN)


def test_rotation_decrypts_with_all_keys_and_encrypts_with_the_first(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    stored = box(tmp_path, old).encrypt(TOKEN)
    both = box(tmp_path, f"{new}, {old}")
    assert both.decrypt(stored) == TOKEN
    for fresh in (both.rotate(stored), both.encrypt(TOKEN)):
        assert box(tmp_path, new).decrypt(fresh) == TOKEN
        with pytest.raises(SecretsError):
            box(tmp_path, old).decrypt(fresh)


def test_of_processes_that_make_the_key_at_once_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret.key"
    code = (
        "import sys, pathlib\n"
        "import cryptography.fernet\n"
        "from bridge.secrets import _make_key, read_or_make_key\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "_make_key(file)\n"  # as if each had found no file
        "print(read_or_make_key(file))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(3)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert keys == {file.read_text().strip()}
    assert [path.name for path in file.parent.iterdir()] == ["secret.key"]
