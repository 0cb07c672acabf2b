"""The identities on which everything rests, with each side computed on its own."""

import numpy as np
import pytest
import scipy.stats
from quadrature import classes_of, log_joint, model, neg_log_p, normal, points

import minivae.vae
from minivae.evidence import likelihood as estimates
from minivae.gradcheck.slopes import complex_step

pytestmark = pytest.mark.usefixtures("readable")


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_learned", "bernoulli"])
@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("J", [1, 2])
def test_E19_neg_elbo_is_minus_log_p_plus_the_kl_to_the_posterior(J, num_classes, likelihood):
    """E_q[−ELBO] = −log p(x) + KL[q(z, k|x) ‖ p(z, k|x)], three sums over points of their own.

    The posterior is normalised by the points of its KL: any slip in log p(x) would stay.
    """
    vae = model(num_classes, likelihood, J)
    x = np.random.default_rng(2).random((1, 3))
    eps, weights = normal(J, {1: 900, 2: 350}[J])
    _, acts = vae.forward(np.repeat(x, len(eps), axis=0), eps)
    bound = np.sum(weights * minivae.vae.neg_elbo(vae, acts))

    z, weights = points(J, {1: 1300, 2: 400}[J])
    mu, var = vae.encode(x)
    log_q_z = scipy.stats.norm.logpdf(z, mu, np.sqrt(var)).sum(axis=1)
    log_q_k = np.log(vae.classify(x)[0]) if num_classes else np.zeros(1)
    log_q = log_q_z + log_q_k[:, None]
    posterior = np.exp([log_joint(vae, x, z, y) for y in classes_of(vae)])
    posterior /= np.sum(weights * posterior)
    inside = (log_q > -60) & (posterior > 1e-300)  # elsewhere q log(q / posterior) is 0 to a digit
    ratio = log_q - np.log(np.where(inside, posterior, 1))
    kl = np.sum((weights * np.exp(log_q) * ratio)[inside])
    assert kl > 0.01
    residual = bound - (neg_log_p(vae, x) + kl)
    print(f"J = {J}, {num_classes} classes, {likelihood}: residual {residual:.1e}")
    assert abs(residual) < 1e-10


@pytest.mark.parametrize("num_classes", [0, 3])
def test_more_importance_samples_make_a_tighter_bound(rng, num_classes):
    """ELBO < IW-5 < IW-50 < log p(x) in expectation, each three standard errors apart."""
    vae = model(num_classes)
    vae.parameters()["encoder.mu.b"][...] += 0.7  # a q that is not good
    x = np.random.default_rng(2).random((1, 3))
    log_w = estimates.log_weights(vae, x, rng.standard_normal((1, 400_000, 1)))
    means, errors = [], []
    for k in (1, 5, 50):
        log_p = estimates.importance_estimate(log_w.reshape(-1, k))[0]
        means.append(np.mean(log_p))
        errors.append(np.std(log_p) / np.sqrt(len(log_p)))
    means.append(-neg_log_p(vae, x))
    errors.append(0)
    print(np.round(means, 4), np.round(errors, 4))
    assert (np.diff(means) > 3 * np.hypot(errors[1:], errors[:-1])).all()


def test_gradient_estimators_are_unbiased_and_one_has_far_less_variance(rng, ops):
    """The gradient of E_q[−log p(x|z)] with respect to mu and var: dz through the sample, and the
    score function, nll · ∂ log q / ∂(mu, var). Exact by the complex step through the quadrature.
    """
    vae = model(0).astype("complex128")
    x = np.random.default_rng(2).random((1, 3))
    mu, var, n = 0.4, 0.6, 200_000
    nodes, weights = normal(1, 900)

    def nll(z):
        return vae.nll(np.repeat(x, len(z), axis=0), z)

    def expected(mu, var):
        return np.sum(weights * nll(mu + np.sqrt(var) * nodes))

    exact = [
        complex_step(lambda t: expected(mu + t, var)),
        complex_step(lambda t: expected(mu, var + t)),
    ]
    eps = rng.standard_normal((n, 1))
    z = mu + np.sqrt(var) * eps
    dz = complex_step(lambda t: nll(z + t))[:, None]  # every sample for itself
    through_sample = ops.reparameterize_backward(dz, np.full((n, 1), var), eps)
    scores = [(z - mu) / var, ((z - mu) ** 2 / var - 1) / (2 * var)]
    by_score = [nll(z).real[:, None] * score for score in scores]
    for slope, pathwise, score in zip(exact, through_sample, by_score):
        for estimate in (pathwise, score):
            standard_error = np.std(estimate) / np.sqrt(n)
            assert abs(np.mean(estimate) - slope) < 5 * standard_error
        ratio = np.var(score) / np.var(pathwise)
        print(f"exact {slope:.5f}; variance by the score over that through the sample {ratio:.0f}")
        assert ratio > 10


@pytest.mark.parametrize("mu, var", [(0.0, 1.0), (1.5, 0.3), (-0.2, 4.0)])
def test_E9_gaussian_kl_is_the_mean_of_log_q_over_p(rng, ops, mu, var):
    z = mu + np.sqrt(var) * rng.standard_normal(200_000)
    ratio = scipy.stats.norm.logpdf(z, mu, np.sqrt(var)) - scipy.stats.norm.logpdf(z)
    kl = ops.gaussian_kl_forward(np.array([[mu]]), np.array([[var]]))[0]
    assert abs(np.mean(ratio) - kl) <= 5 * np.std(ratio) / np.sqrt(len(z))
