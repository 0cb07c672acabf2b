"""Estimates of log p(x) by samples of the code z."""

from dataclasses import dataclass

import numpy as np

from ..checks import as_images, as_rows, checked_images, choice
from ..config import stream
from ..errors import ConfigError
from ..training import minibatches
from ..vae import VAE, neg_elbo  # noqa: F401 -- neg_elbo is public here as well

FEWEST = 10  # effective samples: with fewer, the weights do not even show their own variance


def log_p_given_z(vae: VAE, x, z):
    """log p(x|z) = log 1/K Σ_k p(x|z, class k), without classes the decoder's log p(x|z).

    x (n, D), z (n, J) -> (n,), nats.
    """
    K = vae.config.num_classes
    if not K:
        return -vae.nll(x, z)
    # One class after the other: K of these arrays at once would be K² numbers per image.
    log_p = [-vae.nll(x, z, np.tile(y, (len(z), 1))) for y in np.eye(K, dtype=vae.dtype)]
    return _log_mean_exp(np.stack(log_p, axis=1))


def log_weights(vae: VAE, x, eps, proposal="q"):
    """(E25)  log w_s = log p(x|z_s) + log p(z_s) − log r(z_s),  z_s ~ r;  E[w] = p(x)

    x (n, D), eps (n, S, J) noise of N(0, 1) -> (n, S), nats. The proposal r is "q", q(z|x), or
    "prior", p(z): then w_s = p(x|z_s).
    Source: Burda, Grosse, Salakhutdinov 2016, "Importance Weighted Autoencoders", section 3.
    """
    choice("proposal", proposal, ("q", "prior"))
    (n, S, J), ops = eps.shape, vae.ops
    x = ops.put(as_images("x", x, (n, vae.config.data_dim), vae.dtype))
    shape = n * S, vae.config.latent_dim
    eps = ops.put(as_rows("eps", eps.reshape(n * S, J), shape, vae.dtype))
    rows = np.repeat(x, S, axis=0)
    if proposal == "prior":
        return log_p_given_z(vae, rows, eps).reshape(n, S)
    mu, var = (np.repeat(value, S, axis=0) for value in vae.encode(x))
    z = ops.reparameterize_forward(mu, var, eps)
    log_p_z = -ops.gaussian_nll_forward(z, np.zeros_like(mu), np.ones_like(var))
    log_q = -ops.gaussian_nll_forward(z, mu, var)
    return (log_p_given_z(vae, rows, z) + log_p_z - log_q).reshape(n, S)


def importance_estimate(log_w):
    """(E26)  log p̂(x) = log 1/S Σ_s w_s,  its standard error √(1/n_eff − 1/S),
          n_eff = (Σ_s w_s)² / Σ_s w_s²

    log_w (n, S) -> log_p, standard_error, effective_samples, each (n,). E[log p̂] ≤ log p(x); for
    one sample of q, without classes, it is the ELBO. The standard error is that of p̂ relative to
    p̂: to first order of log p̂.
    Source: Burda, Grosse, Salakhutdinov 2016, equation 8; n_eff: Kong 1992, "A note on importance
    sampling using standardized weights".
    """
    log_w = np.asarray(log_w, np.float64)
    S = log_w.shape[1]
    w = np.exp(log_w - np.max(log_w, axis=1, keepdims=True))
    effective = np.sum(w, axis=1) ** 2 / np.sum(w * w, axis=1)
    standard_error = np.sqrt(np.maximum(1 / effective - 1 / S, 0))
    return _log_mean_exp(log_w), standard_error, effective


@dataclass
class Estimate:
    """log p(x) of n images, each by S samples of the proposal: arrays (n,), nats.

    standard_error is NaN where there are fewer than 10 effective samples: the estimate is then only
    a lower bound (in expectation). A q much narrower than the posterior can miss log p(x) by more.
    """

    log_p: np.ndarray
    standard_error: np.ndarray
    effective_samples: np.ndarray
    samples: int
    proposal: str

    @property
    def mean(self) -> float:
        return float(np.mean(self.log_p))

    @property
    def mean_standard_error(self) -> float:
        """Of the mean, as an estimate of the mean log p(x) of these very images; NaN as above."""
        return float(np.sqrt(np.sum(self.standard_error**2)) / len(self.log_p))

    def __str__(self):
        few = int(np.sum(np.isnan(self.standard_error)))
        of = {"q": "q(z|x)", "prior": "the prior"}[self.proposal]
        error = "lower bound only" if few else f"± {self.mean_standard_error:.2g}"
        effective = self.effective_samples
        return (
            f"log p(x) of {len(self.log_p):,} images by {self.samples:,} samples of {of}: "
            f"{self.mean:.2f} nats an image, {error}\n    effective samples: median "
            f"{np.median(effective):.0f}, smallest {np.min(effective):.1f}; "
            f"fewer than {FEWEST} for {few:,} of the images"
        )


def estimate_log_p(vae: VAE, x, samples=5000, proposal="q", seed=0, max_bytes=1 << 24) -> Estimate:
    """log p(x) of each image by samples of q(z|x), or of the prior -> Estimate.

    x (n, D). The arrays of the networks take at most about max_bytes, and the weights of an image
    another 40 bytes per sample. The size of the batches changes the result only by rounding.
    """
    if samples < 1 or max_bytes < 1:
        raise ConfigError(f"samples={samples}, max_bytes={max_bytes}: at least 1")
    config, rng = vae.config, stream(seed, "estimation")
    x = checked_images("x", x, config, vae.dtype)
    # Some nine arrays as wide as x, z and probs live at once, and every hidden layer.
    hidden = sum(config.encoder_layers) + sum(config.decoder_layers)
    width = 9 * (config.data_dim + config.latent_dim + config.num_classes) + 2 * hidden
    rows = max(1, max_bytes // (width * vae.dtype.itemsize))
    found = []
    for images in minibatches(x, max(1, rows // samples)):
        parts = []
        for part in minibatches(np.arange(samples), rows):
            shape = len(images), len(part), config.latent_dim
            eps = rng.standard_normal(shape, dtype=np.float32)
            parts.append(vae.ops.get(log_weights(vae, images, eps, proposal)))
        found.append(importance_estimate(np.concatenate(parts, axis=1)))
    log_p, standard_error, effective = (np.concatenate(values) for values in zip(*found))
    standard_error[effective < FEWEST] = np.nan
    return Estimate(log_p, standard_error, effective, samples, proposal)


def _log_mean_exp(a):
    """log of the mean of exp(a) over the columns, without overflow."""
    largest = np.max(a, axis=1, keepdims=True)
    return largest[:, 0] + np.log(np.mean(np.exp(a - largest), axis=1))
