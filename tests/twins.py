"""The functions of cpu.py and cuda.py that replace one of the lesson's, and arguments for both."""

import inspect

import numpy as np

from minivae import Adam
from minivae.devices import memory, readable

READABLE = vars(readable)
NUMBERS = {"var_floor": 1e-5, "D": 784, "t": 3, "lr": 1e-3, "beta1": 0.9, "beta2": 0.999}
ROWS = "dkl dsse sse dnll dce".split()  # one number per example
FLAT = "theta dtheta m v".split()


def names(module):
    """The functions of cpu.py or cuda.py that are also in readable.py."""
    return [
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and name in READABLE
    ]


def put(x, device):
    """An array, put on the device; a number stays one."""
    return memory.put(x, device) if isinstance(x, np.ndarray) else x


def arguments(name, rng, B, n, dtype, extreme=False):
    """Random arguments by their names, in the order of the signature; extreme: logits of ±90."""
    return {
        parameter: argument(name, parameter, rng, B, n, np.dtype(dtype), extreme)
        for parameter in inspect.signature(READABLE[name]).parameters
    }


def argument(name, parameter, rng, B, n, dtype, extreme):
    if parameter in NUMBERS:
        return NUMBERS[parameter]
    if name.startswith("isotropic") and parameter == "var":
        return 0.25
    if name.startswith("adam") and parameter == "eps":
        return 1e-8
    if parameter in ROWS or parameter in FLAT:
        values = rng.standard_normal(B)
        return (values * values if parameter in ("sse", "v") else values).astype(dtype)
    values = {
        "y": lambda: np.eye(n)[rng.integers(n, size=B)] * (np.arange(B) != 2)[:, None],  # one: none
        "x": lambda: rng.random((B, n)),
        "W": lambda: rng.standard_normal((n, 3)),
        "b": lambda: rng.standard_normal(3),
        "h": lambda: 2 * rng.random((B, n)) - 1,
        "var": lambda: 0.5 + np.exp(rng.standard_normal((B, n))),
        "probs": lambda: rng.dirichlet(np.ones(n), B),
    }.get(parameter, lambda: rng.standard_normal((B, n)))()
    if extreme and parameter in ("a", "logits"):
        values = 90 * np.sign(values)
    return values.astype(dtype)


def values(loss, acts):
    """{name: array} of everything that a forward pass has computed."""
    return {"loss": loss} | acts.arrays()


def steps(vae, batch, n=3):
    """n steps on the same batch -> for each step every value, every gradient, and the weights."""
    adam, records = Adam(vae.theta), []
    for _ in range(n):
        loss, acts = vae.forward(*batch)
        vae.backward(acts)
        record = values(loss, acts)
        record |= {f"d {name}": np.multiply(g, 1) for name, g in vae.gradients().items()}
        adam.step(vae.theta, vae.dtheta)
        record["theta"] = np.multiply(vae.theta, 1)  # a copy
        records.append(record)
    return records
