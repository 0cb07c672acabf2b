"""Two ways to the derivative of a function, to hold a backward against."""

import numpy as np

from minivae.gradcheck import check_pair

TINY = 1e-30


def holds(forward, backward, *inputs, seed=0):
    """Assert that backward(upstream, *inputs) is the gradient of forward(*inputs).

    Upstream is random. Central differences agree to 1e-6 (step 1e-4), the complex step, which
    subtracts nothing, to rounding. The inputs are read-only.
    """
    report = check_pair(forward, backward, inputs, seed=seed)
    assert report.passed, f"\n{report}"
    holds_by_complex_step(forward, backward, *inputs, seed=seed)


def holds_by_complex_step(forward, backward, *inputs, seed=0):
    """The second half of holds alone, for values where central differences are too coarse."""
    rng = np.random.default_rng(seed)
    inputs = [np.array(x, np.float64) for x in inputs]
    for x in inputs:
        x.flags.writeable = False
    upstream = rng.standard_normal(forward(*inputs).shape)
    gradients = backward(upstream, *inputs)
    assert len(gradients) == len(inputs)
    for k, (x, gradient) in enumerate(zip(inputs, gradients)):
        if gradient is None:
            continue
        assert gradient.shape == x.shape
        numeric = np.empty_like(x)
        for i in np.ndindex(x.shape):
            moved = x.astype(complex)
            moved[i] += 1j * TINY
            value = forward(*inputs[:k], moved, *inputs[k + 1 :])
            numeric[i] = np.sum(upstream * value.imag) / TINY
        assert relative_error(gradient, numeric) < 1e-13


def relative_error(a, b):
    """max|a − b| / max(max|a|, max|b|), 0 where both are 0."""
    difference = np.max(np.abs(a - b))
    return difference / max(np.max(np.abs(a)), np.max(np.abs(b))) if difference else 0.0
