"""Training: epochs of mini-batches, and the values that are recorded for each epoch.

    import minivae

    vae = minivae.VAE()
    history = minivae.fit(vae, minivae.datasets.load("strokes"), epochs=3)
    print([round(row["train_loss_auto_encode"], 1) for row in history])  # [284.2, 254.3, 244.4]
"""

import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from .checks import checked_data, integer, number, positive
from .config import stream
from .errors import ConfigError, DivergedError, OutOfMemoryError
from .optim import Adam
from .vae import VAE, neg_elbo

TERMS = ("nll", "sse", "kl", "ce", "accuracy")  # what is summed over the examples of an epoch
LR = 1e-3


@dataclass
class TrainingState:
    """The state of a training. Together with the weights, it is enough to resume exactly.

    generator is the state of the random generator at the start of the current epoch. batches, sums
    and seconds belong to this epoch so far: how many batches are done, the sums of the TERMS that
    the model has, and the time. history has one row for each finished epoch.
    """

    adam: Adam
    generator: dict
    sums: Any
    batches: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def start(vae: VAE, lr=LR, seed=0) -> TrainingState:
    """The state of a training before its first step."""
    generator = stream(integer("seed", seed, 0), "epochs").bit_generator.state
    adam = Adam(vae.theta, lr=positive("lr", lr))
    return TrainingState(adam, dict(generator), no_sums(vae))


def no_sums(vae):
    """Zeros for the sums of the terms, on the model's device."""
    return vae.ops.put(np.zeros(len(terms_of(vae))))


def terms_of(vae):
    """The TERMS that this model has."""
    return TERMS if vae.classifier else TERMS[:3]


def minibatches(array, batch_size):
    """The array cut into batches along its first axis; the last one may be smaller."""
    return [array[start : start + batch_size] for start in range(0, len(array), batch_size)]


def fit(
    vae: VAE, train, test=None, epochs=20, batch_size=100, lr=LR, seed=0, *, progress=False,
    on_step=None, on_epoch=None, state: TrainingState | None = None, beta=None, ranks=None,
) -> list[dict]:  # fmt: skip
    """Train a model in place with Adam -> history, one dict per epoch.

    train, test: (images (N, D) in [0, 1], or uint8 from 0 to 255, labels (N,), or None without
    classes). lr, beta: a number, or a function of the epoch (1, 2, …); beta=None is config.beta.

    A row of the history has: epoch, step, seconds (of training, without evaluation), and, with the
    prefix train_ and, if there is a test set, test_:
        nll, kl, ce, loss_auto_encode = nll + kl    nats per image; ce is None without classes
        sse                                         squared error per image
        accuracy                                    a fraction; None without classes
        neg_elbo                                    nats per image; only test_
    A train_ value is the mean over the epoch, while the weights change, with one sample of z per
    image. on_step() is called after each step and on_epoch(row) after each epoch. progress=True
    draws a progress bar.

    state, from `start` or from a checkpoint, is kept up to date. A training with the same data,
    batch_size, seed, beta, and function lr continues from it with bitwise identical results. It has
    its own learning rate: leave lr out, or give a function. ranks is for training on several
    processes, which start from the same weights and seed, and share each batch. It has two methods:
        rows(batch) -> this process's part of an array that has one row per example of the batch
        exchange(dtheta, sums, count) -> the total sums and the total count; replaces dtheta, the
            gradient of the *sum* of the losses of count examples, by its total, in place

    Raises ConfigError, DataError; DivergedError when a loss, a gradient or a weight is not finite
    (on a GPU this is checked once per epoch); OutOfMemoryError.
    """
    epochs, batch_size = integer("epochs", epochs, 0), integer("batch_size", batch_size, 1)
    seed = integer("seed", seed, 0)
    if state is None:
        state = start(vae, LR if callable(lr) else lr, seed)
    elif not callable(lr) and lr not in (LR, state.adam.lr):
        raise ConfigError(f"lr={lr}: the state has its own, {state.adam.lr}; leave lr out")
    with vae.ops.freed_memory_kept():
        images, y = _uploaded(vae, train, "train ")
        if test is not None:
            test = _uploaded(vae, test, "test ")
        _check_state(vae, state, len(images), batch_size)
        rng = np.random.default_rng()
        rng.bit_generator.state = state.generator
        for epoch in range(len(state.history) + 1, epochs + 1):
            if callable(lr):
                state.adam.lr = positive("lr", lr(epoch))
            epoch_beta = beta(epoch) if callable(beta) else beta
            if epoch_beta is not None:
                epoch_beta = number("beta", epoch_beta)
            with _memory("an epoch's order and noise"):
                order = vae.ops.put(rng.permutation(len(images)))
                noise = rng.standard_normal((len(images), vae.config.latent_dim), dtype=np.float32)
                noise = vae.ops.put(noise)
            batches = list(zip(minibatches(order, batch_size), minibatches(noise, batch_size)))
            done = min(state.batches * batch_size, len(images))
            with tqdm(
                desc=f"epoch {epoch}/{epochs}", total=len(images), initial=done, unit=" images",
                leave=False, disable=None if progress else True,  # None: drawn only on a terminal
            ) as bar:  # fmt: skip
                sums = train_epoch(vae, state, images, y, batches, epoch_beta, ranks, bar, on_step)
            row = {"epoch": epoch, "step": state.adam.t, "seconds": state.seconds}
            row |= _epoch_means(vae, state, sums / len(images), test, seed)
            state.history.append(row)
            state.generator = rng.bit_generator.state
            state.batches, state.sums, state.seconds = 0, no_sums(vae), 0.0
            if on_epoch:
                on_epoch(row)
    return state.history


def train_epoch(vae, state, images, y, batches, beta=None, ranks=None, bar=None, on_step=None):
    """The steps of an epoch that are still to be done -> the sums of the terms over the epoch.

    batches: (row numbers, noise) of each batch of the epoch.
    """
    began = time.perf_counter() - state.seconds
    for rows, eps in batches[state.batches :]:
        n = len(rows)
        with _memory(f"a batch of {n} images"), np.errstate(all="ignore"):  # see _check_step
            if ranks:
                rows, eps, share = _share(ranks, rows, eps)
            loss, acts = vae.forward(images[rows], eps, None if y is None else y[rows], beta)
            vae.backward(acts)  # fills vae.dtheta
            sums = np.sum(np.stack(_terms(acts)), axis=1, dtype=np.float64)
            if ranks:
                sums = _exchange(vae, ranks, sums, share)
            _check_step(vae, state, loss, acts, sums)
            state.adam.step(vae.theta, vae.dtheta)  # changes vae.theta in place
            state.sums = state.sums + sums
        state.batches += 1
        state.seconds = time.perf_counter() - began
        if bar is not None:
            bar.update(n)
        if on_step:
            on_step()
    sums = vae.ops.get(state.sums)  # waits for the device
    state.seconds = time.perf_counter() - began
    return sums


def _share(ranks, rows, eps):
    """This process's part of a batch, and how many rows it has. A process without rows computes
    with the first row, and _exchange gives that row the weight 0."""
    mine, noise = ranks.rows(rows), ranks.rows(eps)
    share = len(mine)
    return (mine, noise, share) if share else (rows[:1], eps[:1], 0)


def _exchange(vae, ranks, sums, share):
    """Make dtheta the gradient of the mean loss over the rows of all processes -> their sums."""
    vae.dtheta *= share  # the mean becomes a sum, because processes may have unequal shares
    sums, count = ranks.exchange(vae.dtheta, sums if share else 0 * sums, share)
    vae.dtheta /= count
    return sums


@contextlib.contextmanager
def _memory(what):
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(f"no memory for {what}: {error}") from error


def _uploaded(vae, data, of=""):
    """The data set, checked, on the model's device; (images, None) without classes."""
    images, y = checked_data(data, vae.config, vae.dtype, of)
    with _memory(f"a data set of {len(images)} images"):
        return vae.ops.put_images(images), None if y is None else vae.ops.put(y)


def _check_state(vae, state, N, batch_size):
    steps = math.ceil(N / batch_size)
    fits = state.adam.m.shape == vae.theta.shape and 0 <= state.batches <= steps
    fits = fits and state.sums.shape == (len(terms_of(vae)),)
    if not fits or state.adam.t != len(state.history) * steps + state.batches:
        raise ConfigError("state belongs to another model, data set or batch_size")


def _check_step(vae, state, loss, acts, sums):
    """Raise DivergedError before a value that is not finite can change the weights.

    Checking on a GPU would wait for it at each step, so there the sums are checked once per epoch.
    """
    # This is finite only if the terms and gradients of all processes are. It may also overflow.
    if vae.device == "gpu" or np.isfinite(np.sum(sums) + vae.dtheta @ vae.dtheta):
        return
    named = acts.arrays() | {"loss": loss, "the sum of a term": sums}
    named |= {f"the gradient of {name}": dW for name, dW in vae.gradients().items()}
    _check_finite(state, state.adam.t + 1, named)


def _check_finite(state, step, named):
    """Raise DivergedError for the first number or array that is not finite; None is passed over."""
    for name, value in named.items():
        if value is not None and not np.all(np.isfinite(value)):
            raise DivergedError(
                f"epoch {len(state.history) + 1}, step {step}, learning rate {state.adam.lr}: "
                f"{name} is not finite; a smaller learning rate may help"
            )


def _epoch_means(vae, state, train_means, test, seed):
    """The train_ and test_ values of an epoch; DivergedError if one of them, or a weight after the
    last step, is not finite."""
    named = dict(zip(terms_of(vae), train_means))
    means = {"train": _averages(named | {"loss_auto_encode": named["nll"] + named["kl"]})}
    if test is not None:
        with np.errstate(all="ignore"):
            means["test"] = _averages(costs(vae, test[0], test[1], seed))
    row = {f"{split}_{term}": x for split, values in means.items() for term, x in values.items()}
    if not np.all(np.isfinite(vae.theta)):
        _check_finite(state, state.adam.t, vae.parameters())
    _check_finite(state, state.adam.t, row)
    return row


def evaluate(vae: VAE, images, labels, seed=0, batch_size=1000) -> dict:
    """The means over a data set of what `terms` gives; None for what the model does not have."""
    return _averages(terms(vae, images, labels, seed, batch_size))


def terms(vae: VAE, images, labels, seed=0, batch_size=1000) -> dict:
    """What each example costs, with one sample of z per image, and the noise drawn from the seed.

    images (N, D), labels (N,) or None -> {name: (N,) float64}: nll, kl, loss_auto_encode, neg_elbo
    (nats), sse, and with classes ce (nats) and accuracy (1 or 0). Raises ConfigError, DataError.
    """
    seed, batch_size = integer("seed", seed, 0), integer("batch_size", batch_size, 1)
    images, y = _uploaded(vae, (images, labels))
    return costs(vae, images, y, seed, batch_size)


def costs(vae, images, y, seed, batch_size=1000) -> dict:
    """As `terms`, for a data set that has been checked."""
    shape = len(images), vae.config.latent_dim
    noise = stream(seed, "evaluation").standard_normal(shape, dtype=np.float32)
    parts = []
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        _, acts = vae.forward(images[rows], noise[rows], None if y is None else y[rows])
        parts.append(np.stack([*_terms(acts), neg_elbo(vae, acts)]).astype(np.float64))
    *values, bound = vae.ops.get(np.concatenate(parts, axis=1))
    named = dict(zip(terms_of(vae), values))
    return named | {"loss_auto_encode": named["nll"] + named["kl"], "neg_elbo": bound}


def _averages(values):
    """The mean of each value, and None for the terms that the model does not have."""
    means = {name: float(np.mean(each)) for name, each in values.items()}
    return dict.fromkeys(TERMS) | means


def _terms(acts):
    """The TERMS of a batch, each (B,); the last two only with labels."""
    values = [acts.nll, acts.sse, acts.kl]
    if acts.ce is not None:
        values += [acts.ce, np.argmax(acts.probs, axis=1) == np.argmax(acts.y, axis=1)]
    return values
