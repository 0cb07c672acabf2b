"""The twins of kernels.py, the readable functions that they repeat, and inputs for both."""

import inspect

import numpy as np

from minivae import backend, distributions, kernels, layers, optim

READABLE = vars(layers) | vars(distributions) | vars(optim)
NAMES = [
    name
    for name, function in inspect.getmembers(kernels, inspect.isfunction)
    if function.__module__ == kernels.__name__ and name in READABLE and name != "twin"
]
NUMBERS = {"var_floor": 1e-5, "D": 784, "beta1": 0.9, "beta2": 0.999, "rate": 1e-3}
ROWS = "dkl dsse sse dnll dce".split()  # one number an example
FLAT = "theta dtheta G S scratch".split()


def arguments(name, rng, B, n, dtype, extreme=False):
    """Random arguments by their names, in the order of the signature; extreme: logits of ±90."""
    return {
        parameter: argument(name, parameter, rng, B, n, np.dtype(dtype), extreme)
        for parameter in inspect.signature(READABLE[name]).parameters
    }


def on_device(x):
    """An array put where sys.modules has its cupy; a number stays one."""
    return backend.put(x, "gpu") if isinstance(x, np.ndarray) else x


def argument(name, parameter, rng, B, n, dtype, extreme):
    if parameter in NUMBERS:
        return NUMBERS[parameter]
    if name.startswith("isotropic") and parameter == "var":
        return 0.25
    if name.startswith("adam") and parameter == "eps":
        return 1e-8
    if parameter in ROWS or parameter in FLAT:
        values = rng.standard_normal(B)
        return (values * values if parameter in ("sse", "S") else values).astype(dtype)
    values = {
        "y": lambda: np.eye(n)[rng.integers(n, size=B)],
        "x": lambda: rng.random((B, n)),
        "h": lambda: 2 * rng.random((B, n)) - 1,
        "var": lambda: 0.5 + np.exp(rng.standard_normal((B, n))),
        "probs": lambda: rng.dirichlet(np.ones(n), B),
    }.get(parameter, lambda: rng.standard_normal((B, n)))()
    if extreme and parameter in ("a", "logits"):
        values = 90 * np.sign(values)
    return values.astype(dtype)
