"""Gradient checks: compare a gradient that was derived by hand with the derivative's definition.

For each entry of an input, backward computes how fast the loss changes with this entry. A gradient
check measures the same: it moves the entry by a little, and evaluates forward again; slopes.py has
two ways to do this. Only check_model and loss_and_gradient need a model. The error of a tensor is

    max|analytic − numeric| / max(max|analytic|, max|numeric|), and 0 where both are 0,

so that one wrong entry is not averaged away by a thousand right ones. method="complex", the
default, is exact to rounding, but the function has to be analytic. np.abs, np.sign, np.linalg.norm,
np.conj, np.vdot, x.var() and x.std() (which use abs) are not: with them a right gradient can fail
and a wrong one can pass. Write (x − m) * (x − m) instead, or use "central". "both" measures in both
ways. The complex step then decides, and where the central difference does not agree with it, the
report gives the reason. step is 1e-30 for the complex step and 1e-4 for the central difference;
with "both" you can change the latter.
"""

import math
from collections import namedtuple
from functools import partial

import numpy as np

from ..config import stream
from ..devices import ops
from ..devices.memory import get
from ..errors import ConfigError
from .report import Report, judge
from .slopes import measure

LossAndGradient = namedtuple("LossAndGradient", "loss theta dtheta names")


def check_pair(forward, backward, inputs, names=None, *, method="complex", step=None, seed=0):
    """Compare backward(*upstream, *inputs) with the derivative of forward(*inputs) -> Report.

    inputs is a list of arrays. forward returns an array or a tuple of arrays; backward returns the
    gradients in the order of the inputs, None for an input that has none, and must not change the
    arrays that it is given. If backward takes other arguments, adapt it in one line:

        check_pair(sigmoid_forward, lambda dh, a: [sigmoid_backward(dh, sigmoid_forward(a))], [a])

    Only a single number has a gradient, and forward returns arrays. So a random array `upstream` is
    drawn for each output, and L = Σ upstream · output is differentiated. Then ∂L/∂output is
    upstream, and by the chain rule backward(upstream, …) has to return ∂L/∂input. upstream is
    random because special numbers hide mistakes: the outputs of a softmax add up to 1, so with ones
    L is constant, and a backward that returns zeros would pass.
    """
    rng = stream(seed, "upstream")
    # np.broadcast_to gives views that NumPy does not let anybody write to.
    inputs = [np.broadcast_to(x, x.shape) for x in inputs]
    exact = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
    outputs = [np.asarray(y) for y in _as_tuple(forward(*inputs))]
    drawn = [rng.standard_normal(y.shape).astype(np.result_type(y, np.float32)) for y in outputs]
    upstream = [np.broadcast_to(d, d.shape) for d in drawn]
    gradients = _as_tuple(backward(*upstream, *inputs))
    names = names or [f"input {k}" for k in range(len(inputs))]
    counts = f"{len(inputs)} inputs, {len(gradients)} gradients (None counts), {len(names)} names"
    if not len(gradients) == len(names) == len(inputs):
        raise ConfigError(counts)

    def loss(k, theta):
        moved = [*exact[:k], theta.reshape(exact[k].shape), *exact[k + 1 :]]
        return sum(np.sum(d * y) for d, y in zip(upstream, _as_tuple(forward(*moved))))

    rows = []
    for k, (name, x, dx) in enumerate(zip(names, exact, gradients)):
        if dx is not None and (np.shape(dx) != x.shape or x.dtype.kind != "f"):
            raise ConfigError(
                f"{name} is {x.dtype} {x.shape}, its gradient {np.shape(dx)}: an input of floats "
                "has a gradient of its own shape, any other input None"
            )
        if dx is not None:
            given = partial(loss, k), x.ravel(), np.ravel(dx), {name: x.shape}
            rows += check_entries(*given, method=method, step=step).rows
    return Report(rows, method)


def check_entries(
    loss, theta, dtheta, names=None, *, entries=None, method="complex", step=None, seed=0
):
    """Compare dtheta (P,) with the derivative of loss along single entries of theta -> Report.

    loss(theta) returns a number; theta (P,) is complex for the complex step. names {name: shape},
    in the order of theta, makes one row per tensor. entries is how many to compare in each tensor:
    the largest of dtheta, and others drawn by the seed. None compares all.
    """
    theta, dtheta, names = _vectors(theta, dtheta, names)
    if entries is not None and entries < 1:
        raise ConfigError(f"entries={entries}: at least 1, or None for all")
    rng = stream(seed, "entries")

    def along(i, t):
        moved = theta.astype(np.result_type(theta, t))
        moved[i] += t
        return loss(moved)

    rows, start = [], 0
    for name, shape in names.items():
        gradient = dtheta[start : start + math.prod(shape)]
        chosen = np.arange(gradient.size)
        if entries is not None and entries < gradient.size:
            chosen = rng.choice(gradient.size, entries, replace=False)
            largest = np.argmax(np.abs(gradient))
            if largest not in chosen:
                chosen[0] = largest
        slopes, rounding = measure([partial(along, start + i) for i in chosen], method, step)
        scale = np.max(np.abs(gradient))
        row, k = judge(name, gradient[chosen], scale, slopes, rounding, dtheta.dtype)
        row.index = tuple(int(i) for i in np.unravel_index(chosen[k], shape))
        rows.append(row)
        start += gradient.size
    return Report(rows, method)


def check_direction(loss, theta, dtheta, *, method="complex", step=None, seed=0):
    """Compare dtheta · v with the derivative of loss along one random v of length 1 -> Report.

    loss, theta and dtheta as in check_entries. All P parameters move at once, so that one call of
    loss is enough for any P (two by central differences, four by both). The error is relative to
    ‖dtheta‖/√P, or to the derivative where it is larger. That is the usual size of dtheta · v,
    because each v_i² is 1/P on average; dtheta · v itself can be near 0 by chance.
    """
    theta, dtheta, _ = _vectors(theta, dtheta, None)
    v = stream(seed, "direction").standard_normal(theta.shape)
    v /= math.sqrt(v @ v)
    exact = dtheta.astype(np.float64)
    name, analytic, scale = "random direction", exact @ v, math.sqrt(exact @ exact / len(exact))
    slopes, rounding = measure([lambda t: loss(theta + t * v)], method, step)
    row, _ = judge(name, np.array([analytic]), scale, slopes, rounding, dtheta.dtype)
    return Report([row], method)


def loss_and_gradient(vae, x, labels=None, seed=0, dtype="float64"):
    """What check_entries needs to check a model -> (loss, theta, dtheta, names), a named tuple.

    backward computes dtheta in the dtype, on the model's device; all arrays returned are on the
    host. loss(theta) takes float64 or complex numbers, and uses the same images and noise, which is
    drawn by the seed. With label_gradient=False it holds the decoder's probabilities fixed.
    """
    vae = vae.astype(dtype)
    eps = stream(seed, "noise").standard_normal((len(x), vae.config.latent_dim)).astype(dtype)
    _, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    host, x = vae.to("cpu"), get(acts.x)
    held = None if acts.probs is None else get(acts.probs)
    with ops.replaced(stop_gradient_forward=lambda probs: held):
        models = {"f": host.astype("float64"), "c": host.astype("complex128")}

    def loss(theta):
        model = models[theta.dtype.kind]
        model.theta[...] = theta
        return model.forward(x, eps, labels)[0]

    names = {name: W.shape for name, W in vae.parameters().items()}
    return LossAndGradient(loss, host.theta, get(vae.dtheta), names)


def check_model(
    vae, x, labels=None, seed=0, *, entries=20, method="complex", step=None, dtype="float64"
):
    """Compare vae.backward with the derivative of vae.forward -> Report, one row per tensor.

    x (B, D), labels as in VAE.forward; entries of each tensor as in check_entries. dtype is that of
    the gradient. To check all parameters at once, use loss_and_gradient and check_direction.
    """
    given = loss_and_gradient(vae, x, labels, seed, dtype)
    return check_entries(*given, entries=entries, method=method, step=step, seed=seed)


def _vectors(theta, dtheta, names):
    theta, dtheta = np.array(theta, np.float64), np.asarray(dtheta)
    names = names or {"theta": theta.shape}
    sizes = [math.prod(shape) for shape in names.values()]
    if not theta.shape == dtheta.shape == (sum(sizes),) or 0 in sizes:
        raise ConfigError(f"theta {theta.shape}, dtheta {dtheta.shape}: names hold {sizes} entries")
    return theta, dtheta, names


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
