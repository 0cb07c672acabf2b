"""Gradient checks: the derivative by its definition, beside the one that was derived by hand.

check_pair, check_entries and check_direction know nothing of the model, and work on functions of
the reader's own. The error of a tensor is

    max|analytic − numeric| / max(max|analytic|, max|numeric|), and 0 where both are 0:

one wrong entry is not averaged away by a thousand right ones.

method="complex", the default, is exact to rounding, but the function has to be analytic: np.abs,
np.sign, np.linalg.norm, np.conj, np.vdot, x.var() and x.std() (which use abs) are not, and with
them a right gradient can fail and a wrong one pass. Write (x − m) * (x − m) in their place, or take
"central", which needs no more than a derivative. "both" shows the two side by side. step is that of
the method, 1e-30 or 1e-4; of "both" that of the central difference.
"""

import math
from functools import partial

import numpy as np

from .backend import get
from .errors import ConfigError
from .report import Report, Row
from .slopes import METHODS, STEPS, is_kinked

# What passes: rounding, several hundred times 2e-16; the curvature within a step of 1e-4; and, of a
# gradient that was computed in float32, some hundred times the rounding 6e-8.
TOLERANCES = {"complex": 1e-13, "central": 1e-6}
TOLERANCE_FLOAT32 = 1e-5
# Random streams apart from the reader's own default_rng(seed): an upstream gradient that equals
# the input would hide mistakes.
UPSTREAM, ENTRIES, DIRECTION, NOISE = 5, 6, 7, 8


def check_pair(forward, backward, inputs, names=None, *, method="complex", step=None, seed=0):
    """Compare backward(*upstream, *inputs) with the derivative of forward(*inputs) -> Report.

    inputs is a list of arrays; forward gives an array or a tuple of arrays; backward the gradients
    in the order of the inputs, None for an input that has none. upstream, the gradient of the
    outputs, is random. A pair whose backward takes other operands is adapted in one line:

        check_pair(sigmoid_forward, lambda dh, a: [sigmoid_backward(dh, sigmoid_forward(a))], [a])

    backward gets read-only arrays: if it changes one, NumPy raises at that line.
    """
    rng = np.random.default_rng([seed, UPSTREAM])
    inputs = [_read_only(x) for x in inputs]
    exact = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
    outputs = [np.asarray(y) for y in _as_tuple(forward(*inputs))]
    upstream = [
        _read_only(rng.standard_normal(y.shape).astype(y.dtype if y.dtype.kind == "f" else float))
        for y in outputs
    ]
    gradients = _as_tuple(backward(*upstream, *inputs))
    names = names or [f"input {k}" for k in range(len(inputs))]
    if not len(gradients) == len(names) == len(inputs):
        raise ConfigError(
            f"{len(inputs)} inputs, {len(gradients)} gradients (None counts), {len(names)} names"
        )

    def loss(k, theta):
        moved = [*exact[:k], theta.reshape(exact[k].shape), *exact[k + 1 :]]
        return sum(np.sum(d * y) for d, y in zip(upstream, _as_tuple(forward(*moved))))

    rows = []
    for k, (name, x, dx) in enumerate(zip(names, exact, gradients)):
        if dx is None:
            continue
        if np.shape(dx) != x.shape or x.dtype.kind != "f":
            raise ConfigError(
                f"{name} is {x.dtype} {x.shape}, its gradient {np.shape(dx)}: an input of floats "
                "has a gradient of its own shape, any other input None"
            )
        flat = x.ravel(), np.ravel(dx), {name: x.shape}
        rows += check_entries(partial(loss, k), *flat, method=method, step=step).rows
    return Report(rows, method)


def check_entries(
    loss, theta, dtheta, names=None, *, entries=None, method="complex", step=None, seed=0
):
    """Compare dtheta (P,) with the derivative of loss along single entries of theta -> Report.

    loss(theta) gives a number. It is called with a copy of theta (P,), complex for the complex
    step, in which one entry is moved. names {name: shape}, in the order of theta, makes a row of
    each tensor; entries: that many of each, the largest of dtheta and others drawn by the seed;
    None takes all.
    """
    theta, dtheta, names = _vectors(theta, dtheta, names)
    if entries is not None and entries < 1:
        raise ConfigError(f"entries={entries}: at least 1, or None for all")
    real, complex_ = theta.copy(), theta.astype(complex)
    rng = np.random.default_rng([seed, ENTRIES])

    def along(i):
        def f(t):
            moved = complex_ if isinstance(t, complex) else real
            moved[i] = theta[i] + t
            value = loss(moved)
            moved[i] = theta[i]
            return value

        return f

    rows, start = [], 0
    for name, shape in names.items():
        gradient = dtheta[start : start + math.prod(shape)]
        chosen = np.arange(gradient.size)
        if entries is not None and entries < gradient.size:
            chosen = rng.choice(gradient.size, entries, replace=False)
            largest = np.argmax(np.abs(gradient))
            if largest not in chosen:
                chosen[0] = largest
        lines = [along(start + i) for i in chosen]
        analytic = gradient[chosen]
        scale = np.max(np.abs(analytic))  # of the whole tensor, for its largest is among them
        row, k = _row(name, lines, analytic, scale, dtheta.dtype, method, step)
        row.index = tuple(int(i) for i in np.unravel_index(chosen[k], shape))
        rows.append(row)
        start += gradient.size
    return Report(rows, method)


def check_direction(loss, theta, dtheta, *, method="complex", step=None, seed=0):
    """Compare dtheta · v with the derivative of loss along one random v of length 1 -> Report.

    loss, theta and dtheta as in check_entries. One row, for any number P of parameters, from one or
    two calls of loss. dtheta · v is about ‖dtheta‖ / √P: the error is relative to that, or to the
    derivative where it is larger.
    """
    theta, dtheta, _ = _vectors(theta, dtheta, None)
    v = np.random.default_rng([seed, DIRECTION]).standard_normal(theta.shape)
    v /= math.sqrt(v @ v)
    exact = dtheta.astype(np.float64)
    scale = math.sqrt(exact @ exact / len(exact))
    along = [lambda t: loss(theta + t * v)]
    analytic = np.array([exact @ v])
    row, _ = _row("random direction", along, analytic, scale, dtheta.dtype, method, step)
    return Report([row], method)


def problem(vae, x, labels=None, seed=0, dtype="float64"):
    """A model as the checkers take it -> loss, theta, dtheta, names.

    dtheta is computed in the dtype, loss in double precision from the same numbers, the noise drawn
    by the seed. With label_gradient=False backward takes the decoder's probs for constants: the
    loss then holds them fixed too.
    """
    vae = vae.astype(dtype)
    x = np.asarray(x).astype(dtype)
    rng = np.random.default_rng([seed, NOISE])
    eps = rng.standard_normal((len(x), vae.config.latent_dim)).astype(dtype)
    _, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    host, probs = vae.to("cpu"), None if acts.probs is None else get(acts.probs)
    real, complex_ = host.astype("float64"), host.astype("complex128")

    def loss(theta):
        twin = complex_ if np.iscomplexobj(theta) else real
        twin.theta[...] = theta
        value, moved = twin.forward(x, eps, labels)
        if vae.config.label_gradient:
            return value
        # Added up anew: value − nll + nll would leave rounding where the gradient is exactly 0.
        cost = twin.nll(x, moved.z, probs) + vae.config.beta * moved.kl
        if moved.ce is not None:
            cost = cost + vae.config.classifier_weight * moved.ce
        return np.mean(cost)

    names = {name: W.shape for name, W in vae.parameters().items()}
    return loss, host.theta, get(vae.dtheta), names


def check_model(
    vae, x, labels=None, seed=0, *, entries=20, method="complex", step=None, dtype="float64"
):
    """Compare vae.backward with the derivative of vae.forward -> Report, a row a tensor.

    x (B, D), labels as in VAE.forward; entries of each tensor as in check_entries. dtype is that of
    the gradient. For all parameters at once, as one tensor without names:

        check_direction(*problem(vae, x, labels)[:3])
    """
    given = problem(vae, x, labels, seed, dtype)
    return check_entries(*given, entries=entries, method=method, step=step, seed=seed)


def _row(name, lines, analytic, scale, dtype, method, step):
    """-> Row, and the number of the entry that is furthest off.

    lines: for each entry the function of one number that moves it; scale: the size that errors are
    compared with, where no numeric value is larger.
    """
    if method not in ("complex", "central", "both"):
        raise ConfigError(f"method={method!r}: complex, central or both")
    both = method == "both"
    steps = STEPS if step is None else STEPS | {"central" if both else method: step}
    found = {}
    kinks: list[int] = []
    for each in METHODS if both else [method]:
        tolerance = TOLERANCE_FLOAT32 if dtype == np.float32 else TOLERANCES[each]
        numeric = np.array([float(METHODS[each](f, steps[each])) for f in lines])
        difference = np.abs(analytic - numeric)
        if each == "central":
            slack = tolerance * scale
            for i in np.flatnonzero(difference > slack).tolist():
                if is_kinked(lines[i], steps[each], analytic[i], slack):
                    kinks.append(i)
            difference[kinks] = 0
        worst = np.max(difference)
        # Without the kinks, for a central difference across one may be huge.
        largest = np.max(np.abs(np.delete(numeric, kinks)), initial=scale)
        error = float(worst / largest) if worst else 0.0
        error = error if math.isfinite(error) else math.inf
        found[each] = numeric, difference, error, error <= tolerance

    numeric, shown, error, passed = found["complex" if both else method]
    central, difference, central_error, central_passed = found["central" if both else method]
    if passed and not central_passed:
        shown = difference
    if passed:
        shown[kinks] = -1  # so that both have compared the entry shown, where there is such a one
    k = int(np.argmax(shown))
    row = Row(name, (), float(analytic[k]), float(numeric[k]), error, passed, len(kinks))
    if both:
        row.central, row.central_error = float(central[k]), central_error
        row.passed = passed and central_passed
    return row, k


def _vectors(theta, dtheta, names):
    """theta in float64, dtheta as it is, and the shapes by name; all of one length."""
    theta, dtheta = np.array(theta, np.float64), np.asarray(dtheta)
    names = names or {"theta": theta.shape}
    sizes = [math.prod(shape) for shape in names.values()]
    P = sum(sizes)
    if theta.shape != (P,) or dtheta.shape != (P,) or 0 in sizes:
        raise ConfigError(f"theta {theta.shape}, dtheta {dtheta.shape}: names hold {sizes} entries")
    return theta, dtheta, names


def _read_only(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
