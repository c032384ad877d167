"""What labels mean in each other's company, and which meanings of one list are kinds of the other's.

All of it is arrays over the two lists at once; nothing loops over pairs of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelmatch.lexicon import lexicon
from labelmatch.meaning import Phrase, meaning
from labelmatch.readings import Reading

KIN_FORCE = 2.0  # how far relatives among the other labels move the odds of a sense (as exp(force * support))
KIN_HALF = 2.0  # that many relatives give half of the support
SAME_FORCE = 1.5  # the same for a label of the other kind of list, or another one, that means this very thing
COMPANY_FORCE = 6.0  # the same for the words that the vocabulary names as company
TASK_POWER = 0.3  # softens the task's weight in the share of a link
HINT_FORCE = 25.0  # the same for a path's folder or a remark in brackets: "bat (animal)"
EXPRESSED, SAYING = 0.15, 0.1  # weight of a task's sense that it expresses; information of one that says something
NONE_SHARE = 0.5  # of the odds that a meaning the task lacks is the one
MOST_ROWS = 256  # of the task's senses of one node that are looked at, the heaviest: no list needs more
NO_STEPS = np.empty((3, 0), np.int32)
HINT_LEAST = 0.2  # information of the nearest common kind; a hint that shares less than that says nothing


@dataclass(frozen=True, slots=True)
class Senses:
    """The meanings of a list's phrases laid end to end. Labels that say the same in the same way share their phrase.

    Phrases: themselves, the nodes that their labels' path or brackets speak of, and the indexes of their labels.
    Rows are senses: node, weight (after context; a phrase's add up to 1), phrase.
    Entries are the steps of the rows' paths: node, steps, row.
    """

    phrases: tuple[Phrase, ...]
    hints: tuple[tuple[int, ...], ...]
    labels: tuple[list[int], ...]
    row_node: NDArray[np.int32]
    row_weight: NDArray[np.float64]
    row_phrase: NDArray[np.int64]
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


def lay_out(readings: Sequence[Reading]) -> Senses:
    """The phrases, rows and entries of a list of labels, in the order of the labels."""
    labels: dict[tuple[Phrase, tuple[int, ...]], list[int]] = {}
    for index, reading in enumerate(readings):
        for phrase in reading.phrases:
            labels.setdefault((phrase, reading.hints), []).append(index)
    phrases = tuple(phrase for phrase, _ in labels)
    meanings = [meaning(phrase.words) for phrase in phrases]
    row_counts = np.array([len(m.senses) for m in meanings], np.int64)
    entry_counts = np.array([m.steps.shape[1] for m in meanings], np.int64)
    entry_node, entry_steps, row_of = np.concatenate([NO_STEPS, *(m.steps for m in meanings)], axis=1)
    return Senses(
        phrases=phrases,
        hints=tuple(hints for _, hints in labels),
        labels=tuple(labels.values()),
        row_node=np.concatenate([NO_STEPS[0], *(m.senses for m in meanings)]),
        row_weight=np.concatenate([np.empty(0), *(m.weights for m in meanings)]),
        row_phrase=np.repeat(np.arange(len(phrases)), row_counts),
        phrase_cost=np.array([phrase.cost for phrase in phrases], np.float64),
        phrase_head=np.array([phrase.head for phrase in phrases], np.bool_),
        entry_node=entry_node,
        entry_steps=entry_steps,
        entry_row=row_of + np.repeat(offsets(row_counts), entry_counts),
    )


def offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of so many groups of these sizes begins."""
    return np.cumsum(sizes) - sizes


def weigh(both: Sequence[Senses], words: frozenset[str]) -> list[Senses]:
    """The same senses with weights that fit their company.

    both: the model's senses and the task's. words: every label of both lists, in words.
    """
    known = lexicon()
    crowd, same = np.zeros(known.node_count), np.zeros(known.node_count)
    for senses in both:
        count = np.array([len(labels) for labels in senses.labels], np.float64)
        mass = senses.row_weight * count[senses.row_phrase]
        same += np.bincount(senses.row_node, weights=mass, minlength=known.node_count)
        crowd += np.bincount(senses.entry_node, weights=mass[senses.entry_row], minlength=known.node_count)
    favoured = {node: len(company & words) for node, company in known.company.items() if not company.isdisjoint(words)}
    return [reweigh(senses, crowd, same, favoured) for senses in both]


def reweigh(senses: Senses, crowd: NDArray[np.float64], same: NDArray[np.float64], favoured: dict[int, int]) -> Senses:
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
            table[node] = min(count, 3) / 3 + 0.5
        force += COMPANY_FORCE * table[senses.row_node]
    if any(senses.hints):
        force += force_of_hints(senses)
    weight = senses.row_weight * np.exp(force)
    totals = np.bincount(senses.row_phrase, weights=weight, minlength=len(senses.phrases))
    return replace(senses, row_weight=weight / totals[senses.row_phrase])


def force_of_hints(senses: Senses) -> NDArray[np.float64]:
    """For each sense of a phrase with hints, how near it is to what they say, against the phrase's nearest sense."""
    information = lexicon().information
    phrase_of_entry = senses.row_phrase[senses.entry_row]  # in rising order
    force = np.zeros(len(senses.row_node))
    for phrase, nodes in enumerate(senses.hints):
        if not nodes:
            continue
        first, last = np.searchsorted(phrase_of_entry, [phrase, phrase + 1])
        common = np.where(np.isin(senses.entry_node[first:last], nodes), information[senses.entry_node[first:last]], 0)
        rows = senses.entry_row[first:last]
        closeness = np.zeros(rows[-1] - rows[0] + 1)
        np.maximum.at(closeness, rows - rows[0], common)
        force[rows[0] : rows[-1] + 1] = HINT_FORCE * closeness / max(float(closeness.max()), HINT_LEAST)
    return force


def settle(links: Links, model: Senses, task: Senses) -> Links:
    """The links with the model's meanings taken over what the task can express, and a share for what it cannot.

    A task of animals makes an undecided leopard the animal: its other senses have nothing there to be matched with.
    """
    information = lexicon().information
    wanted = np.zeros(len(information), np.bool_)
    wanted[task.row_node[task.row_weight > EXPRESSED]] = True
    wanted &= information > SAYING
    hit = np.zeros(len(model.row_node), np.bool_)
    hit[model.entry_row[wanted[model.entry_node]]] = True
    covered = np.bincount(model.row_phrase, weights=model.row_weight * hit, minlength=len(model.phrases))
    share = links.share / np.maximum(covered + NONE_SHARE * (1 - covered), 1e-6)[links.model_phrase]
    return replace(links, share=np.minimum(share, 1.0))


def link(model: Senses, task: Senses) -> Links:
    """Every model phrase with the task phrases that it means or is a kind of.

    The share of a pair is the sum over the model's senses of their weight, where the task's sense stands on their
    path, times the task's weight, softened: the two lists are about the same pictures, so that a meaning
    that both can have is likelier than either alone says.
    """
    order = np.lexsort((-task.row_weight, task.row_node))
    nodes = task.row_node[order]
    wanted = np.zeros(lexicon().node_count, np.bool_)
    wanted[nodes] = True
    hits = np.nonzero(wanted[model.entry_node])[0]
    left = np.searchsorted(nodes, model.entry_node[hits], "left")
    count = np.minimum(np.searchsorted(nodes, model.entry_node[hits], "right") - left, MOST_ROWS)
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
    key = model_phrase * (len(task.phrases) + 1) + task_phrase
    by_key = np.lexsort((steps, -share, key))
    first = np.nonzero(np.diff(key[by_key], prepend=-1))[0]
    best = by_key[first]
    # Two roads from one sense to the same kind count once: the sum is bounded by 1.
    total = np.minimum(np.add.reduceat(share[by_key], first), 1.0)
    return Links(
        model_phrase[best], task_phrase[best], total, steps[best], model.entry_node[entry][best].astype(np.int64)
    )
