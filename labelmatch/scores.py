"""How much each tier's match is worth: the constants, and the score of a match by meaning.

A score is meant as the share of such suggestions that are right. The constants were set on the development sets; how
well they hold on others is measured by benchmarks/label_matching.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelmatch.context import Links, Senses
from labelmatch.lexicon import lexicon

SAME_NAME = frozenset({"exact", "normalised", "translation"})
FLOOR = 0.05  # candidates below are not kept at all
SETTLED = 0.7  # a model label with such a candidate is not looked up by its looks

FOLDED = 0.99
PARSED = 0.97
TRANSLATED = 0.97
SYNONYM = 0.95
HYPERNYM = 0.9
LAST_WORDS = 0.6
FUZZY = 0.85
TAKEN = 0.8  # where another model label has the task label's own name

STEP = 0.018  # off per step between a thing and its kind
VAGUE = 0.14  # of the information that a kind carries; below that ("object", "device") saying it says little
HEAD_OF_TASK = 0.55  # the task's own words say more than the head noun that matches


@dataclass(frozen=True, slots=True)
class LinkScores:
    """The score of each link, in the links' order."""

    score: NDArray[np.float64]


def of_links(links: Links, model: Senses, task: Senses) -> LinkScores:
    """Score links by the share of the meaning, the steps, how much the kind says, and how the phrases were read."""
    same = links.steps == 0
    clear = np.minimum(lexicon().information[links.node] / VAGUE, 1.0)
    kind = HYPERNYM * (1 - STEP * np.minimum(links.steps - 1, 12)) * clear
    score = links.share * np.where(same, SYNONYM, kind)
    score *= (1 - model.phrase_cost[links.model_phrase]) * (1 - task.phrase_cost[links.task_phrase])
    model_head, task_head = model.phrase_head[links.model_phrase], task.phrase_head[links.task_phrase]
    score[task_head] *= HEAD_OF_TASK
    score[model_head & task_head & same] = 0.0  # two compounds that share their last word are two things
    return LinkScores(score)
