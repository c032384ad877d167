"""Which kinds of functions CVAT is offered."""

from __future__ import annotations

from bridge.app import App, image_limits
from bridge.nuclio.by_hand import FUNCTIONS, ByHand
from bridge.nuclio.detector import Detectors
from bridge.nuclio.functions import Functions
from bridge.nuclio.loading import Loading


def make_functions(service: App, loading: Loading) -> Functions:
    """The table over an opened service; a further kind is a further entry of the list."""
    settings, limits = service.settings, image_limits(service.settings)
    detectors = Detectors(
        service.profiles,
        service.registry,
        loading,
        limits,
        settings.jobs.max_detections,
        settings.cvat.score_attribute,
    )
    by_hand = [ByHand(service.profiles, service.interactive, loading, limits, function) for function in FUNCTIONS]
    return Functions([detectors, *by_hand])
