"""What labels mean in each other's company, and which meanings of one list are kinds of the other's.

All of it is arrays over the two lists at once; nothing loops over pairs of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelmatch.lexicon import lexicon
from labelmatch.meaning import Meaning

KIN_FORCE = 2.0  # how far relatives among the other labels move the odds of a sense (as exp(force * support))
KIN_HALF = 2.0  # that many relatives give half of the support
SAME_FORCE = 1.5  # the same for a label of the other kind of list, or another one, that means this very thing
COMPANY_FORCE = 6.0  # the same for the words that the vocabulary names as company
TASK_POWER = 0.3  # softens the task's weight in the share of a link
HINT_FORCE = 25.0  # the same for a path's folder or a remark in brackets: "bat (animal)"
HINT_LEAST = 0.2  # information of the nearest common kind; a hint that shares less than that says nothing


Hint = tuple[int, tuple[int, ...]]
"""A label's index, and all that the words of its path or brackets mean or are kinds of, as nodes."""


@dataclass(frozen=True, slots=True)
class Senses:
    """The meanings of a list of labels laid end to end.

    Rows are senses: node, weight (after context; a phrase's add up to 1), phrase. Phrases: label, cost, head.
    Entries are the steps of the rows' paths: node, steps, row.
    """

    row_node: NDArray[np.int32]
    row_weight: NDArray[np.float64]
    row_phrase: NDArray[np.int64]
    phrase_label: NDArray[np.int64]
    phrase_cost: NDArray[np.float64]
    phrase_head: NDArray[np.bool_]
    entry_node: NDArray[np.int32]
    entry_steps: NDArray[np.int32]
    entry_row: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of phrases one of which is the other or a kind of it: model phrase, task phrase, share of the meaning that
    is meant (0 to 1), least steps between them, and the node they meet in."""

    model_phrase: NDArray[np.int64]
    task_phrase: NDArray[np.int64]
    share: NDArray[np.float64]
    steps: NDArray[np.int64]
    node: NDArray[np.int64]


def lay_out(meanings: Sequence[Meaning]) -> Senses:
    """The rows, phrases and entries of all labels, in the order of the labels."""
    row_counts = np.array([m.senses.shape[1] for m in meanings], np.int64)
    phrase_counts = np.array([len(m.phrases) for m in meanings], np.int64)
    entry_counts = np.array([m.steps.shape[1] for m in meanings], np.int64)
    row_node, phrase_of = np.concatenate([m.senses for m in meanings], axis=1)
    entry_node, entry_steps, row_of = np.concatenate([m.steps for m in meanings], axis=1)
    phrases = [phrase for m in meanings for phrase in m.phrases]
    return Senses(
        row_node=row_node,
        row_weight=np.concatenate([m.weights for m in meanings]),
        row_phrase=phrase_of + np.repeat(offsets(phrase_counts), row_counts),
        phrase_label=np.repeat(np.arange(len(meanings)), phrase_counts),
        phrase_cost=np.array([phrase.cost for phrase in phrases], np.float64),
        phrase_head=np.array([phrase.head for phrase in phrases], np.bool_),
        entry_node=entry_node,
        entry_steps=entry_steps,
        entry_row=row_of + np.repeat(offsets(row_counts), entry_counts),
    )


def offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of so many groups of these sizes begins."""
    return np.cumsum(sizes) - sizes


def weigh(both: Sequence[Senses], words: frozenset[str], hints: Sequence[Sequence[Hint]]) -> list[Senses]:
    """The same senses with weights that fit their company.

    both: the model's senses and the task's. words: every label of both lists, in words.
    hints: for each list, the labels that have some.
    """
    known = lexicon()
    crowd, same = np.zeros(known.node_count), np.zeros(known.node_count)
    for senses in both:
        same += np.bincount(senses.row_node, weights=senses.row_weight, minlength=known.node_count)
        crowd += np.bincount(senses.entry_node, weights=senses.row_weight[senses.entry_row], minlength=known.node_count)
    favoured = {node: len(company & words) for node, company in known.company.items()}
    return [reweigh(senses, crowd, same, favoured, hint) for senses, hint in zip(both, hints, strict=True)]


def reweigh(
    senses: Senses,
    crowd: NDArray[np.float64],
    same: NDArray[np.float64],
    favoured: dict[int, int],
    hints: Sequence[Hint],
) -> Senses:
    if not len(senses.row_node):
        return senses
    information = lexicon().information
    others = np.maximum(crowd[senses.entry_node] - senses.row_weight[senses.entry_row], 0.0)
    kin = information[senses.entry_node] * others / (others + KIN_HALF)
    first_entry = np.searchsorted(senses.entry_row, np.arange(len(senses.row_node)))
    force = KIN_FORCE * np.maximum.reduceat(kin, first_entry)
    force += SAME_FORCE * np.minimum(np.maximum(same[senses.row_node] - senses.row_weight, 0.0), 1.0)
    if favoured:
        table = np.zeros(len(information))
        for node, count in favoured.items():
            table[node] = min(count, 3) / 3 + (0.5 if count else 0.0)
        force += COMPANY_FORCE * table[senses.row_node]
    if hints:
        force += force_of_hints(senses, hints)
    weight = senses.row_weight * np.exp(force)
    totals = np.bincount(senses.row_phrase, weights=weight, minlength=len(senses.phrase_label))
    return Senses(
        senses.row_node,
        weight / totals[senses.row_phrase],
        senses.row_phrase,
        senses.phrase_label,
        senses.phrase_cost,
        senses.phrase_head,
        senses.entry_node,
        senses.entry_steps,
        senses.entry_row,
    )


def force_of_hints(senses: Senses, hints: Sequence[Hint]) -> NDArray[np.float64]:
    """For each sense of a label with hints, how near it is to what they say, against the label's nearest sense."""
    information = lexicon().information
    label_of_entry = senses.phrase_label[senses.row_phrase[senses.entry_row]]  # in rising order
    force = np.zeros(len(senses.row_node))
    for label, nodes in hints:
        first, last = np.searchsorted(label_of_entry, [label, label + 1])
        if first == last:
            continue
        common = np.where(np.isin(senses.entry_node[first:last], nodes), information[senses.entry_node[first:last]], 0)
        rows = senses.entry_row[first:last]
        closeness = np.zeros(rows[-1] - rows[0] + 1)
        np.maximum.at(closeness, rows - rows[0], common)
        force[rows[0] : rows[-1] + 1] = HINT_FORCE * closeness / max(float(closeness.max()), HINT_LEAST)
    return force


def link(model: Senses, task: Senses) -> Links:
    """Every model phrase with the task phrases that it means or is a kind of.

    The share of a pair is the sum over the model's senses of their weight, where the task's sense stands on their
    path, times the task's weight, softened: the two lists are about the same pictures, so that a meaning
    that both can have is likelier than either alone says.
    """
    order = np.argsort(task.row_node, kind="stable")
    nodes = task.row_node[order]
    wanted = np.zeros(lexicon().node_count, np.bool_)
    wanted[nodes] = True
    hits = np.nonzero(wanted[model.entry_node])[0]
    left = np.searchsorted(nodes, model.entry_node[hits], "left")
    count = np.searchsorted(nodes, model.entry_node[hits], "right") - left
    entry = np.repeat(hits, count)
    within = np.arange(len(entry)) - np.repeat(offsets(count), count)
    task_row = order[np.repeat(left, count) + within]
    model_row = model.entry_row[entry]

    model_phrase, task_phrase = model.row_phrase[model_row], task.row_phrase[task_row]
    share = model.row_weight[model_row] * task.row_weight[task_row] ** TASK_POWER
    steps = model.entry_steps[entry].astype(np.int64)
    if not len(share):
        empty = np.empty(0, np.int64)
        return Links(empty, empty, np.empty(0), empty, empty)
    key = model_phrase * (len(task.phrase_label) + 1) + task_phrase
    by_key = np.lexsort((steps, -share, key))
    first = np.nonzero(np.diff(key[by_key], prepend=-1))[0]
    best = by_key[first]
    # Two roads from one sense to the same kind count once: the sum is bounded by 1.
    total = np.minimum(np.add.reduceat(share[by_key], first), 1.0)
    return Links(
        model_phrase[best], task_phrase[best], total, steps[best], model.entry_node[entry][best].astype(np.int64)
    )
