"""Lock step: one training, done twice from the same weights, batches and noise, on two devices or in
two dtypes; every number on the way is compared, so that the first that differs can be named."""

import dataclasses

import numpy as np

from .backend import get
from .optim import Adam


def drift(first, second, images, labels, steps=100, batch_size=100, lr=1e-3, seed=0) -> dict:
    """How far two models with the same weights drift apart -> {name: (steps,) errors}.

    images (N, D), labels (N,) or None; rows are drawn with replacement. The names stand in the
    order of the computation: every value of forward, every gradient, then every weight after Adam's
    step. An error is max|a − b| / max(max|a|, max|b|), 0 where both are 0. Both models are trained.
    """
    rng = np.random.default_rng(seed)
    pair = [(vae, Adam(vae.theta, lr=lr)) for vae in (first, second)]
    errors: dict = {}
    for _ in range(steps):
        rows = rng.integers(len(images), size=batch_size)
        eps = rng.standard_normal((batch_size, first.config.latent_dim), dtype=np.float32)
        y = None if labels is None else labels[rows]
        one, other = (values(vae, adam, images[rows], eps, y) for vae, adam in pair)
        for name, a in one.items():
            errors.setdefault(name, []).append(error(a, other[name]))
    return {name: np.array(values) for name, values in errors.items()}


def values(vae, adam, x, eps, labels):
    """One training step -> {name: array of the host}, in the order of the computation."""
    loss, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    adam.step(vae.theta, vae.dtheta)
    named = {}
    for field in dataclasses.fields(acts):
        value = getattr(acts, field.name)
        if isinstance(value, list):
            named |= {f"{field.name}[{i}]": x for i, x in enumerate(value)}
        elif hasattr(value, "shape"):
            named[field.name] = value
    named["loss"] = loss
    named |= {f"d {name}": dW for name, dW in reversed(vae.gradients().items())}
    named |= vae.parameters()
    return {name: get(np.asarray(x) if np.isscalar(x) else x) for name, x in named.items()}


def error(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    difference = np.max(np.abs(a - b))
    return float(difference / max(np.max(np.abs(a)), np.max(np.abs(b)))) if difference else 0.0


def first_out(errors, tolerance):
    """(step from 1, name) of the first number beyond the tolerance, or None."""
    out = {name: np.flatnonzero(~(each <= tolerance)) for name, each in errors.items()}
    return min(((int(i[0]) + 1, name) for name, i in out.items() if i.size), default=None,
               key=lambda found: found[0])


def table(errors):
    """The errors after the first and the last step, and the largest: a line a number."""
    lines = [f"{'':24} {'step 1':>10} {f'step {len(next(iter(errors.values())))}':>10} {'largest':>10}"]
    for name, each in errors.items():
        lines.append(f"{name:24} {each[0]:10.1e} {each[-1]:10.1e} {np.max(each):10.1e}")
    return "\n".join(lines)
