"""Settings: where values come from, what is refused, and that file and documentation tell the truth."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from bridge.errors import InvalidRequest
from bridge.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUBBRIDGE_CONFIG", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def plain(settings: Settings) -> dict[str, Any]:
    def value(item: Any) -> Any:
        return item.get_secret_value() if isinstance(item, SecretStr) else list(item) if type(item) is tuple else item

    return {
        name: {key: value(item) for key, item in section.items()} for name, section in settings.model_dump().items()
    }


def every_setting() -> list[tuple[str, str]]:
    return [(section, key) for section, values in plain(Settings()).items() for key in values]


def test_the_shipped_file_holds_every_setting_at_its_default() -> None:
    shipped = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    assert shipped == plain(Settings())
    assert load_settings(ROOT / "config.toml") == Settings()


def test_every_line_of_the_shipped_file_has_a_comment_above_it() -> None:
    lines = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()
    bare = [line for above, line in itertools.pairwise(lines) if " = " in line and not above.startswith("#")]
    assert [line for line in bare if not line.startswith("#")] == []


@pytest.mark.parametrize(("section", "key"), every_setting())
def test_the_documentation_lists_the_setting_with_its_variable_and_meaning(section: str, key: str) -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in page if line.startswith(f"| `{section}.{key}` |")]
    assert len(rows) == 1
    description = type(Settings.model_fields[section].default).model_fields[key].description
    assert f"`HUBBRIDGE_{section.upper()}__{key.upper()}`" in rows[0]
    assert description
    assert rows[0].endswith(f"| {description} |")


def test_the_documentation_lists_nothing_that_is_no_setting() -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8").splitlines()
    listed = [line.split("`")[1] for line in page if line.startswith("| `")]
    assert listed == [f"{section}.{key}" for section, key in every_setting()]


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "own.toml", "[server]\nport = 1\nhost = 'a'\njobs_at_once = 3\n")
    monkeypatch.setenv("HUBBRIDGE_SERVER__PORT", "2")
    monkeypatch.setenv("HUBBRIDGE_SERVER__HOST", "b")
    server = load_settings(file, server={"port": 3}).server
    assert (server.port, server.host, server.jobs_at_once, server.max_upload_mb) == (3, "b", 3, 2048)


def test_an_option_that_was_not_given_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBRIDGE_SERVER__PORT", "2")
    assert load_settings(server={"port": None}).server.port == 2


def test_only_the_first_file_that_there_is_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings() == Settings()
    write(tmp_path / "xdg/hubbridge/config.toml", "[server]\nport = 4\n")
    if sys.platform == "linux":
        assert load_settings().server.port == 4
    write(tmp_path / "config.toml", "[server]\nport = 3\n")
    assert load_settings().server.port == 3
    monkeypatch.setenv("HUBBRIDGE_CONFIG", str(write(tmp_path / "named.toml", "[server]\nport = 2\n")))
    assert load_settings().server.port == 2
    assert load_settings(write(tmp_path / "given.toml", "[server]\nport = 1\n")).server.port == 1


def test_a_list_in_the_environment_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBRIDGE_SERVER__SERVER_FOLDERS", "/data/a, /data/b")
    assert load_settings().server.server_folders == ("/data/a", "/data/b")


@pytest.mark.parametrize(
    ("text", "named", "hint"),
    [
        ("[job]\nread_ahead = 1", "[job] in", "Did you mean jobs?"),
        ("[jobs]\nread_ahed = 1", "jobs.read_ahed in", "Did you mean read_ahead?"),
        ("[jobs]\nport = 1", "jobs.port in", "Did you mean server.port?"),
        ("[zzz]\nx = 1", "[zzz] in", "There are: storage, models"),
        ("port = 1", "[port] in", "There are: storage"),
        ("jobs = 3", "jobs in", "Write [jobs] above it."),
        ("[jobs]\nread_ahead = 'many'", "jobs.read_ahead in", "Frames read"),
        ("[jobs]\nread_ahead = 0", "jobs.read_ahead in", "Frames read"),
        ("[jobs]\nfloor_score = nan", "jobs.floor_score in", "below this score"),
        ("[jobs]\nfloor_score = 1.5", "jobs.floor_score in", "below this score"),
        ("[server]\nport = 70000", "server.port in", "Port to listen"),
        ("[server]\nserver_folders = [1]", "server.server_folders in", "Folders"),
        ("[models]\nengine = 'gpu'", "models.engine in", "ONNX Runtime"),
        ("[models]\noffline = 'perhaps'", "models.offline in", "Never ask"),
        ("[huggingface]\nendpoint = 'hub'", "huggingface.endpoint in", "Base URL"),
        ("[logging]\nlevel = 3", "logging.level in", "severe"),
        ("[jobs", "is no TOML", "quotes"),
        ("[server]\nhost = a", "is no TOML", "quotes"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_that_names_file_and_setting(
    tmp_path: Path, text: str, named: str, hint: str
) -> None:
    file = write(tmp_path / "own.toml", text)
    with pytest.raises(InvalidRequest) as error:
        load_settings(file)
    assert named in error.value.message
    assert str(file) in error.value.message
    assert "\n" not in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("HUBBRIDGE_JOBS__READ_AHED", "1", "Did you mean read_ahead?"),
        ("HUBBRIDGE_JOB__READ_AHEAD", "1", "Did you mean HUBBRIDGE_JOBS__READ_AHEAD?"),
        ("HUBBRIDGE_JOBS_READ_AHEAD", "1", "Did you mean HUBBRIDGE_JOBS__READ_AHEAD?"),
        ("HUBBRIDGE_JOBS", '{"read_ahead": 1}', "Write HUBBRIDGE_JOBS__KEY"),
        ("HUBBRIDGE_JOBS__READ_AHEAD", "many", "Frames read"),
        ("HUBBRIDGE_SERVER__PORT", "tcp://10.0.0.1:80", "Port to listen"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidRequest) as error:
        load_settings()
    assert variable in error.value.message
    assert value not in error.value.message.replace(variable, "")
    assert hint in error.value.hint


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBRIDGE_PORT", "tcp://10.0.0.1:8090")
    monkeypatch.setenv("HUBBRIDGE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("HUBBRIDGE_SERVER_PORT", "tcp://10.0.0.1:8090")
    assert load_settings() == Settings()


def test_a_mistake_on_the_command_line_says_so() -> None:
    with pytest.raises(InvalidRequest, match=r"server\.port in the command line"):
        load_settings(server={"port": -1})
    with pytest.raises(InvalidRequest, match=r"\[servers\] in the command line"):
        load_settings(servers={"port": 1})


def test_a_missing_or_unreadable_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.toml cannot be read"):
        load_settings(tmp_path / "none.toml")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load_settings(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"[server]\nhost = '\xe9'\n")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        load_settings(tmp_path / "latin.toml")
    monkeypatch.setenv("HUBBRIDGE_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(InvalidRequest, match=r"gone\.toml cannot be read"):
        load_settings()


def test_no_secret_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBRIDGE_SECRETS__KEY", "sesame")
    monkeypatch.setenv("HUBBRIDGE_STORAGE__DATABASE_URL", "postgresql+asyncpg://me:sesame@db/hub")
    settings = load_settings()
    assert settings.secrets.key.get_secret_value() == "sesame"
    assert "sesame" not in f"{settings!r} {settings}"
    with pytest.raises(InvalidRequest) as error:
        load_settings(write(tmp_path / "own.toml", "[secrets]\nkey = ['sesame']\n"), secrets={"key": ["sesame"]})
    assert "sesame" not in error.value.message + error.value.hint


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().server.port = 1  # type: ignore[misc]


def test_empty_settings_stand_for_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert settings.huggingface.base_url == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    assert settings.huggingface.base_url == "http://127.0.0.1:9"
    assert load_settings(huggingface={"endpoint": "https://hub.example/"}).huggingface.base_url == "https://hub.example"
    assert settings.storage.folder.is_absolute()
    assert settings.storage.folder.name == "hubbridge"
    monkeypatch.setenv("HOME", str(tmp_path))
    own = load_settings(storage={"data_dir": "~/here"}).storage
    assert own.folder == tmp_path / "here"
    assert own.sqlalchemy_url == f"sqlite+aiosqlite:///{tmp_path}/here/hubbridge.db"
    assert load_settings(storage={"database_url": "postgresql+asyncpg://db/x"}).storage.sqlalchemy_url.endswith("db/x")


def test_importing_settings_and_secrets_loads_no_engine_and_no_cryptography() -> None:
    code = (
        "import sys, bridge.settings, bridge.secrets\n"
        "print([n for n in ('torch', 'onnxruntime', 'transformers', 'cryptography', 'sqlalchemy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("sqlite:////tmp/a.db", "sqlite+aiosqlite:////tmp/a.db"),
        ("postgresql://u@h/db", "postgresql+asyncpg://u@h/db"),
        ("postgres://u@h/db", "postgresql+asyncpg://u@h/db"),
        ("postgresql+asyncpg://u@h/db", "postgresql+asyncpg://u@h/db"),
    ],
)
def test_database_urls_are_taken_as_people_write_them(written: str, used: str) -> None:
    assert load_settings(storage={"database_url": written}).storage.sqlalchemy_url == used
