"""What the Hugging Face Hub's client raises -> our errors, each case in a sentence of its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from adapters.errors import AccessDenied, BadOutput, ModelNotFound, PredictorError, RateLimited, Unavailable

# The base class of whichever httpx the hub's client was built with, which differs between its versions.
_TransportError: type[Exception] = HfHubHTTPError.__bases__[0]

_CONNECT = "Add a token with `hubbridge connection add huggingface`, or set HF_TOKEN."


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for when the error came; ``path`` is empty where it was the model itself."""

    endpoint: str
    with_token: bool
    repo_id: str
    revision: str | None
    path: str = ""


def translate_hub_error(error: Exception, asked: Asked) -> PredictorError:  # noqa: PLR0911  (one return per case)
    """Our form of anything that the client raised. What is none of its errors comes from an answer it cannot read."""
    repo_id = asked.repo_id
    match error:
        case GatedRepoError():  # first: it is a RepositoryNotFoundError as well
            terms = f"Accept the terms at {asked.endpoint}/{repo_id}"
            hint = f"{terms} with the account of your token." if asked.with_token else f"{terms}. {_CONNECT}"
            return AccessDenied(f"{repo_id} is gated, and this account may not read it.", hint=hint)
        case RevisionNotFoundError():
            return ModelNotFound(f"{repo_id} has no revision {asked.revision}.", hint="Leave it out for the newest.")
        case RemoteEntryNotFoundError():
            return ModelNotFound(f"{repo_id} has no file {asked.path}.")
        case DisabledRepoError():
            return AccessDenied(f"{repo_id} has been disabled by its host.", hint="Choose another model.")
        case RepositoryNotFoundError() | HFValidationError():
            return _missing(asked)
        case HfHubHTTPError():
            return _translate_status(error, asked)
        case OfflineModeIsEnabled():
            return Unavailable("The hub is not asked in offline mode.", hint="Unset HF_HUB_OFFLINE.")
        case _ if isinstance(error, _TransportError):
            text = f"{asked.endpoint} cannot be reached ({type(error).__name__})."
            return Unavailable(text, hint="Check the network and HF_ENDPOINT.")
        case OSError():
            return PredictorError(f"The files of {repo_id} cannot be written: {error.strerror or error}.")
    return BadOutput(f"{asked.endpoint} does not answer as a Hugging Face Hub does.", hint="Check HF_ENDPOINT.")


def _translate_status(error: HfHubHTTPError, asked: Asked) -> PredictorError:
    response: Any = error.response
    match response.status_code:
        case 401 if asked.with_token:
            return AccessDenied("The hub refuses the token.", hint=f"Is it expired or mistyped? {_CONNECT}")
        case 401 | 404:  # over plain http the client does not tell a missing model from a private one
            return _missing(asked)
        case 403:
            hint = "Give the token the permission to read this repository."
            return AccessDenied(f"The token may not read {asked.repo_id}.", hint=hint)
        case 429:
            seconds = _seconds(response.headers.get("Retry-After"))
            return RateLimited("The hub asks us to slow down.", retry_after=seconds, hint="Try again later.")
        case status if status >= 500:
            return Unavailable(f"The hub failed on its side (HTTP {status}).", hint="Try again in a few minutes.")
    return PredictorError(f"The hub answered HTTP {response.status_code} for {asked.repo_id}.")


def _missing(asked: Asked) -> ModelNotFound:
    if asked.with_token:
        return ModelNotFound(f"{asked.repo_id} does not exist, or the token's account may not see it.")
    return ModelNotFound(f"{asked.repo_id} does not exist or is private.", hint=f"If it is private: {_CONNECT}")


def _seconds(value: str | None) -> float | None:
    """Retry-After in its common form, seconds; in its other form, a date, it counts as not given."""
    return float(value) if value and value.isdigit() else None
