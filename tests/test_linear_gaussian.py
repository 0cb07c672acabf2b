"""The linear model: exact answers, each known another way."""

import numpy as np
import pytest
import scipy.stats

from minivae import VAE, VAEConfig
from minivae.errors import ConfigError, DataError
from minivae.evidence import likelihood, linear_gaussian
from minivae.evidence.linear_gaussian import (
    LinearGaussian,
    from_vae,
    principal_axes,
    surviving_dimensions,
)
from minivae.gradcheck import check_entries
from minivae.vae import neg_elbo

pytestmark = pytest.mark.usefixtures("readable")


def model(rng, J=2, D=5, var=0.3):
    return LinearGaussian(rng.standard_normal((J, D)), rng.standard_normal(D), var)


def normal_images(rng, N=400, D=6):
    """Rows of a normal distribution whose axes have standard deviations from 2 down to 0.1."""
    return rng.standard_normal((N, D)) * np.geomspace(2, 0.1, D) @ rng.standard_normal((D, D)) + 1


@pytest.mark.parametrize("J, D", [(2, 5), (1, 1), (5, 2)])
def test_E22_log_p_is_the_density_of_a_normal_distribution(rng, J, D):
    linear = model(rng, J, D)
    x = 2 * rng.standard_normal((7, D))
    density = scipy.stats.multivariate_normal(linear.b, linear.W.T @ linear.W + 0.3 * np.eye(D))
    np.testing.assert_allclose(linear.log_p(x), density.logpdf(x).reshape(7), rtol=1e-12)


def test_E22_log_p_is_the_mean_of_p_x_given_z(rng):
    linear = model(rng, J=1)
    x = rng.standard_normal((3, 5))
    z = np.linspace(-10, 10, 20_001)
    p = [
        np.sum(
            scipy.stats.norm.pdf(z)
            * scipy.stats.norm.pdf(row, z[:, None] * linear.W + linear.b, 0.3**0.5).prod(axis=1)
        )
        for row in x
    ]
    np.testing.assert_allclose(linear.log_p(x), np.log(np.array(p) * 1e-3), rtol=1e-10)


@pytest.mark.parametrize("J, D", [(2, 5), (1, 1), (4, 3)])
def test_E23_posterior_is_the_conditional_of_the_joint(rng, J, D):
    """Of the normal (z, x) with covariance [[I, W], [Wᵀ, C]]: z given x."""
    linear = model(rng, J, D)
    x = rng.standard_normal((7, D))
    C = linear.W.T @ linear.W + 0.3 * np.eye(D)
    mean, covariance = linear.posterior(x)
    np.testing.assert_allclose(mean, (x - linear.b) @ np.linalg.inv(C) @ linear.W.T, atol=1e-12)
    expected = np.eye(J) - linear.W @ np.linalg.inv(C) @ linear.W.T
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


def test_E23_posterior_is_bayes_rule(rng):
    """log p(x) = log p(x|z) + log p(z) − log p(z|x), whatever z."""
    linear = model(rng)
    x, z = rng.standard_normal((1, 5)), rng.standard_normal((9, 2))
    mean, covariance = linear.posterior(x)
    log_p = (
        scipy.stats.norm.logpdf(x, z @ linear.W + linear.b, 0.3**0.5).sum(axis=1)
        + scipy.stats.norm.logpdf(z).sum(axis=1)
        - scipy.stats.multivariate_normal(mean[0], covariance).logpdf(z)
    )
    np.testing.assert_allclose(log_p, np.full(9, linear.log_p(x)[0]), rtol=1e-12)


@pytest.mark.parametrize("var", [None, 0.3, 1.5])
def test_E24_ppca_is_where_the_gradient_of_the_likelihood_is_zero(rng, var):
    x = normal_images(rng)
    W, b, noise = linear_gaussian.ppca(x, 3, var)
    assert var in (None, noise)

    def loss(theta):
        """−log p of x, written down again; theta holds W, b and, where it is free, var."""
        W, b = theta[:18].reshape(3, 6), theta[18:24]
        C = W.T @ W + (theta[24] if var is None else var) * np.eye(6)
        error = x - b
        # log det C by elimination, for slogdet has no complex step.
        log_det, rest = 0.0, C
        while rest.size:
            log_det = log_det + np.log(rest[0, 0])
            rest = rest[1:, 1:] - np.outer(rest[1:, 0], rest[0, 1:]) / rest[0, 0]
        return np.mean(np.sum(error * np.linalg.solve(C, error.T).T, axis=1)) / 2 + log_det / 2

    theta = np.concatenate([W.ravel(), b, [noise] if var is None else []])
    [row] = check_entries(loss, theta, 0 * theta).rows
    # The terms that cancel are as large as C⁻¹, and known to eps · cond(C).
    terms = np.linalg.inv(W.T @ W + noise * np.eye(6))
    assert abs(row.numeric) < 1e-14 * np.linalg.cond(terms) * np.abs(terms).max()
    best = -np.mean(LinearGaussian(W, b, noise).log_p(x))
    for _ in range(20):
        worse = LinearGaussian(
            W + 0.1 * rng.standard_normal(W.shape), b + 0.1 * rng.standard_normal(6), noise
        )
        assert -np.mean(worse.log_p(x)) > best


def test_E24_a_dimension_below_the_noise_is_not_used(rng):
    x = normal_images(rng)
    values, vectors, mean = principal_axes(x)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1])
    var = (values[2] + values[3]) / 2
    W, b, _ = linear_gaussian.ppca(x, 5, var)
    assert surviving_dimensions([2.0, 1.0], 1.0) == 1
    assert surviving_dimensions(values, var) == np.sum(np.any(W != 0, axis=1)) == 3
    np.testing.assert_allclose(b, x.mean(axis=0))
    np.testing.assert_allclose(W @ W.T, np.diag([*(values[:3] - var), 0, 0]), atol=1e-12)


def test_a_vae_of_the_exact_posterior_has_the_bound_that_is_exact(rng):
    """Every sample's weight is p(x); the mean of −ELBO over eps = ±√J e_j, exact for squares, too.

    A linear decoder's nll is a square in eps, so that those 2 J points give its expectation.
    """
    x = normal_images(rng)[:9]
    W, b, var = linear_gaussian.ppca(x, 3, 0.05)
    linear = LinearGaussian(W, b, var)
    vae = linear.to_vae()
    log_w = likelihood.log_weights(vae, x, rng.standard_normal((9, 4, 3)))
    np.testing.assert_allclose(log_w, np.repeat(linear.log_p(x)[:, None], 4, axis=1), rtol=1e-12)
    points = np.sqrt(3) * np.concatenate([np.eye(3), -np.eye(3)])
    bounds = [neg_elbo(vae, vae.forward(x, np.tile(eps, (9, 1)))[1]) for eps in points]
    np.testing.assert_allclose(np.mean(bounds, axis=0), -linear.log_p(x), rtol=1e-12)
    again = from_vae(vae)
    assert np.array_equal(again.W, W) and np.array_equal(again.b, b)
    assert again.var == pytest.approx(var, rel=1e-15)


def test_what_is_no_linear_gaussian_model_is_refused(rng):
    linear = {"decoder_layers": (), "decoder_output": "identity", "num_classes": 0}
    assert from_vae(VAE(VAEConfig(**linear))).W.shape == (10, 784)
    for other in (
        {"decoder_layers": (5,)},
        {"decoder_output": "sigmoid"},
        {"num_classes": 10},
        {"likelihood": "gaussian_learned"},
    ):
        with pytest.raises(ConfigError, match="not a linear Gaussian"):
            from_vae(VAE(VAEConfig(**linear | other)))
    for scale, var in ((1, 0.3), (1e-5, 1e-12), (1e5, 1)):
        W = scale * rng.standard_normal((2, 5))
        with pytest.raises(ConfigError, match="not orthogonal"):
            LinearGaussian(W, np.zeros(5), var).to_vae()
        x = scale * normal_images(rng)
        assert from_vae(LinearGaussian(*linear_gaussian.ppca(x, 2)).to_vae()).W.shape == (2, 6)
    axes = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    steep = np.geomspace(1, 1e-4, 200)[:, None] * axes[:200]
    assert LinearGaussian(steep, np.zeros(300), 1e-14).to_vae().config.latent_dim == 200
    slightly = np.array([[1, 0, 0], [1e-9, 1e-3, 0]])
    with pytest.raises(ConfigError, match="not orthogonal"):
        LinearGaussian(slightly, np.zeros(3), 1e-12).to_vae()
    for var in (0, -1, np.nan, np.inf):
        with pytest.raises(ConfigError, match=f"var={var}"):
            LinearGaussian(np.eye(2), np.zeros(2), var)
    x = rng.standard_normal((9, 5))
    assert linear_gaussian.ppca(x, 4)[0].shape == (4, 5)
    assert linear_gaussian.ppca(x, 5, 0.1)[0].shape == (5, 5)
    for J, var in ((0, None), (5, None), (6, 0.1), (2, 0), (2, np.nan)):
        with pytest.raises(ConfigError, match=f"latent_dim={J}, var={var}"):
            linear_gaussian.ppca(x, J, var)
    with pytest.raises(DataError, match=r"x is \(3, 4\)"):
        model(rng).log_p(rng.standard_normal((3, 4)))


def test_mnist_s_numbers(mnist):
    """pPCA on MNIST's pixels in [0, 1], as it was measured with other code."""
    (train, _), (test, _) = mnist
    values, _, _ = principal_axes(train)
    dimensions = [surviving_dimensions(values, std**2) for std in (1, 0.5, 0.2, 0.1)]
    assert dimensions == [12, 39, 115, 251]
    fixed = LinearGaussian(*linear_gaussian.ppca(train, 10, 0.25))
    assert -np.mean(fixed.log_p(train)) == pytest.approx(247.2, abs=0.05)
    assert -np.mean(fixed.log_p(test)) == pytest.approx(246.7, abs=0.05)
    free = LinearGaussian(*linear_gaussian.ppca(train, 10))
    assert free.var**0.5 == pytest.approx(0.187, abs=5e-4)
    assert np.mean(free.log_p(train)) == pytest.approx(182.1, abs=0.1)
