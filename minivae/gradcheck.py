"""Gradient checks: the derivative by its definition, beside the one that was derived by hand.

The error of an array is max|analytic − numeric| / max(max|analytic|, max|numeric|), and 0 where
both are 0: one wrong entry is not averaged away by a thousand right ones.
"""

from dataclasses import dataclass

import numpy as np

from .errors import ConfigError

STEP = 1e-4  # of the central difference; its own error then is some 1e-8 of the gradient
TOLERANCE = 1e-6


@dataclass
class Row:
    """One array: its error, and the entry where analytic and numeric lie furthest apart."""

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float


@dataclass
class Report:
    """The rows, the worst first."""

    rows: list[Row]

    @property
    def max_error(self) -> float:
        return self.rows[0].error

    @property
    def passed(self) -> bool:
        return self.max_error <= TOLERANCE

    def __str__(self):
        lines = [f"{'':26} {'worst entry':>12} {'analytic':>18} {'numeric':>18} {'error':>9}"]
        for row in self.rows:
            index = ",".join(map(str, row.index))
            numbers = f"{row.analytic:18.10e} {row.numeric:18.10e} {row.error:9.1e}"
            lines.append(f"{row.name:26} {index:>12} {numbers}")
        verdict = "passed" if self.passed else "FAILED"
        lines.append(f"{verdict}: largest error {self.max_error:.1e}, allowed {TOLERANCE:.1e}")
        return "\n".join(lines)


def check_pair(forward, backward, inputs, names=None, seed=0):
    """Hold backward(*upstream, *inputs) against central differences of forward(*inputs) -> Report.

    inputs are float64 arrays. forward gives an array or a tuple of arrays; backward the gradients
    in the order of the inputs, None for an input that has none. upstream, the gradient of the
    output, is random. A pair whose backward takes other operands is adapted in one line:

        check_pair(sigmoid_forward, lambda dh, a: [sigmoid_backward(dh, sigmoid_forward(a))], [a])
    """
    rng = np.random.default_rng(seed)
    inputs = [np.array(x, np.float64, order="C") for x in inputs]
    upstream = [rng.standard_normal(output.shape) for output in _as_tuple(forward(*inputs))]

    def loss():
        return sum(np.sum(d * output) for d, output in zip(upstream, _as_tuple(forward(*inputs))))

    gradients = _as_tuple(backward(*upstream, *inputs))
    names = names or [f"input {i}" for i in range(len(inputs))]
    rows = []
    for name, x, gradient in zip(names, inputs, gradients, strict=True):
        if gradient is not None:
            rows.append(_row(name, loss, x, gradient, np.arange(x.size)))
    return _report(rows)


def check_model(vae, x, labels=None, seed=0, entries=20):
    """Hold vae.backward against central differences of vae.forward, in float64 -> Report.

    Of each tensor that many entries, drawn by the seed like the noise; entries=None takes all.
    Where a step crosses the kink of a relu the two differ; another seed takes other entries.
    With label_gradient=False backward takes the decoder's probs for constants; the loss that is
    differentiated numerically then holds them fixed too.
    """
    rng = np.random.default_rng(seed)
    vae = vae.astype(np.float64)
    eps = rng.standard_normal((len(x), vae.config.latent_dim))
    _, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    gradients = vae.gradients()

    def loss():
        value, moved = vae.forward(x, eps, labels)
        if vae.config.label_gradient:
            return value
        # Built anew, not value with one nll for another: a gradient that is 0 stays exactly 0.
        cost = vae.nll(x, moved.z, acts.probs) + vae.config.beta * moved.kl
        if moved.ce is not None:
            cost = cost + vae.config.classifier_weight * moved.ce
        return np.mean(cost)

    rows = []
    for name, W in vae.parameters().items():
        chosen = np.arange(W.size)
        if entries is not None and entries < W.size:
            chosen = rng.choice(W.size, entries, replace=False)
        rows.append(_row(name, loss, W, gradients[name], chosen))
    return _report(rows)


def _row(name, loss, x, gradient, chosen):
    """x is changed in place, one entry at a time, and put back."""
    if np.shape(gradient) != x.shape:
        raise ConfigError(f"the gradient of {name} has shape {np.shape(gradient)}, not {x.shape}")
    flat = x.reshape(-1)  # a view, for x is contiguous
    analytic = np.asarray(gradient).reshape(-1)[chosen]
    numeric = np.empty(len(chosen))
    for k, i in enumerate(chosen):
        value = flat[i]
        flat[i] = value + STEP
        above = loss()
        flat[i] = value - STEP
        below = loss()
        flat[i] = value
        numeric[k] = (above - below) / (2 * STEP)
    difference = np.abs(analytic - numeric)
    k = int(np.argmax(difference))
    scale = max(np.abs(analytic).max(), np.abs(numeric).max())
    error = difference[k] / scale if difference[k] else 0.0
    if not np.isfinite(error):
        error = np.inf
    index = tuple(int(i) for i in np.unravel_index(chosen[k], x.shape))
    return Row(name, index, float(analytic[k]), float(numeric[k]), float(error))


def _report(rows):
    if not rows:
        raise ConfigError("there is no gradient to check")
    return Report(sorted(rows, key=lambda row: -row.error))


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
