"""How the tests compare a pair's backward with its forward."""

import numpy as np

from minivae.gradcheck import check_pair
from minivae.gradcheck.pairs import PAIRS


def holds(name, rng, shape):
    """Assert that the pair's gradient at random inputs is the derivative, by both methods."""
    forward, backward, draws = PAIRS[name]
    inputs = PAIRS[name].inputs(rng, *shape)
    report = check_pair(forward, backward, inputs, list(draws), method="both")
    agree = [row.kinks == row.unresolved == 0 for row in report.rows]
    assert report.passed and all(agree), f"{name}\n{report}"


def relative_error(a, b):
    """max|a − b| / max(max|a|, max|b|), 0 where both are 0."""
    difference = np.max(np.abs(a - b))
    return difference / max(np.max(np.abs(a)), np.max(np.abs(b))) if difference else 0.0
