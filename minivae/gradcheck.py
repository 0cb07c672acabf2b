"""Gradient checks: the derivative by its definition, beside the one that was derived by hand.

Nothing here knows the model, so that every checker works on functions of the reader's own. The
error of a tensor is max|analytic − numeric| / max(max|analytic|, max|numeric|), and 0 where both
are 0: one wrong entry is not averaged away by a thousand right ones.

method="complex", the default, is exact to rounding, but wants analytic functions: with abs, sign, a
norm or a conjugate it goes wrong, often in silence. "central" asks for a derivative only. "both"
shows them side by side: where they disagree, look at the function before the gradient.
"""

import math
from functools import partial

import numpy as np

from .errors import ConfigError
from .report import Report, Row

STEPS = {"complex": 1e-30, "central": 1e-4}
TOLERANCES = {"complex": 1e-13, "central": 1e-6}
TOLERANCE_FLOAT32 = 1e-5  # of a gradient computed in float32; the numbers beside it are in double


def complex_step(f, step=STEPS["complex"]):
    """(E20)  f′(0) = Im f(ih) / h + O(h²),  h = step

    f: a function of one number, real for real ones. Nothing is subtracted, so nothing cancels, and
    h may be so small that h² is gone.
    Source: Squire, Trapp 1998, "Using complex variables to estimate derivatives of real functions".
    """
    value = f(step * 1j)
    if not np.iscomplexobj(value):
        raise ConfigError("the function is real for a complex argument: it has no complex step")
    return value.imag / step


def central_difference(f, step=STEPS["central"]):
    """(E21)  f′(0) = (f(h) − f(−h)) / 2h + O(h²),  h = step

    f: a function of one number. A smaller h has less curvature and more rounding in it.
    Source: Nocedal, Wright 2006, "Numerical Optimization", section 8.1.
    """
    return (f(step) - f(-step)) / (2 * step)


SIDES = np.array([-1, 1, -0.1, 0.1])
METHODS = {"complex": complex_step, "central": central_difference}


def check_pair(forward, backward, inputs, names=None, *, method="complex", step=None, seed=0):
    """Hold backward(*upstream, *inputs) against the derivative of forward(*inputs) -> Report.

    inputs are arrays; forward gives an array or a tuple of arrays; backward the gradients in the
    order of the inputs, None for an input that has none. upstream, the gradient of the outputs, is
    random. A pair whose backward takes other operands is adapted in one line:

        check_pair(sigmoid_forward, lambda dh, a: [sigmoid_backward(dh, sigmoid_forward(a))], [a])

    The arrays given to backward are read-only: one that changes them raises where it does.
    """
    rng = np.random.default_rng(seed)
    inputs = [_read_only(x) for x in inputs]
    exact = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
    outputs = _as_tuple(forward(*inputs))
    upstream = [_read_only(rng.standard_normal(y.shape).astype(y.dtype)) for y in outputs]
    gradients = _as_tuple(backward(*upstream, *inputs))

    def loss(k, theta):
        moved = [*exact[:k], theta.reshape(exact[k].shape), *exact[k + 1 :]]
        return sum(np.sum(d * y) for d, y in zip(upstream, _as_tuple(forward(*moved))))

    names = names or [f"input {k}" for k in range(len(inputs))]
    rows = []
    for k, (name, x, dx) in enumerate(zip(names, exact, gradients, strict=True)):
        if dx is None:
            continue
        if np.shape(dx) != x.shape:
            raise ConfigError(f"the gradient of {name} has shape {np.shape(dx)}, not {x.shape}")
        given = partial(loss, k), x.ravel(), np.ravel(dx), {name: x.shape}
        rows += check_entries(*given, method=method, step=step).rows
    return Report(rows, method)


def check_entries(
    loss, theta, dtheta, names=None, *, entries=None, method="complex", step=None, seed=0
):
    """Hold dtheta (P,) against the derivative of loss along single entries of theta -> Report.

    loss(theta) gives a number. It is called with a copy of theta (P,), complex for the complex
    step, in which one entry is moved. names {name: shape}, in the order of theta, makes a row of
    each tensor; entries: that many of each, drawn by the seed; None takes all.
    """
    theta = np.array(theta, np.float64)
    dtheta = np.asarray(dtheta)
    names = names or {"theta": theta.shape}
    P = sum(map(math.prod, names.values()))
    if theta.shape != (P,) or dtheta.shape != (P,):
        raise ConfigError(f"theta {theta.shape}, dtheta {dtheta.shape}; names hold {P} entries")
    moved = {False: theta.copy(), True: theta.astype(complex)}
    rng = np.random.default_rng(seed)

    def along(i):
        def f(t):
            vector = moved[isinstance(t, complex)]
            vector[i] = theta[i] + t
            value = loss(vector)
            vector[i] = theta[i]
            return value

        return f

    rows, start = [], 0
    for name, shape in names.items():
        gradient = dtheta[start : start + math.prod(shape)]
        chosen = np.arange(gradient.size)
        if entries is not None and entries < gradient.size:
            chosen = rng.choice(gradient.size, entries, replace=False)
        lines = [along(start + i) for i in chosen]
        largest = np.max(np.abs(gradient))
        row = _row(name, lines, gradient[chosen], largest, dtheta.dtype, method, step)
        row.index = tuple(int(i) for i in np.unravel_index(chosen[row.index[0]], shape))
        rows.append(row)
        start += gradient.size
    return Report(rows, method)


def check_direction(loss, theta, dtheta, *, method="complex", step=None, seed=0):
    """Hold dtheta · v against the derivative of loss along one random v ~ N(0, I) -> Report.

    loss, theta and dtheta as in check_entries. One row, for any number of parameters, from one or
    two calls of loss. The error is |analytic − numeric| / ‖dtheta‖, for dtheta · v is about as
    large as ‖dtheta‖; step is the length of the whole move.
    """
    theta = np.asarray(theta, np.float64)
    exact = np.asarray(dtheta, np.float64)
    v = np.random.default_rng(seed).standard_normal(theta.shape)
    length = math.sqrt(v @ v)
    v /= length
    along = [lambda t: loss(theta + t * v)]
    analytic, largest = np.array([exact @ v]), math.sqrt(exact @ exact) / length
    row = _row("random direction", along, analytic, largest, dtheta.dtype, method, step)
    row.index = ()
    return Report([row], method)


def problem(vae, x, labels=None, seed=0, dtype="float64"):
    """What the checkers above ask of a model -> loss, theta, dtheta, names.

    dtheta is computed in the dtype, loss in double precision from the same numbers, the noise drawn
    by the seed. With label_gradient=False backward takes the decoder's probs for constants: the
    loss then holds them fixed too.
    """
    vae = vae.astype(dtype)
    x = np.asarray(x).astype(dtype)
    eps = np.random.default_rng(seed).standard_normal((len(x), vae.config.latent_dim)).astype(dtype)
    _, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    twins = {False: vae.astype("float64"), True: vae.astype("complex128")}

    def loss(theta):
        twin = twins[np.iscomplexobj(theta)]
        twin.theta[...] = theta
        value, moved = twin.forward(x, eps, labels)
        if vae.config.label_gradient:
            return value
        # Built anew, not value with one nll for another: a gradient that is 0 stays exactly 0.
        cost = twin.nll(x, moved.z, acts.probs) + vae.config.beta * moved.kl
        if moved.ce is not None:
            cost = cost + vae.config.classifier_weight * moved.ce
        return np.mean(cost)

    names = {name: W.shape for name, W in vae.parameters().items()}
    return loss, vae.theta, vae.dtheta, names


def check_model(
    vae, x, labels=None, seed=0, *, entries=20, method="complex", step=None, dtype="float64"
):
    """Hold vae.backward against the derivative of vae.forward -> Report, a row a tensor.

    x (B, D), labels as in VAE.forward; entries: that many of each tensor, drawn by the seed like
    the noise; None takes all. dtype is that of the gradient. For all parameters at once:

        check_direction(*problem(vae, x, labels)[:3])
    """
    given = problem(vae, x, labels, seed, dtype)
    return check_entries(*given, entries=entries, method=method, step=step, seed=seed)


def _row(name, lines, analytic, largest, dtype, method, step):
    """lines: for each entry the function of one number that moves it; index then counts them.

    largest: the largest entry of the whole tensor's gradient, of which analytic may be a part.
    """
    if method not in ("complex", "central", "both"):
        raise ConfigError(f"method={method!r}: complex, central or both")
    both = method == "both"
    steps = STEPS if step is None else STEPS | {"central" if both else method: step}
    found = {}
    for each in METHODS if both else [method]:
        tolerance = TOLERANCE_FLOAT32 if dtype == np.float32 else TOLERANCES[each]
        numeric = np.array([float(METHODS[each](f, steps[each])) for f in lines])
        difference = np.abs(analytic - numeric)
        scale = max(largest, np.max(np.abs(numeric)))
        bent = []
        if each == "central":
            slack = tolerance * scale
            suspects = np.flatnonzero(difference > slack)
            bent = [k for k in suspects if _kink(lines[k], steps[each], analytic[k], slack)]
            difference[bent] = 0
        worst = np.max(difference)
        error = float(worst / scale) if worst else 0.0
        error = error if math.isfinite(error) else math.inf
        found[each] = numeric, difference, error, error <= tolerance, len(bent)
    numeric, difference, error, passed, kinks = found["complex" if both else method]
    k = int(np.argmax(difference))
    row = Row(name, (k,), float(analytic[k]), float(numeric[k]), error, passed, kinks)
    if both:
        numeric, _, row.central_error, passed, row.kinks = found["central"]
        row.central = float(numeric[k])
        row.passed = row.passed and passed
    return row


def _kink(f, step, analytic, slack):
    """Does a kink within the step explain why the central difference is not the analytic value?

    The slopes on the two sides of a smooth f differ by step · f″, at a tenth of the step by a tenth
    of that. What is left, the bend, moves the central difference by its half; and close to the
    middle the analytic value has to lie between the slopes. Several kinks can escape this: then the
    central difference fails, and the complex step tells.
    """
    middle = f(0.0)
    left, right, near_left, near_right = ((f(h) - middle) / h for h in step * SIDES)
    bend = right - left - 10 * (near_right - near_left)
    explained = abs((left + right) / 2 - analytic) < 0.55 * abs(bend) + slack
    low, high = sorted((near_left, near_right))
    return explained and low - slack <= analytic <= high + slack


def _read_only(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
