"""Every pair of layers.py and distributions.py, as the gradient check wants it, with inputs to try.

A backward here takes the upstream gradient and then the forward's own inputs; one that takes other
operands is adapted in one line, in sight.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import distributions as dist
from . import layers


class Example(NamedTuple):
    """forward(*inputs), backward(upstream, *inputs), and draws {name: draw(rng, B, n, scale)}."""

    forward: Callable
    backward: Callable
    draws: dict[str, Callable]

    def inputs(self, rng, B, n, scale=1.0):
        """Random arrays: B examples of n numbers, those without a natural size of about scale."""
        return [draw(rng, B, n, scale) for draw in self.draws.values()]


def real(rng, B, n, scale):
    return scale * rng.standard_normal((B, n))


def positive(rng, B, n, scale):
    """Variances above ½: the curvature of 1/var costs a central difference (step / var)²."""
    return scale * (0.5 + np.exp(rng.standard_normal((B, n))))


def unit(rng, B, n, scale):
    return rng.random((B, n))


def one_hot(rng, B, n, scale):
    return np.eye(n)[rng.integers(n, size=B)]


def linear_backward(da, x, W, b):
    dW, db = np.full_like(W, np.nan), np.full_like(b, np.nan)  # what is not written, shows
    return layers.linear_backward(da, x, W, dW, db), dW, db


def from_output(pair, name="a"):
    """The backward of an activation, or of softmax, takes its output in place of its input."""
    return Example(pair.forward, lambda dh, a: [pair.backward(dh, pair.forward(a))], {name: real})


PAIRS = {
    "linear": Example(
        layers.linear_forward, linear_backward, {
            "x": real,
            "W": lambda rng, B, n, scale: rng.standard_normal((n, 3)),
            "b": lambda rng, B, n, scale: rng.standard_normal(3)}),
    **{name: from_output(pair) for name, pair in layers.ACTIVATION_PAIRS.items()},
    "softmax": from_output(layers.Pair(layers.softmax_forward, layers.softmax_backward), "logits"),
    "variance": Example(
        lambda log_var: dist.variance_forward(log_var, 0.3),
        lambda dvar, log_var: [dist.variance_backward(dvar, log_var)], {"log_var": real}),
    "reparameterize": Example(
        dist.reparameterize_forward,
        lambda dz, mu, var, eps: (*dist.reparameterize_backward(dz, var, eps), None),
        {"mu": real, "var": positive, "eps": real}),
    "gaussian_kl": Example(
        dist.gaussian_kl_forward, dist.gaussian_kl_backward, {"mu": real, "var": positive}),
    "squared_error": Example(
        dist.squared_error_forward,
        lambda dsse, x, mu: (None, dist.squared_error_backward(dsse, x, mu)),
        {"x": unit, "mu": real}),
    "isotropic_nll": Example(
        lambda sse: dist.isotropic_nll_forward(sse, 0.25, 784),
        lambda dnll, sse: [dist.isotropic_nll_backward(dnll, 0.25)],
        {"sse": lambda rng, B, n, scale: scale * n * rng.random(B)}),
    "gaussian_nll": Example(
        dist.gaussian_nll_forward,
        lambda dnll, x, mu, var: (None, *dist.gaussian_nll_backward(dnll, x, mu, var)),
        {"x": unit, "mu": real, "var": positive}),
    "bernoulli_nll": Example(
        dist.bernoulli_nll_forward,
        lambda dnll, x, logits: (
            None, dist.bernoulli_nll_backward(dnll, x, layers.sigmoid_forward(logits))),
        {"x": unit, "logits": real}),
    "categorical_nll": Example(
        dist.categorical_nll_forward,
        lambda dce, logits, y: (
            dist.categorical_nll_backward(dce, layers.softmax_forward(logits), y), None),
        {"logits": real, "y": one_hot}),
}  # fmt: skip
