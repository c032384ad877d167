"""Match a model's labels to a task's: `suggest(model_labels, task_labels)`. Stores nothing, raises only ValueError."""

from labelmatch.attributes import AttributeMatch, match_attributes
from labelmatch.kinds import compatible, match_sublabels
from labelmatch.matcher import suggest
from labelmatch.semantic import Embed
from labelmatch.translations import Translations
from labelmatch.types import DISPLAY_SCORE, Attribute, Label, LearnedPair, Suggestion

__all__ = [
    "DISPLAY_SCORE",
    "Attribute",
    "AttributeMatch",
    "Embed",
    "Label",
    "LearnedPair",
    "Suggestion",
    "Translations",
    "compatible",
    "match_attributes",
    "match_sublabels",
    "suggest",
]
