"""Small models whose integrals over the code z a sum over a grid gives to rounding."""

import functools

import numpy as np
import scipy.special
import scipy.stats

from minivae import VAE, VAEConfig


def model(num_classes, likelihood="gaussian", latent_dim=1):
    config = VAEConfig(
        data_dim=3,
        latent_dim=latent_dim,
        encoder_layers=(4,),
        decoder_layers=(4,),
        activation="tanh",
        likelihood=likelihood,
        num_classes=num_classes,
        classifier_layers=(4,),
        beta=0.5,  # weighs the loss; the bound knows nothing of it
    )
    vae = VAE(config, dtype="float64")
    # In two dimensions smoother functions, for fewer points an axis.
    vae.theta += np.random.default_rng(1).standard_normal(vae.theta.shape) / latent_dim
    return vae


@functools.cache
def points(J, nodes):
    """z (n, J) in [−16, 16]^J and weights (n,): ∫ f(z) dz = Σ weights · f (Gauss, Legendre)."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    z = np.stack(np.meshgrid(*[16 * node] * J), axis=-1).reshape(-1, J)
    weights = np.stack(np.meshgrid(*[16 * weight] * J), axis=-1).reshape(-1, J)
    return z, weights.prod(axis=1)


def normal(J, nodes):
    """eps (n, J) and weights (n,): E f(eps) = Σ weights · f, eps ~ N(0, I)."""
    eps, weights = points(J, nodes)
    return eps, weights * scipy.stats.norm.pdf(eps).prod(axis=1)


def classes_of(vae):
    """The rows that stand for each class; of a model without classes one, None."""
    K = vae.config.num_classes
    return list(np.eye(K)) if K else [None]


def log_joint(vae, x, z, y):
    """log p(x, z, class) of one x (1, D) at every z (n, J) -> (n,)."""
    K = max(vae.config.num_classes, 1)
    probs = None if y is None else np.tile(y, (len(z), 1))
    log_p_x = -vae.nll(np.repeat(x, len(z), axis=0), z, probs)
    return log_p_x + scipy.stats.norm.logpdf(z).sum(axis=1) - np.log(K)


def neg_log_p(vae, x):
    """−log p(x) of one x (1, D): the joint summed over a grid of z, and over the classes."""
    J = vae.config.latent_dim
    axis = np.linspace(-12, 12, {1: 4001, 2: 481}[J])
    z = np.stack(np.meshgrid(*[axis] * J), axis=-1).reshape(-1, J)
    terms = [log_joint(vae, x, z, y) for y in classes_of(vae)]
    return -scipy.special.logsumexp(terms) - J * np.log(axis[1] - axis[0])
