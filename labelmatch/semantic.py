"""The last tier, off by default: names whose embeddings are near, by an embedding function that the caller brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], NDArray[np.floating]]
"""Names to vectors: an array of floats [n, d], one row per name, in their order; lengths do not matter."""

CHUNK = 1024  # model labels compared at once


def nearest(embed: Embed, model: Sequence[str], task: Sequence[str], cutoff: float) -> list[tuple[int, int, float]]:
    """(model index, task index, cosine) of each model name's nearest task name, where the cosine is at least `cutoff`.

    Raises ValueError where `embed` returns anything but a finite array with one row per name.
    """
    if not model or not task:
        return []
    rows, columns = unit_vectors(embed, model), unit_vectors(embed, task)
    if rows.shape[1] != columns.shape[1]:
        raise ValueError(f"embed returned vectors of {rows.shape[1]} and of {columns.shape[1]} numbers")
    found = []
    for begin in range(0, len(rows), CHUNK):
        cosines = rows[begin : begin + CHUNK] @ columns.T
        best = cosines.argmax(axis=1)
        for index, other in enumerate(best.tolist()):
            cosine = float(cosines[index, other])
            if cosine >= cutoff:
                found.append((begin + index, other, min(cosine, 1.0)))
    return found


def unit_vectors(embed: Embed, names: Sequence[str]) -> NDArray[np.float32]:
    vectors = np.asarray(embed(names), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        raise ValueError(f"embed must return a finite array of one row per name, not one of shape {vectors.shape}")
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float32] = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return units
