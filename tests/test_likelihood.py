"""The bound that pays for the class, and the estimates of log p(x), against exact answers."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import scipy.special
import scipy.stats
from quadrature import model, neg_log_p

import minivae.vae
from minivae import VAE, VAEConfig
from minivae.errors import ConfigError, DataError
from minivae.evidence import likelihood as estimates
from minivae.evidence import linear_gaussian
from minivae.evidence.likelihood import Estimate, estimate_log_p, log_p_given_z

pytestmark = pytest.mark.usefixtures("readable")


def test_the_classes_are_mixed_evenly(rng):
    vae = model(3)
    x, z = rng.random((5, 3)), rng.standard_normal((5, 1))
    p = [np.exp(-vae.nll(x, z, np.tile(y, (5, 1)))) for y in np.eye(3)]
    np.testing.assert_allclose(log_p_given_z(vae, x, z), np.log(np.mean(p, axis=0)), rtol=1e-12)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_E25_log_weights_are_ratios_of_densities(rng, num_classes):
    vae = model(num_classes)
    x, eps = rng.random((2, 3)), rng.standard_normal((2, 7, 1))
    mu, var = vae.encode(x)
    z = mu[:, None] + np.sqrt(var)[:, None] * eps
    log_p_z = scipy.stats.norm.logpdf(z)[..., 0]
    log_q = scipy.stats.norm.logpdf(z, mu[:, None], np.sqrt(var)[:, None])[..., 0]
    given = np.stack([log_p_given_z(vae, np.tile(x[i], (7, 1)), z[i]) for i in range(2)])
    log_w = given + log_p_z - log_q
    np.testing.assert_allclose(estimates.log_weights(vae, x, eps), log_w, rtol=1e-12)
    prior = np.stack([log_p_given_z(vae, np.tile(x[i], (7, 1)), eps[i]) for i in range(2)])
    np.testing.assert_allclose(estimates.log_weights(vae, x, eps, "prior"), prior, rtol=1e-12)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_learned", "bernoulli"])
@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("proposal", ["q", "prior"])
def test_E25_E26_estimates_are_right_by_quadrature(likelihood, num_classes, proposal):
    vae = model(num_classes, likelihood)
    # A q as wide as the posterior: the weights of a narrow one have no variance to speak of.
    vae.parameters()["encoder.log_var.b"][...] += 2.5
    x = np.random.default_rng(2).random((4, 3))
    found = estimate_log_p(vae, x, 20_000, proposal)
    exact = np.array([-neg_log_p(vae, row[None]) for row in x])
    assert (found.effective_samples > 100).all() and (found.standard_error < 0.1).all()
    assert (abs(found.log_p - exact) < 5 * found.standard_error).all()


def test_E26_importance_estimate_by_hand():
    w = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [1.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        log_p, standard_error, effective = estimates.importance_estimate(np.log(w) - 1000)
    np.testing.assert_allclose(log_p, np.log([2, 5, 1 / 3]) - 1000, rtol=1e-13)
    np.testing.assert_allclose(effective, [36 / 14, 3, 1])
    relative = w.std(axis=1) / w.mean(axis=1) / np.sqrt(3)  # of the mean of three
    np.testing.assert_allclose(standard_error, relative, atol=1e-8)


def test_E26_equal_weights_have_no_error():
    _, standard_error, effective = estimates.importance_estimate(np.log(np.full((3, 7), 0.1)) - 500)
    np.testing.assert_allclose(standard_error, 0, atol=1e-7)
    np.testing.assert_allclose(effective, 7)
    for S in range(1, 50):
        assert np.isfinite(estimates.importance_estimate(np.full((1, S), np.float32(0.3)))[1]).all()
    assert estimates.importance_estimate(np.zeros((1, 3), np.float32))[0].dtype == np.float64


def test_another_seed_draws_other_samples(rng):
    x = rng.random((3, 3))
    again = [estimate_log_p(model(0), x, 100, seed=seed).log_p for seed in (0, 0, 1)]
    assert np.array_equal(again[0], again[1]) and (again[0] != again[2]).all()


def test_E26_the_standard_error_is_that_of_the_estimate(rng):
    """Of 500 estimates, each by 200 log-normal weights: their own spread."""
    log_p, standard_error, _ = estimates.importance_estimate(0.5 * rng.standard_normal((500, 200)))
    spread = np.std(log_p)
    assert abs(spread - np.median(standard_error)) < 5 * spread / np.sqrt(2 * 500)
    bias = np.median(standard_error) ** 2 / 2  # log p̂ is that much below log p on average
    assert abs(np.mean(log_p) - (0.125 - bias)) < 5 * spread / np.sqrt(500)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_estimate_is_exact_on_the_linear_model(rng, dtype):
    W, b, _ = linear_gaussian.ppca(rng.standard_normal((200, 4)) @ rng.standard_normal((4, 8)), 2)
    linear = linear_gaussian.LinearGaussian(W, b, 0.4)
    vae = linear.to_vae()
    vae.parameters()["encoder.mu.b"][...] += 0.3  # q is no longer the posterior
    vae.parameters()["encoder.log_var.b"][...] += 0.5
    vae = vae.astype(dtype)
    x = rng.standard_normal((20, 8)).astype(dtype)
    exact = linear.log_p(x)
    for proposal in ("q", "prior"):
        found = estimate_log_p(vae, x, 20_000, proposal)
        assert (found.effective_samples > 10).all()
        assert (abs(found.log_p - exact) < 5 * found.standard_error).all()
        assert abs(found.mean - exact.mean()) < 3 * found.mean_standard_error


def test_the_batches_change_no_number_and_keep_to_the_memory():
    config = VAEConfig(
        latent_dim=3, likelihood="gaussian_learned", decoder_layers=(400, 900), num_classes=3
    )
    vae = VAE(config)
    wide = VAE(dataclasses.replace(config, encoder_layers=(5000,)))
    classes = VAE(VAEConfig(data_dim=2, latent_dim=1, num_classes=100, decoder_layers=()))
    x = np.random.default_rng(0).random((4, 784), dtype=np.float32)
    whole = estimate_log_p(vae, x, 300, max_bytes=1 << 28)
    for max_bytes in (1 << 21, 1 << 23, 1 << 24):
        tracemalloc.start()
        cut = estimate_log_p(vae, x, 300, max_bytes=max_bytes)
        assert tracemalloc.get_traced_memory()[1] < max_bytes
        tracemalloc.stop()
        np.testing.assert_allclose(cut.log_p, whole.log_p, rtol=1e-5)
    tracemalloc.start()
    estimate_log_p(wide, np.repeat(x, 100, axis=0), samples=1, max_bytes=1 << 23)
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()
    tracemalloc.start()
    estimate_log_p(classes, np.full((1000, 2), 0.5, np.float32), samples=20, max_bytes=1 << 23)
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


def test_few_effective_samples_give_a_lower_bound_only():
    log_p, spread, effective = np.array([-3.0, -5.0]), np.array([0.3, 0.4]), np.array([50.0, 20.0])
    good = Estimate(log_p, spread, effective, 100, "q")
    assert good.mean == -4 and good.mean_standard_error == pytest.approx(0.25)
    assert "-4.00 nats an image, ± 0.25" in str(good) and "smallest 20.0" in str(good)
    bad = Estimate(log_p, np.array([0.3, np.nan]), np.array([50.0, 9.0]), 100, "q")
    assert np.isnan(bad.mean_standard_error)
    assert "-4.00 nats an image, lower bound only\n" in str(bad) and "±" not in str(bad)
    assert "fewer than 10 for 1 of the images" in str(bad)


def test_one_sample_is_the_elbo_and_a_lower_bound_only(rng):
    vae = model(0)
    x = np.tile(rng.random((1, 3)), (20_000, 1))
    found = estimate_log_p(vae, x, samples=1)
    assert np.isnan(found.standard_error).all()
    bound = minivae.vae.neg_elbo(vae, vae.forward(x, rng.standard_normal((20_000, 1)))[1])
    error = np.hypot(np.std(bound), np.std(found.log_p)) / np.sqrt(20_000)
    assert abs(found.mean + np.mean(bound)) < 5 * error


def test_a_proposal_that_misses_is_called_a_lower_bound(rng):
    vae = model(0)
    vae.parameters()["encoder.mu.b"][...] += 8
    found = estimate_log_p(vae, rng.random((3, 3)), 1000)
    assert (found.effective_samples < 10).all() and np.isnan(found.standard_error).all()
    assert "lower bound only" in str(found)


def test_a_q_that_is_too_narrow_gives_less_than_log_p():
    """Ten effective samples are no proof: the tail that is never drawn is missing, and unseen."""
    vae = model(0)
    x = np.random.default_rng(2).random((1, 3))
    found = estimate_log_p(vae, x, 20_000)
    assert found.effective_samples[0] > 100
    assert found.log_p[0] < -neg_log_p(vae, x) - 5 * found.standard_error[0]
    assert vae.encode(x)[1] < 0.1


def test_what_cannot_be_estimated_is_refused(rng):
    vae = model(0)
    x = rng.random((3, 3))
    for field, value in (("samples", 0), ("proposal", "posterior"), ("max_bytes", 0)):
        with pytest.raises(ConfigError, match=f"{field}={value!r}"):
            estimate_log_p(vae, x, **{field: value})
    with pytest.raises(DataError, match="x is"):
        estimate_log_p(vae, x[:, 1:])


def test_the_autoencoder_s_loss_is_below_the_bound_that_pays():
    vae = model(3)
    x = np.random.default_rng(2).random((500, 3))
    vae.parameters()["classifier.out.W"][...] *= 20  # a classifier that is sure of itself
    _, acts = vae.forward(x, np.random.default_rng(3).standard_normal((500, 1)))
    paid = np.mean(minivae.vae.neg_elbo(vae, acts) - acts.nll - acts.kl)
    assert 0.9 * np.log(3) < paid
    assert np.isfinite(minivae.vae.neg_elbo(vae, acts)).all()
