"""Keys against results, over the whole golden table: equal keys have equal results, and the rest.

Where unlike keys give equal results, the words that make no difference there are listed here.
"""

from collections import defaultdict
from itertools import combinations

from lthray.config.trial import TrialConfig

from .table import TABLE
from .test_golden import RECORDED

NO_DIFFERENCE = {
    ("prune.least",): "a floor that no layer would have fallen below",
    ("prune.scoring_steps",): "magnitudes do not change between the steps of one cut",
    ("prune.least", "prune.scoring_steps"): "both of the above",
    ("origin",): "a ticket given to the very trial that it comes from",
    ("origin", "prune.least"): "both of the above",
    ("origin", "prune.least", "prune.scoring_steps"): "all of the above",
    ("prune.criterion",): "diff_pruning stops before no timestep here: then it is taylor",
    ("rewind.anchor",): "at the first rung the rung before is the dense network",
    ("prune.budget",): "a ramp without a slope is uniform, and so is one level of one depth",
    ("prune.budget", "prune.granularity"): "evidence by level, where there is one level",
    ("prune.between",): "at the first rung the tickets of the rung before are the dense networks",
    ("prune.layers",): "the network's own policy, written out",
    ("measure.samples", "measure.sampling_steps", "regime.every", "regime.name"): (
        "rst presses weights only in the ticket's training, and its mask is the rung's in the end"
    ),
    (
        "regime.every",
        "regime.name",
    ): "a control of rst has the mask of the rung, as one without it has",
}
"""Words in which two trials differ though a run of theirs ends alike -> why."""


def runs() -> dict[str, dict[str, tuple[str, int]]]:
    """Return digest of an end state -> key of a run that ends so -> (trial, round)."""
    by_end: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for name, rows in RECORDED.items():
        for index, row in enumerate(rows):
            for which in ("chain", "shown"):
                end = row[f"{which}_end"]
                if end is not None:
                    by_end["/".join(end)].setdefault(row[which], (name, index))
    return by_end


def test_equal_keys_have_equal_results():
    ends: dict[str, list[str]] = {}
    compared = 0
    for rows in RECORDED.values():
        for row in rows:
            for which in ("chain", "shown"):
                if row[f"{which}_end"] is not None:
                    first = ends.setdefault(row[which], row[f"{which}_end"])
                    assert first == row[f"{which}_end"], row[which]
                    compared += first is not row[f"{which}_end"]
    assert len(ends) > 300
    assert compared > 500


def test_unlike_keys_with_equal_results_differ_in_a_word_that_is_listed():
    seen = set()
    for by_key in runs().values():
        for (one, _), (other, _) in combinations(by_key.values(), 2):
            flats = [TrialConfig.from_flat(_words(name)).flat() for name in (one, other)]
            words = {word for word in flats[0] if flats[0][word] != flats[1][word]}
            differing = tuple(sorted(words - {"prune.dials"}))
            if "control" in words:
                continue
            assert differing in NO_DIFFERENCE, (one, other, differing)
            seen.add(differing)
    assert seen == set(NO_DIFFERENCE)


def _words(name: str) -> dict[str, object]:
    words = dict(TABLE[name])
    if "origin" in words:
        words["origin"] = "somewhere.safetensors"
    return words
