"""The loop: epochs of mini-batches, and the numbers that they leave behind."""

import time
from typing import Any

import numpy as np
from tqdm import tqdm

from .datasets import as_rows, minibatches, one_hot
from .errors import ConfigError, DataError
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
    on_epoch=None,
) -> list[dict]:
    """Train in place with Adam -> history, one dict an epoch.

    train, test: (images (N, D) in [0, 1], labels (N,) or, without classes, None). A row holds
    epoch, step, seconds (of the epoch's training, evaluation left out), and for train_ and, where
    there is a test set, test_: nll, kl, ce, loss_auto_encode = nll + kl (nats an image), sse
    (squared error an image), accuracy (a fraction), and test_neg_elbo (nats an image). ce and
    accuracy are None without classes. train_ is the mean over the epoch as the weights moved, one
    sample of z an image; a smaller last batch counts by its size. on_epoch(row) is called after
    each epoch; progress draws a bar.
    """
    if epochs < 0 or batch_size < 1 or not 0 < lr < np.inf:
        raise ConfigError(f"epochs={epochs}, batch_size={batch_size}, lr={lr}: at least 0, 1, > 0")
    images, y = _checked(vae, *train)
    if test is not None:
        test = _checked(vae, *test)
    N, J = len(images), vae.config.latent_dim
    rng = np.random.default_rng([seed, EPOCHS])
    adam = Adam(vae.theta, lr=lr)
    history = []
    for epoch in range(1, epochs + 1):
        order = rng.permutation(N)
        noise = rng.standard_normal((N, J), dtype=np.float32)
        sums: Any = 0.0
        start = time.perf_counter()
        with tqdm(
            desc=f"epoch {epoch}/{epochs}",
            total=N,
            unit=" images",
            leave=False,
            disable=None if progress else True,  # None: drawn on a terminal only
        ) as bar:
            batches = zip(minibatches(order, batch_size), minibatches(noise, batch_size))
            for rows, eps in batches:
                _, acts = vae.forward(images[rows], eps, None if y is None else y[rows])
                vae.backward(acts)
                adam.step(vae.theta, vae.dtheta)
                sums = sums + np.sum(np.stack(_terms(acts)), axis=1, dtype=np.float64)
                bar.update(len(rows))
        row = {"epoch": epoch, "step": adam.t, "seconds": time.perf_counter() - start}
        means = {"train": _means(sums, N)}
        if test is not None:
            means["test"] = evaluate(vae, test[0], test[1], seed)
        for split, values in means.items():
            row |= {f"{split}_{name}": value for name, value in values.items()}
        history.append(row)
        if on_epoch:
            on_epoch(row)
    return history


def evaluate(vae: VAE, images, labels, seed=0, batch_size=1000) -> dict:
    """The means over a data set of what `terms` gives; None for what the model does not have."""
    values = terms(vae, images, labels, seed, batch_size)
    return {
        name: float(np.mean(values[name])) if name in values else None
        for name in (*TERMS, "loss_auto_encode", "neg_elbo")
    }


def terms(vae: VAE, images, labels, seed=0, batch_size=1000) -> dict:
    """What each example costs, one sample of z an image, the noise drawn from the seed.

    images (N, D), labels (N,) or None -> {name: (N,) float64}: nll, kl, loss_auto_encode, neg_elbo
    (nats), sse, and of a model with classes ce (nats) and accuracy (1 or 0).
    """
    images, y = _checked(vae, images, labels)
    noise = np.random.default_rng([seed, EVALUATION]).standard_normal(
        (len(images), vae.config.latent_dim), dtype=np.float32
    )
    parts = []
    for rows in minibatches(np.arange(len(images)), batch_size):
        _, acts = vae.forward(images[rows], noise[rows], None if y is None else y[rows])
        parts.append(np.stack([*_terms(acts), neg_elbo(vae, acts)]).astype(np.float64))
    *values, bound = np.concatenate(parts, axis=1)
    named = dict(zip(TERMS, values))
    return named | {"loss_auto_encode": named["nll"] + named["kl"], "neg_elbo": bound}


def _checked(vae, images, labels):
    """The images and the labels, as one-hot rows, in the model's dtype; no y without classes."""
    config = vae.config
    images = as_rows("images", images, (None, config.data_dim), vae.dtype)
    low, high = float(images.min()), float(images.max())
    identity = config.likelihood != "bernoulli" and config.decoder_output == "identity"
    if not (np.isfinite(low + high) if identity else 0 <= low <= high <= 1):
        raise DataError(f"images range over [{low}, {high}]; this model needs [0, 1], and no NaN")
    if not vae.classifier:
        return images, None
    if labels is None:
        raise DataError("labels is None; a model with classes needs them, num_classes=0 does not")
    y = one_hot(labels, (len(images), config.num_classes), vae.dtype)
    wrong = np.flatnonzero((np.sum(y, axis=1) != 1) | np.any((y != 0) & (y != 1), axis=1))
    if len(wrong):
        raise DataError(f"labels[{wrong[0]}] is not one-hot")
    return images, y


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
