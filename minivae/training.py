"""The loop: epochs of mini-batches, and the numbers that they leave behind."""

import contextlib
import dataclasses
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from .backend import get, keep_memory, put
from .checkpoint import TrainingState
from .config import integer, number
from .datasets import checked_images, checked_one_hot, minibatches
from .errors import ConfigError, DataError, DivergedError, OutOfMemoryError
from .likelihood import neg_elbo
from .optim import Adam
from .vae import VAE

TERMS = ("nll", "sse", "kl", "ce", "accuracy")  # what is summed over the examples
# The random streams that one seed gives; the weights are drawn from the seed itself.
EPOCHS, EVALUATION = 1, 2


def fit(
    vae: VAE,
    train,
    test=None,
    epochs=20,
    batch_size=100,
    lr=1e-3,
    seed=0,
    *,
    progress=False,
    on_step=None,
    on_epoch=None,
    state: TrainingState | None = None,
) -> list[dict]:
    """Train in place with Adam -> history, one dict an epoch.

    train, test: (images (N, D) in [0, 1], or uint8 from 0 to 255, labels (N,) or, without classes,
    None); where something is wrong with them, DataError names it before the first step. A row holds
    epoch, step, seconds (of the epoch's training, evaluation left out), and for train_ and, where
    there is a test set, test_: nll, kl, ce, loss_auto_encode = nll + kl (nats an image), sse
    (squared error an image), accuracy (a fraction), and test_neg_elbo (nats an image). ce and
    accuracy are None without classes. train_ is the mean over the epoch as the weights moved, one
    sample of z an image; a smaller last batch counts by its size. on_step() is called after
    each step, on_epoch(row) after each epoch; progress draws a bar.

    state, of `start` or of a checkpoint, is kept up to date: with the same data, batch_size and
    seed a training goes on from it to the same bits, at the learning rate that is in it. Raises
    DivergedError where a loss, a gradient or a weight is not finite (looked at each step, on a GPU
    each epoch), and OutOfMemoryError.
    """
    epochs, batch_size = integer("epochs", epochs, 0), integer("batch_size", batch_size, 1)
    seed = integer("seed", seed, 0)
    keep_memory()
    state = state or start(vae, lr, seed)
    images, y = _uploaded(vae, *_checked(vae, *_pair("train", train), of="train "))
    if test is not None:
        test = _uploaded(vae, *_checked(vae, *_pair("test", test), of="test "))
    N, J = len(images), vae.config.latent_dim
    steps = -(-N // batch_size)
    fits = state.adam.G.shape == vae.theta.shape and 0 <= state.batches <= steps
    if not fits or state.adam.t != len(state.history) * steps + state.batches:
        raise ConfigError("state is that of another model, data set or batch_size")
    rng = np.random.default_rng()
    rng.bit_generator.state = state.generator
    while len(state.history) < epochs:
        epoch = len(state.history) + 1
        with _memory("an epoch's order and noise"):
            order = put(rng.permutation(N), vae.device)
            noise = put(rng.standard_normal((N, J), dtype=np.float32), vae.device)
        batches = list(zip(minibatches(order, batch_size), minibatches(noise, batch_size)))
        began = time.perf_counter() - state.seconds
        with tqdm(
            desc=f"epoch {epoch}/{epochs}",
            total=N,
            initial=min(state.batches * batch_size, N),
            unit=" images",
            leave=False,
            disable=None if progress else True,  # None: drawn on a terminal only
        ) as bar:
            for rows, eps in batches[state.batches :]:
                with _memory(f"a batch of {len(rows)} images"):
                    acts = _step(vae, state, images[rows], eps, None if y is None else y[rows])
                    each = np.stack(_terms(acts))
                    state.sums = state.sums + np.sum(each, axis=1, dtype=np.float64)
                state.batches += 1
                state.seconds = time.perf_counter() - began
                bar.update(len(rows))
                if on_step:
                    on_step()
        sums = get(state.sums)  # waits for the device
        state.seconds = time.perf_counter() - began
        if not np.all(np.isfinite(vae.theta)):
            _check_finite(vae.parameters(), state)
        row = {"epoch": epoch, "step": state.adam.t, "seconds": state.seconds}
        means = {"train": _means(sums, N)}
        if test is not None:
            with np.errstate(all="ignore"):
                means["test"] = _averages(costs(vae, test[0], test[1], seed))
        for split, values in means.items():
            row |= {f"{split}_{name}": value for name, value in values.items()}
        _check_finite(row, state)
        state.history.append(row)
        state.generator = rng.bit_generator.state
        state.batches, state.sums, state.seconds = 0, put(np.zeros(()), vae.device), 0.0
        if on_epoch:
            on_epoch(row)
    return state.history


def start(vae: VAE, lr=1e-3, seed=0) -> TrainingState:
    """The state of a training before its first step."""
    seed = integer("seed", seed, 0)
    if number("lr", lr) == 0:
        raise ConfigError("lr=0: a number above 0")
    generator = np.random.default_rng([seed, EPOCHS]).bit_generator.state
    sums = put(np.zeros(()), vae.device)
    return TrainingState(Adam(vae.theta, lr=lr), dict(generator), sums=sums)


def _step(vae, state, x, eps, y):
    """Forward, backward, Adam; what cannot be is refused before the weights are touched."""
    with np.errstate(all="ignore"):  # what is not finite is named below
        loss, acts = vae.forward(x, eps, y)
        vae.backward(acts)
        # A GPU would have to be waited for: there the sums tell, at the end of the epoch.
        fault = vae.device == "cpu" and _not_finite(vae, loss, acts)
        if fault:
            raise _diverged(state, state.adam.t + 1, fault)
        state.adam.step(vae.theta, vae.dtheta)
    return acts


@contextlib.contextmanager
def _memory(what):
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(f"no memory for {what}: {error}") from error


def _diverged(state, step, fault):
    return DivergedError(
        f"epoch {len(state.history) + 1}, step {step}, learning rate {state.adam.lr}: {fault} is "
        "not finite; a smaller learning rate may help"
    )


def _check_finite(named, state):
    """At the end of an epoch: what the last step did to the weights, no later step has seen."""
    for name, value in named.items():
        if value is not None and not np.all(np.isfinite(value)):
            raise _diverged(state, state.adam.t, name)


def _not_finite(vae, loss, acts):
    """The name of the first value, or else gradient, that is not finite; None where all are."""
    # One number tells of both; a sum of squares can overflow where all are finite.
    if np.isfinite(loss + vae.dtheta @ vae.dtheta):
        return None
    if not np.isfinite(loss):
        for field in dataclasses.fields(acts):
            value = getattr(acts, field.name)
            for x in value if isinstance(value, list) else [value]:
                if hasattr(x, "shape") and not np.all(np.isfinite(x)):
                    return field.name
        return "the loss"
    named = ((f"the gradient of {name}", g) for name, g in vae.gradients().items())
    return next((name for name, g in named if not np.all(np.isfinite(g))), None)


def evaluate(vae: VAE, images, labels, seed=0, batch_size=1000) -> dict:
    """The means over a data set of what `terms` gives; None for what the model does not have."""
    return _averages(terms(vae, images, labels, seed, batch_size))


def terms(vae: VAE, images, labels, seed=0, batch_size=1000) -> dict:
    """What each example costs, one sample of z an image, the noise drawn from the seed.

    images (N, D), labels (N,) or None -> {name: (N,) float64}: nll, kl, loss_auto_encode, neg_elbo
    (nats), sse, and of a model with classes ce (nats) and accuracy (1 or 0).
    """
    seed, batch_size = integer("seed", seed, 0), integer("batch_size", batch_size, 1)
    images, y = _uploaded(vae, *_checked(vae, images, labels))
    return costs(vae, images, y, seed, batch_size)


def costs(vae, images, y, seed, batch_size=1000) -> dict:
    """`terms`, of a data set that has been checked."""
    noise = np.random.default_rng([seed, EVALUATION]).standard_normal(
        (len(images), vae.config.latent_dim), dtype=np.float32
    )
    parts = []
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        _, acts = vae.forward(images[rows], noise[rows], None if y is None else y[rows])
        parts.append(np.stack([*_terms(acts), neg_elbo(vae, acts)]).astype(np.float64))
    *values, bound = get(np.concatenate(parts, axis=1))
    named = dict(zip(TERMS, values))
    return named | {"loss_auto_encode": named["nll"] + named["kl"], "neg_elbo": bound}


def _averages(values):
    return {
        name: float(np.mean(values[name])) if name in values else None
        for name in (*TERMS, "loss_auto_encode", "neg_elbo")
    }


def _pair(name, data) -> tuple[Any, Any]:
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data[0], data[1]
    what = f"{type(data).__name__}{f' of {len(data)}' if isinstance(data, (tuple, list)) else ''}"
    raise DataError(f"{name} is {what}; give (images, labels), or without classes (images, None)")


def _checked(vae, images, labels, of=""):
    """The images and the labels, as one-hot rows, in the model's dtype; no y without classes.

    of: whose they are, for the message.
    """
    images = checked_images(f"{of}images", images, vae.config, vae.dtype)
    if not vae.classifier:
        return images, None
    shape = len(images), vae.config.num_classes
    return images, checked_one_hot(f"{of}labels", labels, shape, vae.dtype)


def _uploaded(vae, images, y):
    """Both on the model's device, a GPU's images as grey levels, uint8, where they are no more."""
    if vae.device == "cpu":
        return images, y
    with np.errstate(all="ignore"):  # images of an identity output may be any numbers
        levels = np.rint(255 * images).astype(np.uint8)
    exact = np.array_equal(levels / vae.dtype.type(255), images)
    with _memory(f"a data set of {len(images)} images"):
        images = put(levels if exact else images, vae.device)
        return images, y if y is None else put(y, vae.device)


def _terms(acts):
    """The terms of a batch, each (B,), in the order of TERMS; the last two only with labels."""
    values = [acts.nll, acts.sse, acts.kl]
    if acts.ce is not None:
        values += [acts.ce, np.argmax(acts.probs, axis=1) == np.argmax(acts.y, axis=1)]
    return values


def _means(sums, N):
    row: dict[str, Any] = dict.fromkeys(TERMS)
    row |= {name: float(total) / N for name, total in zip(TERMS, sums)}
    row["loss_auto_encode"] = row["nll"] + row["kl"]
    return row
