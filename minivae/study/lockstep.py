"""Lock step: a training done twice, on two devices or in two dtypes, and compared at every step."""

import numpy as np

from ..devices.memory import get
from ..optim import Adam


def drift(first, second, images, labels, steps=100, batch_size=100, lr=1e-3, seed=0) -> dict:
    """Train both on the same batches and noise -> {name: (steps,) errors}.

    The models have the same weights; images (N, D), labels (N,) or None; a batch is drawn with
    replacement. The names, in the order of the computation: each value of forward, each gradient,
    each weight after Adam's step. An error is max|a − b| / max(max|a|, max|b|), 0 where both are 0.
    """
    rng = np.random.default_rng(seed)
    pair = [(vae, Adam(vae.theta, lr=lr)) for vae in (first, second)]
    errors: dict[str, list] = {}
    for _ in range(steps):
        rows = rng.integers(len(images), size=batch_size)
        eps = rng.standard_normal((batch_size, first.config.latent_dim), dtype=np.float32)
        y = None if labels is None else labels[rows]
        one, other = (values(vae, adam, images[rows], eps, y) for vae, adam in pair)
        for name, a in one.items():
            errors.setdefault(name, []).append(error(a, other[name]))
    return {name: np.array(each) for name, each in errors.items()}


def values(vae, adam, x, eps, labels):
    """One training step -> {name: array of the host}, in the order of the computation."""
    loss, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    adam.step(vae.theta, vae.dtheta)
    gradients = {f"d {name}": dW for name, dW in reversed(vae.gradients().items())}
    named = acts.arrays() | {"loss": loss.reshape(1)} | gradients | vae.parameters()
    first = {id(value): name for name, value in reversed(named.items())}
    # An array with several names, such as code and z in a model without classes, is listed once.
    return {first[id(value)]: get(value) for value in named.values()}


def error(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    difference = np.max(np.abs(a - b))
    return float(difference / max(np.max(np.abs(a)), np.max(np.abs(b)))) if difference else 0.0


def first_out(errors, tolerance):
    """(step from 1, name) of the first number beyond the tolerance, or None."""
    beyond = ~(np.array(list(errors.values())) <= tolerance)  # also NaN
    if not beyond.any():
        return None
    step = int(np.argmax(beyond.any(axis=0)))
    return step + 1, list(errors)[int(np.argmax(beyond[:, step]))]


def table(errors):
    """The errors after the first and the last step, and the largest: one line per name."""
    last = f"step {len(errors['loss'])}"
    lines = [f"{'':24} {'step 1':>10} {last:>10} {'largest':>10}"]
    for name, each in errors.items():
        lines.append(f"{name:24} {each[0]:10.1e} {each[-1]:10.1e} {np.max(each):10.1e}")
    return "\n".join(lines)
