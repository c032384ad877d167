"""How good and how fast `labelmatch` is, beside simpler methods.

    python benchmarks/label_matching.py [--truth FOLDER ...] [--speed] [--mistakes N] [--json FILE]

A truth folder holds sets as JSON files: model_labels, task_labels, pairs [[model label, task label], ...], and
optionally ignore_model_labels. Without --truth the folders in HUBBRIDGE_LABEL_TRUTH (parted by the system's path
separator) are read, or else `label_sets` beside this file. Of each model label the best suggestion counts:

    precision  right / suggested        recall  right / labels that have a true match
    F1         their harmonic mean      mean    of the sets' F1
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import fuzz, process, utils

from labelmatch import suggest
from labelmatch.lexicon import lexicon
from labelmatch.normalize import parse

OWN_SETS = Path(__file__).parent / "label_sets"
Triple = tuple[str, str, float]
Method = Callable[[Sequence[str], Sequence[str]], list[Triple]]


# -- the methods


def exact(model: Sequence[str], task: Sequence[str]) -> list[Triple]:
    """What most tools do."""
    known = set(task)
    return [(label, label, 1.0) for label in model if label in known]


def folded(model: Sequence[str], task: Sequence[str]) -> list[Triple]:
    """Case, separators and a plural s."""

    def key(label: str) -> str:
        return re.sub(r"[\W_]+", "", label.lower()).removesuffix("s")

    keys = {key(label): label for label in reversed(task)}
    return [(label, keys[key(label)], 1.0) for label in model if key(label) in keys]


def fuzzy(scorer: Callable[..., float], cutoff: float) -> Method:
    def match(model: Sequence[str], task: Sequence[str]) -> list[Triple]:
        found = []
        for label in model:
            best = process.extractOne(label, task, scorer=scorer, processor=utils.default_process, score_cutoff=cutoff)
            if best:
                found.append((label, best[0], best[1] / 100))
        return found

    return match


def wordnet(kinds: bool) -> Method:
    """Parsed labels; the model label's first sense against the task labels' first two; with kinds or without."""

    def match(model: Sequence[str], task: Sequence[str]) -> list[Triple]:
        known = lexicon()

        def senses(label: str, count: int) -> list[int]:
            phrases = (known.find(form.words) for form in parse(label).forms[:1])
            return [sense.node for phrase in phrases if phrase for sense in known.senses(phrase)[:count]]

        owners: dict[int, str] = {}
        for label in reversed(task):
            owners.update((node, label) for node in reversed(senses(label, 2)))
        found = folded(model, task)
        settled = {label for label, _, _ in found}
        for label in model:
            if label in settled:
                continue
            paths = [known.path(node) if kinds else {node: 0} for node in senses(label, 1)]
            steps = [(away, owners[node]) for path in paths for node, away in path.items() if node in owners]
            if steps:
                away, owner = min(steps)
                found.append((label, owner, 0.93 - 0.015 * away))
        return found

    return match


def ours(model: Sequence[str], task: Sequence[str]) -> list[Triple]:
    return [(one.model_label, one.task_label, one.score) for one in suggest(model, task)]


METHODS: dict[str, Method] = {
    "exact": exact,
    "folded": folded,
    "WRatio 85": fuzzy(fuzz.WRatio, 85),
    "token_set 90": fuzzy(fuzz.token_set_ratio, 90),
    "ratio 90": fuzzy(fuzz.ratio, 90),
    "synonyms": wordnet(kinds=False),
    "synonyms, kinds": wordnet(kinds=True),
    "labelmatch": ours,
}


# -- quality


@dataclass(frozen=True)
class TruthSet:
    name: str
    model: list[str]
    task: list[str]
    truth: dict[str, set[str]]
    ignored: frozenset[str]


def read_sets(folders: Iterable[Path]) -> list[TruthSet]:
    sets = []
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        truth: dict[str, set[str]] = defaultdict(set)
        for model_label, task_label in data["pairs"]:
            truth[model_label].add(task_label)
        ignored = frozenset(data.get("ignore_model_labels", ()))
        sets.append(TruthSet(path.stem, data["model_labels"], data["task_labels"], dict(truth), ignored))
    if not sets:
        raise SystemExit("no truth sets found: give a folder with --truth")
    return sets


def count(truth: TruthSet, triples: Iterable[Triple]) -> Counter[str]:
    best: dict[str, Triple] = {}
    for triple in triples:
        if triple[0] not in best or (-triple[2], triple[1]) < (-best[triple[0]][2], best[triple[0]][1]):
            best[triple[0]] = triple
    labels = [label for label in truth.model if label not in truth.ignored]
    return Counter(
        suggested=sum(label in best for label in labels),
        matched=sum(label in truth.truth for label in labels),
        right=sum(label in best and best[label][1] in truth.truth.get(label, ()) for label in labels),
    )


def f1(counts: Counter[str]) -> float:
    return 2 * counts["right"] / ((counts["suggested"] + counts["matched"]) or 1)


def quality(sets: Sequence[TruthSet]) -> dict[str, dict[str, float]]:
    """F1 of each method on each set, printed as a table; the last rows are the mean and the pooled precision."""
    results: dict[str, dict[str, float]] = {name: {} for name in METHODS}
    pooled: dict[str, Counter[str]] = {name: Counter() for name in METHODS}
    print(f"{'F1':26}" + "".join(f"{name:>16}" for name in METHODS))
    for truth in sets:
        for name, method in METHODS.items():
            counts = count(truth, method(truth.model, truth.task))
            pooled[name] += counts
            results[name][truth.name] = f1(counts)
        print(f"{truth.name:26}" + "".join(f"{results[name][truth.name]:16.3f}" for name in METHODS))
    for name, counts in pooled.items():
        results[name]["mean F1"] = statistics.mean(results[name].values())
        results[name]["pooled precision"] = counts["right"] / (counts["suggested"] or 1)
        results[name]["pooled recall"] = counts["right"] / (counts["matched"] or 1)
    for row in ("mean F1", "pooled precision", "pooled recall"):
        print(f"{row:26}" + "".join(f"{results[name][row]:16.3f}" for name in METHODS))
    return results


def reliability(sets: Sequence[TruthSet]) -> list[dict[str, float]]:
    """How often the best suggestions of a score are right, in steps of a tenth; from 0.2, below what is displayed."""
    bins: dict[float, list[tuple[float, bool]]] = defaultdict(list)
    for truth in sets:
        seen = set()
        for one in suggest(truth.model, truth.task, min_score=0.2):
            if one.model_label not in seen and one.model_label not in truth.ignored:
                seen.add(one.model_label)
                right = one.task_label in truth.truth.get(one.model_label, ())
                bins[1.0 if one.accepted else int(one.score * 10) / 10].append((one.score, right))
    rows = []
    print(f"\n{'score':>12}{'suggestions':>13}{'mean score':>12}{'right':>8}")
    for low, members in sorted(bins.items()):
        row = {
            "from": low,
            "suggestions": len(members),
            "mean": statistics.mean(score for score, _ in members),
            "right": statistics.mean(right for _, right in members),
        }
        rows.append(row)
        name = "accepted" if low == 1 else f"{low:.1f} - {low + 0.1:.1f}"
        print(f"{name:>12}{len(members):13}{row['mean']:12.3f}{row['right']:8.3f}")
    return rows


def mistakes(sets: Sequence[TruthSet], most: int) -> None:
    """The wrong suggestions of the highest scores, and nothing that is accepted by name."""
    wrong = []
    for truth in sets:
        seen = set()
        for one in suggest(truth.model, truth.task):
            if one.model_label in seen or one.model_label in truth.ignored or one.accepted:
                seen.add(one.model_label)
                continue
            seen.add(one.model_label)
            right = truth.truth.get(one.model_label, set())
            if one.task_label not in right:
                wrong.append((-one.score, truth.name, one.model_label, one.task_label, one.reason, sorted(right)))
    print("\nwrong, by score: set, model label, suggested, reason, true")
    for negative, *rest in sorted(wrong, key=lambda row: row[:3])[:most]:
        print(f"{-negative:.2f}", *rest, sep="  ")


# -- speed

COLD = """
import json, resource, sys, time
began = time.perf_counter()
from labelmatch import suggest
model, task = json.load(sys.stdin)
suggest(model, task)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def speed(sets: Sequence[TruthSet], repeats: int = 15) -> dict[str, float]:
    """Times in seconds, the median and the least of some repeats; labels are drawn from all the sets."""
    pool = list(dict.fromkeys(label for truth in sets for label in (*truth.model, *truth.task)))
    task = pool[::-3][:601]
    model = [label for label in pool if label not in set(task)][:1203]
    small_model, small_task = model[:10], task[:80]
    results = {}
    for name, one, other in (("large", model, task), ("small", small_model, small_task)):
        suggest(one, other)
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            suggest(one, other)
            times.append(time.perf_counter() - began)
        results[f"{name}, least"], results[f"{name}, median"] = min(times), statistics.median(times)
        for key in ("least", "median"):
            print(f"{len(one):6} x {len(other)} warm, {key}: {results[f'{name}, {key}'] * 1000:.1f} ms")
    cold = []
    for _ in range(5):
        answer = subprocess.run(
            [sys.executable, "-c", COLD], input=json.dumps([model, task]), capture_output=True, text=True, check=True
        )
        cold.append(tuple(map(float, answer.stdout.split())))
    results["cold"], results["megabytes"] = min(one[0] for one in cold), max(one[1] for one in cold)
    print(f"{len(model):6} x {len(task)} cold with imports, least of 5: {results['cold'] * 1000:.0f} ms")
    print(f"       memory of that process at its most: {results['megabytes']:.0f} MB")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, nargs="+", help="folders with truth sets")
    parser.add_argument("--speed", action="store_true", help="measure the speed too")
    parser.add_argument("--mistakes", type=int, default=0, metavar="N", help="show the N worst mistakes")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    named = [Path(folder) for folder in os.environ.get("HUBBRIDGE_LABEL_TRUTH", "").split(os.pathsep) if folder]
    sets = read_sets(arguments.truth or named or [OWN_SETS])
    figures: dict[str, object] = {"quality": quality(sets), "reliability": reliability(sets)}
    if arguments.mistakes:
        mistakes(sets, arguments.mistakes)
    if arguments.speed:
        print()
        figures["speed"] = speed(sets)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
