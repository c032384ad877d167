"""The sections of the settings: each setting with its default and its limits."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

APP = "hubbridge"

ASYNC_DRIVERS = {  # the URLs that people write -> the drivers that we use
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}

Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def by_commas(value: object) -> object:
    """A list that the environment gives as text."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StorageSettings(Section):
    data_dir: str = Field(
        default="",
        description="Folder of database, frames, model files and key. Empty: the system's place for application data.",
    )
    database_url: str = Field(
        default="", repr=False, description="SQLAlchemy URL of the database. Empty: SQLite in data_dir."
    )

    @property
    def folder(self) -> Path:
        """``data_dir`` as an absolute path, with the system's place where it is empty."""
        return Path(self.data_dir or platformdirs.user_data_dir(APP, appauthor=False)).expanduser().absolute()

    @property
    def sqlalchemy_url(self) -> str:
        """``database_url``, or that of the SQLite file in ``folder``."""
        url = self.database_url or f"sqlite:///{self.folder / 'hubbridge.db'}"
        for scheme, driver in ASYNC_DRIVERS.items():
            if url.startswith(f"{scheme}:"):
                return url.replace(scheme, driver, 1)
        return url


class ModelsSettings(Section):
    keep_loaded: Positive = Field(
        default=2, description="Models held in memory at once; the one unused for longest makes room."
    )
    unload_after_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = Field(
        default=900.0, description="A model that nobody has used for so long leaves memory, in seconds. 0: never."
    )
    embeddings_mb: Positive = Field(
        default=512, description="Memory for what segmenters such as SAM have understood of frames, in MB."
    )
    max_weights_mb: Positive = Field(default=4096, description="Larger models are refused, in MB of weights.")
    engine: Literal["auto", "onnxruntime", "transformers", "openvino"] = Field(
        default="auto",
        description="What runs local models: auto takes ONNX Runtime where the model ships ONNX, else transformers, "
        "and OpenVINO in their place as openvino says.",
    )
    openvino: bool = Field(
        default=True,
        description="auto takes OpenVINO where it is installed, answers as the model's own engine does, and is faster.",
    )
    precision: Literal["full", "fast"] = Field(
        default="full",
        description="full: f32. fast: half precision where the processor or GPU has it and is faster by it; "
        "answers differ a little.",
    )
    offline: bool = Field(default=False, description="Never ask a hub or a hosted model; use what is on this machine.")


class HuggingFaceSettings(Section):
    endpoint: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Base URL of the hub. Empty: HF_ENDPOINT, or https://huggingface.co.",
    )
    router: str = Field(
        default="https://router.huggingface.co",
        pattern=r"^https?://\S+$",
        description="Base URL of hosted inference; its models stand below /hf-inference/models/.",
    )

    @property
    def base_url(self) -> str:
        """The hub to ask, without a slash at the end."""
        return (self.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")

    @property
    def host(self) -> str:
        """``host`` or ``host:port`` of that hub, as tokens are kept for it."""
        return self.base_url.partition("//")[2].partition("/")[0]


class RoboflowSettings(Section):
    api: str = Field(
        default="https://api.roboflow.com",
        pattern=r"^https?://\S+$",
        description="Base URL that workspaces, projects and versions are looked up at.",
    )
    inference: str = Field(
        default="https://serverless.roboflow.com",
        pattern=r"^https?://\S+$",
        description="Base URL that predicts; an older one is https://detect.roboflow.com.",
    )


class LabelStudioSettings(Section):
    url: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Base URL of Label Studio, which is trusted. Empty: LABEL_STUDIO_URL, or what Label Studio says of "
        "itself where that is public or an allowed host.",
    )
    answer_within_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=90.0,
        description="A request for predictions that takes longer becomes a job, in seconds. Label Studio gives up "
        "after its ML_TIMEOUT_PREDICT, which is 100.",
    )
    downloads: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16, description="Images that are fetched at the same time."
    )
    max_request_mb: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64,
        description="A larger request for predictions is refused: it holds every task of the project with its "
        "annotations and predictions, and takes some four times its size of memory for a moment.",
    )

    @property
    def base_url(self) -> str:
        """The server that the operator means, without a slash at the end; empty where none is named."""
        return (self.url or os.environ.get("LABEL_STUDIO_URL") or "").rstrip("/")


class NetworkSettings(Section):
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts (host or host:port) that models may be on though their address is private or they speak "
        "plain http; stored default keys are sent to them (in the environment: by commas).",
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return by_commas(value)


class JobsSettings(Section):
    floor_score: Fraction = Field(default=0.05, description="Detections below this score are not kept at all.")
    max_detections: Positive = Field(default=300, description="Detections kept of one frame, best first.")
    batch_size: Annotated[int, Field(ge=0, le=4096)] = Field(
        default=0, description="Frames in one call of a model. 0: the model's own."
    )
    read_ahead: Positive = Field(default=32, description="Frames read and decoded before the model asks for them.")
    lease_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=30.0, description="A running job whose process gave no sign for so long may be taken over, in seconds."
    )
    max_failure_rate: Fraction = Field(
        default=0.5, description="A job fails when more than this share of its frames failed."
    )
    patience_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=120.0,
        description="How long a job waits for a host that cannot be reached or is loading the model, in seconds.",
    )
    commit_frames: Positive = Field(
        default=256, description="Frames whose results are stored in one transaction, at most."
    )
    commit_ms: Positive = Field(
        default=200, description="Results wait no longer than this to be stored, in milliseconds."
    )
    queued_per_client: Positive = Field(
        default=100, description="Queued jobs of one client of the server (a token, or an address without one)."
    )


class ImagesSettings(Section):
    max_pixels: Positive = Field(
        default=178_956_970,
        description="Images of more pixels are refused (the default is twice Pillow's warning limit).",
    )
    max_file_mb: Positive = Field(default=200, description="Larger image files are refused, in MB.")
    max_task_frames: Positive = Field(default=1_000_000, description="A task takes no more frames than so many.")


class VideosSettings(Section):
    max_file_mb: Positive = Field(default=65_536, description="Larger video files are refused, in MB.")
    max_frames: Positive = Field(default=500_000, description="Videos of which more frames are wanted are refused.")
    max_seconds: Positive = Field(
        default=1800, description="Videos that take longer to be looked through are refused, in seconds."
    )


class ArchivesSettings(Section):
    max_files: Positive = Field(default=200_000, description="Archives of more files are refused.")
    max_total_mb: Positive = Field(default=20_000, description="Archives that unpack to more are refused, in MB.")
    max_annotations_mb: Positive = Field(
        default=512,
        description="Larger annotation files are refused over the network, in MB; they are read whole.",
    )


class ServerSettings(Section):
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen at. 127.0.0.1: this machine only."
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8090, description="Port to listen at. 0: any free one."
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/?#@]+/?)?$",
        description="Where people reach this server through a proxy, such as https://hub.example.com. With https, "
        "cookies are sent over TLS only. Empty: as the requests say.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For is believed (in the environment: by "
        "commas).",
    )
    requests_per_client: Positive = Field(
        default=200,
        description="Requests of one client (a token, or an address without one) at work at the same time; more hear "
        "429. The server takes 400 of all clients.",
    )
    jobs_at_once: Positive = Field(default=1, description="Annotation jobs that run at the same time.")
    max_upload_mb: Positive = Field(default=2048, description="Larger uploads are refused, in MB.")
    server_folders: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Folders here that tasks may be made from over the network (in the environment: by commas).",
    )

    @field_validator("server_folders", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return by_commas(value)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ipaddress.ip_network(each, strict=False)  # a ValueError that says what is wrong
        return value


class AuthSettings(Section):
    mode: Literal["auto", "required", "open"] = Field(
        default="auto",
        description="Who must show a token. auto: everybody, except on the loopback interface until the first token is "
        "made; required: everybody; open: nobody, and only the loopback interface is served.",
    )
    session_hours: Annotated[float, Field(gt=0, le=8760)] = Field(
        default=168.0, description="A browser has to log in again after so many hours."
    )


class CvatSettings(Section):
    url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Base URL of CVAT, for which CVAT_ACCESS_TOKEN is meant. Empty: CVAT_URL, or none.",
    )
    settle_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=30.0,
        description="How long a request to CVAT without an answer may be at work there, before it is sent again.",
    )
    listen: str = Field(
        default="",
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}$|^$",
        description="Where a self-hosted CVAT finds the models, as host:port. Empty: nowhere; --cvat: 127.0.0.1:8070.",
    )
    user: str = Field(
        default="cvat", min_length=1, pattern=r"^[^:\s]+$", description="User name that CVAT sends (HTTP Basic)."
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="Password that CVAT sends. Empty: a token, or nothing as long as the service stands open.",
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=120.0,
        description="How long CVAT waits for an answer where it does not say: its CVAT_NUCLIO_DEFAULT_TIMEOUT.",
    )
    score_attribute: str = Field(
        default="", max_length=64, description="Text attribute in which CVAT gets each score. Empty: none."
    )
    direct_ports: str = Field(
        default="",
        pattern=r"^(\d{1,5}-\d{1,5})?$",
        description="Ports for CVAT's invoke method direct, such as 8100-8199: one for each model. Empty: none.",
    )
    direct_peers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks of other machines that may use direct_ports, where CVAT sends no password "
        "(in the environment: by commas).",
    )

    @field_validator("direct_peers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return by_commas(value)

    @property
    def base_url(self) -> str:
        """CVAT's own address, without a slash at the end; empty where it is not known."""
        return (self.url or os.environ.get("CVAT_URL") or "").rstrip("/")


class SecretsSettings(Section):
    key: SecretStr = Field(
        default=SecretStr(""),
        description="Fernet keys of stored tokens, by commas; the first encrypts. Empty: secret.key in data_dir.",
    )


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="warning", description="Least severe messages to write."
    )
    format: Literal["console", "json"] = Field(default="console", description="console for people, json for machines.")
