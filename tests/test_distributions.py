"""Each distribution: its gradient, and its value computed another way."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from derivatives import holds
from hypothesis import given
from hypothesis import strategies as st

from minivae.devices.ops import pick
from minivae.gradcheck import check_pair
from minivae.gradcheck.pairs import PAIRS

pytestmark = pytest.mark.usefixtures("readable")


def test_E7_variance_gradient(rng, shape):
    holds("variance", rng, shape)


def test_E7_variance_value(rng, ops):
    log_var = rng.standard_normal((5, 4))
    np.testing.assert_allclose(np.log(ops.variance_forward(log_var, 0.3) - 0.3), log_var, 1e-12)


def test_E8_reparameterize_gradient(rng, shape):
    holds("reparameterize", rng, shape)


def test_E8_reparameterize_value(rng, ops):
    mu, var, eps = PAIRS["reparameterize"].inputs(rng, 5, 4)
    z = scipy.stats.norm(mu, np.sqrt(var)).ppf(scipy.stats.norm.cdf(eps))
    np.testing.assert_allclose(ops.reparameterize_forward(mu, var, eps), z, rtol=1e-12)


def test_E8_reparameterize_gives_samples_of_the_normal_distribution(rng, ops):
    n, mu, var = 200_000, np.array([[1.5, -2]]), np.array([[0.09, 4]])
    z = ops.reparameterize_forward(mu, var, rng.standard_normal((n, 2)))
    mean_error = abs(z.mean(axis=0) - mu[0]) / np.sqrt(var[0] / n)
    var_error = abs(z.var(axis=0) - var[0]) / (var[0] * math.sqrt(2 / n))
    assert (mean_error < 5).all() and (var_error < 5).all()  # standard errors
    assert scipy.stats.kstest(z[:, 1], scipy.stats.norm(-2, 2).cdf).pvalue > 1e-6


def test_E9_gaussian_kl_gradient(rng, shape):
    holds("gaussian_kl", rng, shape)


@given(mu=st.floats(-3, 3), var=st.floats(0.01, 20))
def test_E9_gaussian_kl_by_quadrature(mu, var):
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    z = mu + math.sqrt(var) * node
    q, prior = scipy.stats.norm(mu, math.sqrt(var)), scipy.stats.norm()
    integral = np.sum(weight * (q.logpdf(z) - prior.logpdf(z))) / math.sqrt(2 * math.pi)
    kl = pick("cpu", "float64").gaussian_kl_forward(np.array([[mu]]), np.array([[var]]))
    np.testing.assert_allclose(kl, [integral], rtol=1e-10, atol=1e-12)


def test_E9_gaussian_kl_keeps_its_digits_near_the_prior(ops):
    var = np.float32(1) + np.float32(2**-13) * np.arange(-2, 3, dtype=np.float32)[:, None]
    exact = ops.gaussian_kl_forward(np.zeros((5, 1)), var.astype(np.float64))
    kl = ops.gaussian_kl_forward(np.zeros((5, 1), np.float32), var)
    np.testing.assert_allclose(kl, exact, rtol=0, atol=1e-11)  # of values up to 1.5e-8


def test_E10_squared_error_gradient(rng, shape):
    holds("squared_error", rng, shape)


def test_E10_squared_error_value(rng, ops):
    x, mean = rng.random((5, 4)), rng.standard_normal((5, 4))
    norm = np.linalg.norm(x - mean, axis=1)
    np.testing.assert_allclose(ops.squared_error_forward(x, mean), norm**2, rtol=1e-14)


def test_E11_isotropic_nll_gradient(rng, shape):
    holds("isotropic_nll", rng, shape)


def test_E11_isotropic_nll_value(rng, ops):
    x, mean = rng.random((5, 4)), rng.standard_normal((5, 4))
    density = [-scipy.stats.multivariate_normal(m, 0.3).logpdf(row) for m, row in zip(mean, x)]
    nll = ops.isotropic_nll_forward(((x - mean) ** 2).sum(axis=1), 0.3, 4)
    np.testing.assert_allclose(nll, density, rtol=1e-13)
    # 784 log(0.5 √2π), the constant of the article's model
    assert ops.isotropic_nll_forward(0.0, 0.25, 784) == pytest.approx(177.02, abs=0.005)


def test_E12_gaussian_nll_gradient(rng, shape):
    holds("gaussian_nll", rng, shape)


@pytest.mark.parametrize("var", [1e-5, 1e-2, 1e3])
@pytest.mark.parametrize("name", ["reparameterize", "gaussian_kl", "gaussian_nll"])
def test_E8_E9_E12_gradients_at_small_and_large_variances(rng, shape, name, var):
    """Where the curvature of 1/var is beyond central differences the complex step is exact."""
    forward, backward, draws = PAIRS[name]
    inputs = dict(zip(draws, PAIRS[name].inputs(rng, *shape)))
    inputs["var"] *= var
    report = check_pair(forward, backward, list(inputs.values()), list(inputs))
    assert report.passed, f"\n{report}"


def test_E12_gaussian_nll_value(rng, ops):
    x, mean, var = PAIRS["gaussian_nll"].inputs(rng, 5, 4)
    density = -scipy.stats.norm(mean, np.sqrt(var)).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(ops.gaussian_nll_forward(x, mean, var), density, rtol=1e-13)


def test_E13_bernoulli_nll_gradient(rng, shape):
    holds("bernoulli_nll", rng, shape)


def test_E13_bernoulli_nll_value(rng, ops):
    x, logits = rng.integers(0, 2, (5, 4)), 3 * rng.standard_normal((5, 4))
    density = -scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x).sum(axis=1)
    np.testing.assert_allclose(ops.bernoulli_nll_forward(x, logits), density, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_E13_bernoulli_nll_of_grey_pixels_and_far_logits(ops, dtype):
    logits = np.array([[-1e4, -100, -1, 0, 1, 100, 1e4]], dtype)
    x = np.full_like(logits, 0.25)
    exact = logits.astype(float)
    entropy = -0.25 * scipy.special.log_expit(exact) - 0.75 * scipy.special.log_expit(-exact)
    nll = ops.bernoulli_nll_forward(x, logits)
    assert nll.dtype == dtype
    np.testing.assert_allclose(nll, entropy.sum(axis=1), rtol=4 * np.finfo(dtype).eps)


def test_E14_categorical_nll_gradient(rng, shape):
    holds("categorical_nll", rng, shape)


def test_E14_categorical_nll_gradient_of_rows_that_are_not_one_hot(rng):
    y = np.array([[0.2, 0.3, 0.5], [0, 0, 0], [0, 0, 2]])
    forward, backward, _ = PAIRS["categorical_nll"]
    report = check_pair(forward, backward, [rng.standard_normal((3, 3)), y])
    assert report.passed, f"\n{report}"


def test_E14_categorical_nll_value(rng, ops):
    logits = 5 * rng.standard_normal((5, 3))
    y = np.eye(3)[[0, 1, 2, 0, 1]]
    density = [
        -scipy.stats.multinomial(1, p).logpmf(row)
        for p, row in zip(scipy.special.softmax(logits, axis=1), y)
    ]
    np.testing.assert_allclose(ops.categorical_nll_forward(logits, y), density, rtol=1e-12)


def test_E14_no_label_costs_nothing_and_far_logits_stay_finite(rng, ops):
    logits = np.array([[-1e4, 0, 1e4]], np.float32)
    assert ops.categorical_nll_forward(logits, np.zeros((1, 3), np.float32)) == 0
    assert ops.categorical_nll_forward(logits, np.array([[1, 0, 0]], np.float32)) == 2e4


def test_E28_batch_mean_gradient(rng, shape):
    holds("batch_mean", rng, shape)


def test_E28_batch_mean_value(rng, ops):
    cost = rng.standard_normal(5)
    assert ops.batch_mean_forward(cost) == pytest.approx(math.fsum(cost) / 5, rel=1e-15)
    assert ops.batch_mean_forward(cost[:1]) == cost[0]
