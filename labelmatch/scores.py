"""How much each tier's match is worth: the constants, and the score of a match by meaning.

A score is meant as the share of such suggestions that are right. The constants were set on the development sets; how
well they hold on others is measured by benchmarks/label_matching.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelmatch.context import Links, Senses
from labelmatch.lexicon import lexicon

NAMESAKE = 0.9  # a match by name of at least this score makes two labels namesakes
FLOOR = 0.05  # candidates below are not kept at all
SETTLED = 0.7  # a model label with such a candidate is not looked up by its looks

FOLDED = 0.99
PARSED = 0.97
TRANSLATED = 0.99
SYNONYM = 0.95
HYPERNYM = 0.9
LAST_WORDS = 0.58  # of a task label that adds words to the model's in front
ENDS_WITH = 0.75  # of one that is the last words of a compound that nobody knows
MADE_OF = 0.6  # of a material in front: a plastic bottle is of plastic
REORDERED = 0.9  # the same words in another order
WORDS_WITHIN, WORD_WITHIN = 0.6, 0.45  # several of its words, or one, somewhere within the model's label
FUZZY = 0.85
SEMANTIC_CUTOFF, SEMANTIC = 0.55, 0.8  # least cosine, and what it is worth: see docs/label-matching.md
TAKEN = 0.8  # where another model label has the task label's own name

SAME_LEVEL = 0.95
TAKEN_ALL, TAKEN_ALL_NAMESAKE = 0.65, 0.8
SHORT_LIST = 10  # labels
FEW_LEFT = 1  # a task label that alone has no namesake is for what is left over

NARROWER = 0.01  # a narrower kind that is worth showing is at least so much ahead of a broader one
STEP = 0.018  # off per step between a thing and its kind
VAGUE = 0.14  # of the information that a kind carries; below that ("object", "device") saying it says little
HEAD_OF_TASK = 0.55  # the task's own words say more than the head noun that matches


def level(named: int, models: int, taken: int, tasks: int, namesake: bool) -> float:
    """By how much (0 to 1) a broader task label is less likely meant, from the company of both lists.

    Where many of the model's labels have their namesake in the task, the task names things on the model's own level,
    and a label left over has probably no counterpart there. All the more where nearly every task label has its
    namesake (the task's author knew the list and left the rest out), the broader one among them. Short lists prove
    little, hence the constant in the denominators.

    named: model labels with a namesake, of so many; taken: task labels with one, of so many; namesake: whether the
    broader label is one of them.
    """
    factor = 1 - SAME_LEVEL * named / (models + SHORT_LIST)
    covered = (taken / (tasks + SHORT_LIST)) ** 4
    return factor * (1 - (TAKEN_ALL_NAMESAKE if namesake else TAKEN_ALL) * covered)


def of_links(links: Links, model: Senses, task: Senses) -> NDArray[np.float64]:
    """Each link's score by the share of the meaning, the steps, how much the kind says, and what was read for it."""
    same = links.steps == 0
    clear = np.minimum(lexicon().information[links.node] / VAGUE, 1.0)
    kind = HYPERNYM * (1 - STEP * np.minimum(links.steps - 1, 12)) * clear
    score: NDArray[np.float64] = links.share * np.where(same, SYNONYM, kind)
    score *= (1 - model.phrase_cost[links.model_phrase]) * (1 - task.phrase_cost[links.task_phrase])
    model_head, task_head = model.phrase_head[links.model_phrase], task.phrase_head[links.task_phrase]
    score[task_head] *= HEAD_OF_TASK
    score[model_head & task_head & same] = 0.0  # two compounds that share their last word are two things
    return score
