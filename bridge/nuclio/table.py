"""Which kinds of functions CVAT is offered."""

from __future__ import annotations

from bridge.app import App, image_limits
from bridge.nuclio.detector import Detectors
from bridge.nuclio.functions import Functions
from bridge.nuclio.loading import Loading


def make_functions(service: App, loading: Loading) -> Functions:
    """The table over an opened service; a further kind is a further entry of the list."""
    settings = service.settings
    detectors = Detectors(
        service.profiles,
        service.registry,
        loading,
        image_limits(settings),
        settings.jobs.max_detections,
        settings.cvat.score_attribute,
    )
    return Functions([detectors])
