"""Each distribution: its gradient, and its value known another way."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from derivatives import holds, holds_by_complex_step
from hypothesis import given
from hypothesis import strategies as st

from minivae import distributions as dist
from minivae.layers import sigmoid_forward, softmax_forward


def positive(rng, shape):
    """Variances above ½: the curvature of 1/var costs a central difference (step / var)²."""
    return 0.5 + np.exp(rng.standard_normal(shape))


def test_E7_variance_gradient(rng, shape):
    def forward(log_var):
        return dist.variance_forward(log_var, 0.3)

    def backward(dvar, log_var):
        return [dist.variance_backward(dvar, log_var)]

    holds(forward, backward, rng.standard_normal(shape))


def test_E7_variance_value(rng):
    log_var = rng.standard_normal((5, 4))
    np.testing.assert_allclose(np.log(dist.variance_forward(log_var, 0.3) - 0.3), log_var, 1e-12)


def test_E8_reparameterize_gradient(rng, shape):
    def backward(dz, mu, var, eps):
        return *dist.reparameterize_backward(dz, var, eps), None

    mu, var, eps = rng.standard_normal(shape), positive(rng, shape), rng.standard_normal(shape)
    holds(dist.reparameterize_forward, backward, mu, var, eps)


def test_E8_reparameterize_gives_samples_of_the_normal_distribution(rng):
    n, mu, var = 200_000, np.array([[1.5, -2]]), np.array([[0.09, 4]])
    z = dist.reparameterize_forward(mu, var, rng.standard_normal((n, 2)))
    mean_error = abs(z.mean(axis=0) - mu[0]) / np.sqrt(var[0] / n)
    var_error = abs(z.var(axis=0) - var[0]) / (var[0] * math.sqrt(2 / n))
    assert (mean_error < 5).all() and (var_error < 5).all()  # standard errors
    assert scipy.stats.kstest(z[:, 1], scipy.stats.norm(-2, 2).cdf).pvalue > 1e-6


def test_E9_gaussian_kl_gradient(rng, shape):
    def backward(dkl, mu, var):
        return dist.gaussian_kl_backward(dkl, mu, var)

    holds(dist.gaussian_kl_forward, backward, rng.standard_normal(shape), positive(rng, shape))


@given(mu=st.floats(-3, 3), var=st.floats(0.01, 20))
def test_E9_gaussian_kl_by_quadrature(mu, var):
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    z = mu + math.sqrt(var) * node
    q, prior = scipy.stats.norm(mu, math.sqrt(var)), scipy.stats.norm()
    integral = np.sum(weight * (q.logpdf(z) - prior.logpdf(z))) / math.sqrt(2 * math.pi)
    kl = dist.gaussian_kl_forward(np.array([[mu]]), np.array([[var]]))
    np.testing.assert_allclose(kl, [integral], rtol=1e-10, atol=1e-12)


def test_E9_gaussian_kl_keeps_its_digits_near_the_prior():
    var = np.float32(1) + np.float32(2**-13) * np.arange(-2, 3, dtype=np.float32)[:, None]
    exact = dist.gaussian_kl_forward(np.zeros((5, 1)), var.astype(np.float64))
    kl = dist.gaussian_kl_forward(np.zeros((5, 1), np.float32), var)
    np.testing.assert_allclose(kl, exact, rtol=0, atol=1e-11)  # of values up to 1.5e-8


def test_E10_squared_error_gradient(rng, shape):
    def backward(dsse, x, mu):
        return None, dist.squared_error_backward(dsse, x, mu)

    x, mu = rng.random(shape), rng.standard_normal(shape)
    holds(dist.squared_error_forward, backward, x, mu)


def test_E10_squared_error_value(rng):
    x, mu = rng.random((5, 4)), rng.standard_normal((5, 4))
    norm = np.linalg.norm(x - mu, axis=1)
    np.testing.assert_allclose(dist.squared_error_forward(x, mu), norm**2, rtol=1e-14)


def test_E11_isotropic_nll_gradient(rng):
    def forward(sse):
        return dist.isotropic_nll_forward(sse, 0.3, 4)

    def backward(dnll, sse):
        return [dist.isotropic_nll_backward(dnll, 0.3)]

    holds(forward, backward, rng.random(5))


def test_E11_isotropic_nll_value(rng):
    x, mu = rng.random((5, 4)), rng.standard_normal((5, 4))
    density = [-scipy.stats.multivariate_normal(m, 0.3).logpdf(row) for m, row in zip(mu, x)]
    nll = dist.isotropic_nll_forward(((x - mu) ** 2).sum(axis=1), 0.3, 4)
    np.testing.assert_allclose(nll, density, rtol=1e-13)
    # 784 log(0.5 √2π), the constant of the article's model
    assert dist.isotropic_nll_forward(0.0, 0.25, 784) == pytest.approx(177.02, abs=0.005)


def test_E12_gaussian_nll_gradient(rng, shape):
    def backward(dnll, x, mu, var):
        return None, *dist.gaussian_nll_backward(dnll, x, mu, var)

    x, mu, var = rng.random(shape), rng.standard_normal(shape), positive(rng, shape)
    holds(dist.gaussian_nll_forward, backward, x, mu, var)


@pytest.mark.parametrize("var", [1e-5, 1e-2, 1e3])
def test_E8_E9_E12_gradients_at_small_and_large_variances(rng, shape, var):
    """Where the curvature of 1/var is beyond central differences the complex step is exact."""
    x, mu, eps = rng.random(shape), rng.standard_normal(shape), rng.standard_normal(shape)
    var = var * np.exp(rng.standard_normal(shape))
    holds_by_complex_step(
        dist.reparameterize_forward,
        lambda dz, mu, var, eps: (*dist.reparameterize_backward(dz, var, eps), None),
        mu, var, eps,
    )  # fmt: skip
    holds_by_complex_step(dist.gaussian_kl_forward, dist.gaussian_kl_backward, mu, var)
    holds_by_complex_step(
        dist.gaussian_nll_forward,
        lambda dnll, x, mu, var: (None, *dist.gaussian_nll_backward(dnll, x, mu, var)),
        x, mu, var,
    )  # fmt: skip


def test_E12_gaussian_nll_value(rng):
    x, mu, var = rng.random((5, 4)), rng.standard_normal((5, 4)), positive(rng, (5, 4))
    density = -scipy.stats.norm(mu, np.sqrt(var)).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(dist.gaussian_nll_forward(x, mu, var), density, rtol=1e-13)


def test_E13_bernoulli_nll_gradient(rng, shape):
    def backward(dnll, x, logits):
        return None, dist.bernoulli_nll_backward(dnll, x, sigmoid_forward(logits))

    holds(dist.bernoulli_nll_forward, backward, rng.random(shape), rng.standard_normal(shape))


def test_E13_bernoulli_nll_value(rng):
    x, logits = rng.integers(0, 2, (5, 4)), 3 * rng.standard_normal((5, 4))
    density = -scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x).sum(axis=1)
    np.testing.assert_allclose(dist.bernoulli_nll_forward(x, logits), density, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_E13_bernoulli_nll_of_grey_pixels_and_far_logits(dtype):
    logits = np.array([[-1e4, -100, -1, 0, 1, 100, 1e4]], dtype)
    x = np.full_like(logits, 0.25)
    exact = logits.astype(float)
    entropy = -0.25 * scipy.special.log_expit(exact) - 0.75 * scipy.special.log_expit(-exact)
    nll = dist.bernoulli_nll_forward(x, logits)
    assert nll.dtype == dtype
    np.testing.assert_allclose(nll, entropy.sum(axis=1), rtol=4 * np.finfo(dtype).eps)


def test_E14_categorical_nll_gradient(rng):
    def backward(dce, logits, y):
        return dist.categorical_nll_backward(dce, softmax_forward(logits), y), None

    y = np.array([[1, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 0], [0, 0, 2]])
    holds(dist.categorical_nll_forward, backward, rng.standard_normal((5, 3)), y)


def test_E14_categorical_nll_value(rng):
    logits = 5 * rng.standard_normal((5, 3))
    y = np.eye(3)[[0, 1, 2, 0, 1]]
    density = [
        -scipy.stats.multinomial(1, p).logpmf(row)
        for p, row in zip(scipy.special.softmax(logits, axis=1), y)
    ]
    np.testing.assert_allclose(dist.categorical_nll_forward(logits, y), density, rtol=1e-12)


def test_E14_no_label_costs_nothing_and_far_logits_stay_finite(rng):
    logits = np.array([[-1e4, 0, 1e4]], np.float32)
    assert dist.categorical_nll_forward(logits, np.zeros((1, 3), np.float32)) == 0
    assert dist.categorical_nll_forward(logits, np.array([[1, 0, 0]], np.float32)) == 2e4
