"""The bound that pays for the class, against quadrature."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from minivae import VAE, VAEConfig
from minivae.likelihood import neg_elbo

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def model(num_classes, likelihood="gaussian"):
    config = VAEConfig(
        data_dim=3,
        latent_dim=1,
        encoder_layers=(4,),
        decoder_layers=(4,),
        activation="tanh",
        likelihood=likelihood,
        num_classes=num_classes,
        classifier_layers=(4,),
        beta=0.5,  # weighs the loss; the bound knows nothing of it
    )
    vae = VAE(config, dtype="float64")
    vae.theta += np.random.default_rng(1).standard_normal(vae.theta.shape)
    return vae


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_learned", "bernoulli"])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_E19_neg_elbo_is_minus_log_p_plus_the_kl_to_the_posterior(num_classes, likelihood):
    """E_q[−ELBO] = −log p(x) + KL[q(z, k|x) ‖ p(z, k|x)], each by quadrature over z and k."""
    vae = model(num_classes, likelihood)
    x = np.random.default_rng(2).random((1, 3))
    classes = np.eye(num_classes) if num_classes else [None]
    rows = np.repeat(x, len(NODES), axis=0)

    def log_p_x_given(z, y):
        return -vae.nll(rows, z[:, None], None if y is None else np.tile(y, (len(z), 1)))

    _, acts = vae.forward(rows, NODES[:, None])
    expected = np.sum(WEIGHTS * neg_elbo(vae, acts))

    mu, var = (value[0, 0] for value in vae.encode(x))
    z = mu + np.sqrt(var) * NODES
    prior, q = scipy.stats.norm.logpdf(z), scipy.stats.norm.logpdf(z, mu, np.sqrt(var))
    log_q_k = np.log(vae.classify(x)[0]) if num_classes else [0.0]
    # log p(x) on a grid of its own, for the posterior may lie far from q.
    grid = np.linspace(-12, 12, 4001)
    rows = np.repeat(x, len(grid), axis=0)
    log_joint = [scipy.stats.norm.logpdf(grid) + log_p_x_given(grid, y) for y in classes]
    log_p = scipy.special.logsumexp(log_joint) + np.log((grid[1] - grid[0]) / len(classes))
    rows = np.repeat(x, len(NODES), axis=0)
    kl = 0
    for log_q, y in zip(log_q_k, classes):
        log_posterior = prior + log_p_x_given(z, y) - np.log(len(classes)) - log_p
        kl += np.exp(log_q) * np.sum(WEIGHTS * (q + log_q - log_posterior))
    assert kl > 0
    np.testing.assert_allclose(expected, -log_p + kl, rtol=1e-10)


def test_the_autoencoder_s_loss_is_below_the_bound_that_pays():
    vae = model(3)
    x = np.random.default_rng(2).random((500, 3))
    vae.parameters()["classifier.out.W"][...] *= 20  # a classifier that is sure of itself
    _, acts = vae.forward(x, np.random.default_rng(3).standard_normal((500, 1)))
    paid = np.mean(neg_elbo(vae, acts) - acts.nll - acts.kl)
    assert 0.9 * np.log(3) < paid
    assert np.isfinite(neg_elbo(vae, acts)).all()
