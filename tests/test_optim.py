"""The optimisers do what their papers say."""

import numpy as np
import pytest

from minivae import SGD, Adam

pytestmark = pytest.mark.usefixtures("readable")


def test_E17_sgd_on_a_parabola():
    theta = np.array([4.0, -2.0])
    sgd = SGD(theta, lr=0.1)
    for _ in range(50):
        sgd.step(theta, theta.copy())  # the gradient of ½ θ²
    np.testing.assert_allclose(theta, np.array([4.0, -2.0]) * 0.9**50, rtol=1e-12)


def test_E18_adam_is_algorithm_1():
    rng = np.random.default_rng(0)
    alpha, beta1, beta2, epsilon = 0.01, 0.8, 0.95, 1e-3
    theta = rng.standard_normal(20)
    adam = Adam(theta, lr=alpha, beta1=beta1, beta2=beta2, eps=epsilon)
    published = theta.copy()
    m = v = 0
    for t in range(1, 101):
        g = rng.standard_normal(20) * np.logspace(-6, 3, 20)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        published = published - alpha * m_hat / (np.sqrt(v_hat) + epsilon)
        given = g.copy()
        adam.step(theta, given)
        assert np.array_equal(given, g)
        np.testing.assert_allclose(theta, published, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(adam.m, m, rtol=1e-12, atol=1e-18)
        np.testing.assert_allclose(adam.v, v, rtol=1e-12)
        assert adam.t == t


def test_E18_adam_moments_are_the_mean_and_the_mean_square_of_the_gradient(rng):
    """Kingma, Ba 2015, section 3: m̂ and v̂ estimate E[g] and E[g²]."""
    theta = np.zeros(50_000)
    adam = Adam(theta, beta1=0.99, beta2=0.99)
    for _ in range(50):
        adam.step(theta, 3 + 2 * rng.standard_normal(50_000))
    m_hat, v_hat = (np.mean(x) / (1 - 0.99**50) for x in (adam.m, adam.v))
    assert m_hat == pytest.approx(3, abs=0.01) and v_hat == pytest.approx(3**2 + 2**2, abs=0.05)


def test_E18_adam_first_step_is_lr_whatever_the_gradient():
    theta = np.zeros(3)
    Adam(theta, lr=0.1).step(theta, np.array([1e-3, -1.0, 1e3]))
    np.testing.assert_allclose(theta, [-0.1, 0.1, -0.1], rtol=1e-4)
