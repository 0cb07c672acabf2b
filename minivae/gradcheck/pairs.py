"""Every pair of layers.py and distributions.py, with random inputs to try it on."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..devices import ops, readable


class Pair(NamedTuple):
    """A forward and its backward, as a gradient check wants them, and random inputs for them."""

    forward: Callable  # forward(*inputs)
    backward: Callable  # backward(upstream, *inputs) -> a gradient, or None, for each input
    draws: dict[str, str]  # {name of the input: its kind in DRAW}

    def inputs(self, rng, B, n, scale=1.0):
        """Random arrays of B examples of n numbers, of about the size `scale` where it is free."""
        return [DRAW[kind](rng, B, n, scale) for kind in self.draws.values()]


DRAW: dict[str, Callable] = {
    "real": lambda rng, B, n, scale: scale * rng.standard_normal((B, n)),
    # Above ½, because near 0 the curvature of 1/var would spoil the central difference.
    "variance": lambda rng, B, n, scale: scale * (0.5 + np.exp(rng.standard_normal((B, n)))),
    "unit": lambda rng, B, n, scale: rng.random((B, n)),
    "one-hot": lambda rng, B, n, scale: np.eye(n)[rng.integers(n, size=B)],
    "weights": lambda rng, B, n, scale: rng.standard_normal((n, 3)),
    "biases": lambda rng, B, n, scale: rng.standard_normal(3),
    "errors": lambda rng, B, n, scale: scale * n * rng.random(B),
    "costs": lambda rng, B, n, scale: scale * rng.standard_normal(B),
}
INPUTS = {  # of each forward function: {name: kind}
    "linear": {"x": "real", "W": "weights", "b": "biases"},
    **{name: {"a": "real"} for name in ("sigmoid", "tanh", "relu", "leaky_relu", "identity")},
    "softmax": {"logits": "real"},
    "variance": {"log_var": "real"},
    "reparameterize": {"mu": "real", "var": "variance", "eps": "real"},
    "gaussian_kl": {"mu": "real", "var": "variance"},
    "squared_error": {"x": "unit", "mean": "real"},
    "isotropic_nll": {"sse": "errors"},
    "gaussian_nll": {"x": "unit", "mean": "real", "var": "variance"},
    "bernoulli_nll": {"x": "unit", "logits": "real"},
    "categorical_nll": {"logits": "real", "y": "one-hot"},
    "batch_mean": {"cost": "costs"},
}
CONSTANTS = {"variance": {"var_floor": 0.3}, "isotropic_nll": {"var": 0.25, "D": 784}}


def pair(name) -> Pair:
    """The pair of this name, of the functions that a model on the CPU uses for the same dtype."""
    draws, constants = INPUTS[name], CONSTANTS.get(name, {})
    wrt = getattr(readable, f"{name}_backward").wrt

    def forward(*inputs):
        functions = ops.pick("cpu", np.result_type(*inputs))
        return getattr(functions, f"{name}_forward")(*inputs, **constants)

    def backward(upstream, *inputs):
        """Give the backward what it asks for by name: inputs, values computed from them, or arrays
        to fill."""
        functions = ops.pick("cpu", np.result_type(*inputs))
        function = getattr(functions, f"{name}_backward")
        known = constants | dict(zip(draws, inputs))
        known |= {f"d{key}": np.full_like(known[key], np.nan) for key in wrt}
        if name == "bernoulli_nll":
            known["probs"] = functions.sigmoid_forward(known["logits"])
        elif name == "categorical_nll":
            known["probs"] = functions.softmax_forward(known["logits"])
        _, *wanted = inspect.signature(function).parameters
        output = forward(*inputs)
        returned = function(upstream, *(known.get(key, output) for key in wanted))
        rest = iter(returned if isinstance(returned, tuple) else (returned,))
        gradients = {key: known[f"d{key}"] if f"d{key}" in wanted else next(rest) for key in wrt}
        return [gradients.get(key) for key in draws]

    return Pair(forward, backward, draws)


PAIRS = {name: pair(name) for name in INPUTS}
