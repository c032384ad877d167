"""Here or at its host: where a model runs that could do both. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL, HOSTED, AUTO = "local", "hosted", "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """``place``: local or hosted; ``why``: a sentence for the model's card."""

    place: str
    why: str


def choose_early(  # noqa: PLR0911  (one return per reason)
    wanted: str, *, has_token: bool, pinned: bool, engine_chosen: bool, offline: bool
) -> Choice | None:
    """The choice where the host need not be asked whether it serves the model; None where it has to be.

    pinned          the reference names a revision or a file, which a host does not let one choose
    engine_chosen   the user named what runs it here
    """
    if wanted == HOSTED:
        return Choice(HOSTED, "It runs at its host, as asked for.")
    if wanted == LOCAL:
        return Choice(LOCAL, "It runs here, as asked for.")
    if offline:
        return Choice(LOCAL, "It runs here: no host is asked in offline mode.")
    if engine_chosen:
        return Choice(LOCAL, "It runs here, on the engine that was chosen.")
    if pinned:
        return Choice(LOCAL, "It runs here: a host does not run a chosen revision or file.")
    if not has_token:
        return Choice(LOCAL, "It runs here: there is no token for its host.")
    return None


def choose(*, served: bool) -> Choice:
    """What ``auto`` comes to when a token is there and the host was asked."""
    if served:
        return Choice(HOSTED, "It runs at its host, which serves it and for which there is a token.")
    return Choice(LOCAL, "It runs here: its host does not serve it.")
