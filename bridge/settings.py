"""Every setting of the service: its default, its limits, and where its value comes from.

An explicit keyword (the command line) counts before the environment (``HUBBRIDGE_SECTION__KEY``), and that before the
file. ``config.toml`` at the repository's root shows every setting at its default, and a test keeps the two alike.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bridge.errors import InvalidRequest
from bridge.settings_sections import (
    APP,
    ArchivesSettings,
    AuthSettings,
    CvatSettings,
    HuggingFaceSettings,
    ImagesSettings,
    JobsSettings,
    LabelStudioSettings,
    LoggingSettings,
    ModelsSettings,
    NetworkSettings,
    RoboflowSettings,
    SecretsSettings,
    ServerSettings,
    StorageSettings,
    VideosSettings,
)

PREFIX = "HUBBRIDGE_"
CONFIG_VARIABLE = "HUBBRIDGE_CONFIG"
FILE_NAME = "config.toml"


class Settings(BaseSettings):
    """All sections. Build it by ``load_settings``, whose errors name the setting and where its value stood."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__")

    storage: StorageSettings = StorageSettings()
    models: ModelsSettings = ModelsSettings()
    huggingface: HuggingFaceSettings = HuggingFaceSettings()
    roboflow: RoboflowSettings = RoboflowSettings()
    label_studio: LabelStudioSettings = LabelStudioSettings()
    network: NetworkSettings = NetworkSettings()
    jobs: JobsSettings = JobsSettings()
    images: ImagesSettings = ImagesSettings()
    videos: VideosSettings = VideosSettings()
    archives: ArchivesSettings = ArchivesSettings()
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    cvat: CvatSettings = CvatSettings()
    secrets: SecretsSettings = SecretsSettings()
    logging: LoggingSettings = LoggingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``load_settings`` has merged: it must know of each value where it came from."""
        return (init_settings,)


def load_settings(path: Path | None = None, **overrides: Mapping[str, Any]) -> Settings:
    """The settings in force.

    path        the file that the user named; None: that of ``find_file``
    overrides   section -> its settings, as the command line gives them; a value of None is not given

    Raises InvalidRequest for a file that is missing or no TOML, an unknown section or key (with the nearest one) and
    a value of the wrong type or size; the message names setting and place, and never the value.
    """
    found = path if path is not None else find_file()
    given = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in overrides.items()
    }
    from_file = _read(found) if found is not None else {}
    places = (
        ("the command line", given),
        ("the environment", _environment()),
        (str(found), from_file),
    )
    merged: dict[str, dict[str, Any]] = {}
    for place, sections in reversed(places):
        for section, values in sections.items():
            _check_names(place, section, values)
            merged.setdefault(section, {}).update(values)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _invalid(error.errors(include_input=False, include_url=False)[0], places) from None


def find_file() -> Path | None:
    """``HUBBRIDGE_CONFIG``, else ./config.toml, else config.toml in the user's configuration folder; None without."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser()
    usual = (Path(FILE_NAME), Path(platformdirs.user_config_dir(APP, appauthor=False)) / FILE_NAME)
    return next((path for path in usual if path.is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise InvalidRequest(
            f"The configuration file {path} cannot be read: {reason}.",
            hint=f"Check --config and {CONFIG_VARIABLE}.",
        ) from None
    except ValueError as error:  # TOML's and UTF-8's
        where = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else "; it is not UTF-8 text"
        raise InvalidRequest(f"{path} is no TOML{where}.", hint='Text stands in quotes: name = "value".') from None


def _environment() -> dict[str, Any]:
    """What the environment gives, by section. An unknown section is an error here, which the library would ignore."""
    for variable, value in sorted(os.environ.items()):
        name = variable.upper()
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        settings = {_variable(*setting): setting for setting in _all_settings()}
        if not separator:
            # Kubernetes sets HUBBRIDGE_PORT and the like for a service of our name: those are not meant for us.
            meant = [known for known in settings if known.replace("__", "_") == name]
            if (meant or section in Settings.model_fields) and not value.startswith("tcp://"):
                hint = f"Did you mean {meant[0]}?" if meant else f"Write {name}__KEY for one setting of [{section}]."
                raise InvalidRequest(f"The environment variable {variable} is no setting.", hint=hint)
        elif section not in Settings.model_fields:
            raise InvalidRequest(f"The environment variable {variable} is no setting.", hint=_nearest(name, settings))
        else:
            _check_names(f"the environment variable {variable}", section, {key: None})
    return EnvSettingsSource(Settings)()


def _check_names(place: str, section: str, values: object) -> None:
    if section not in Settings.model_fields:
        raise InvalidRequest(f"[{section}] in {place} is no section.", hint=_nearest(section, Settings.model_fields))
    if not isinstance(values, Mapping):
        raise InvalidRequest(f"{section} in {place} is a section, not a setting.", hint=f"Write [{section}] above it.")
    known = [key for name, key in _all_settings() if name == section]
    for key in values:
        if key not in known:
            elsewhere = [f"{name}.{other}" for name, other in _all_settings() if other == key]
            hint = f"Did you mean {elsewhere[0]}?" if elsewhere else _nearest(key, known)
            raise InvalidRequest(f"{section}.{key} in {place} is no setting.", hint=hint)


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known)}."


def _invalid(error: ErrorDetails, places: tuple[tuple[str, Mapping[str, Any]], ...]) -> InvalidRequest:
    section, key, *_ = (*(str(part) for part in error["loc"]), "", "")
    place = next((name for name, sections in places if key in sections.get(section, {})), "the settings")
    if place == "the environment":
        place = f"the environment variable {_variable(section, key)}"
    reason = error["msg"].removeprefix("Input ").partition(", unable to")[0]
    field = type(Settings.model_fields[section].default).model_fields[key]
    return InvalidRequest(f"{section}.{key} in {place} {reason}.", hint=f"{section}.{key}: {field.description}")


def _all_settings() -> list[tuple[str, str]]:
    return [
        (section, key) for section, field in Settings.model_fields.items() for key in type(field.default).model_fields
    ]


def _variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}__{key}".upper()
