"""The numbers that each protocol should give. The long runs are marked slow."""

import math
from dataclasses import replace

import numpy as np
import pytest

from minivae import VAE, VAEConfig, datasets, fit
from minivae.evidence.likelihood import estimate_log_p
from minivae.evidence.linear_gaussian import LinearGaussian, from_vae, ppca
from minivae.runs.references import ARTICLE, BASELINES, REFERENCES
from minivae.training import evaluate, terms

# What the article's model gives on the way, and the squared error that goes with its nll
ON_THE_WAY = {
    ARTICLE: {
        1: {"test_loss_auto_encode": (259.8, 2)},
        9: {"test_loss_auto_encode": (230.3, 0.6)},
        20: {"test_sse": (17.7, 0.4)},
    }
}


def run(protocol, train, test, seed, watch):
    """Train by the protocol -> {epoch: the means over the test set}, for the epochs to watch."""
    vae = VAE(protocol.config, seed=seed)
    train = [array[protocol.holdout :] for array in train]
    options = protocol.epochs, protocol.batch_size, protocol.lr, seed
    seen = {}

    def on_epoch(row):
        if row["epoch"] in watch:
            means = evaluate(vae, *test, seed=seed)
            seen[row["epoch"]] = {f"test_{name}": value for name, value in means.items()}

    fit(vae, train, None, *options, on_epoch=on_epoch)
    return seen


def test_two_epochs_of_the_article_s_model(mnist):
    seen = run(replace(ARTICLE, epochs=2), *mnist, seed=0, watch=[1, 2])
    assert seen[1]["test_loss_auto_encode"] == pytest.approx(259.8, abs=2)
    assert seen[2]["test_loss_auto_encode"] < 250
    assert seen[2]["test_accuracy"] > 0.92
    bound = seen[2]["test_neg_elbo"]
    assert seen[2]["test_loss_auto_encode"] < bound < BASELINES["mnist"]["mean image"]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", REFERENCES, ids=lambda p: f"{p.data}-{p.config.likelihood}")
def test_the_mean_of_three_seeds_is_the_reference(protocol, request):
    if protocol.data == "mnist":
        train, test = request.getfixturevalue("mnist")
    else:
        train, test = (datasets.load("strokes", split) for split in ("train", "test"))
    expected = {protocol.epochs: {}} | ON_THE_WAY.get(protocol, {})
    expected[protocol.epochs] = expected[protocol.epochs] | REFERENCES[protocol]
    seeds = [run(protocol, train, test, seed, expected) for seed in range(3)]
    for epoch, numbers in expected.items():
        for name, (value, spread) in numbers.items():
            each = [seen[epoch][name] for seen in seeds]
            print(f"epoch {epoch:2} {name:22} {np.round(each, 4)}, expected {value} ± {spread}")
            assert np.mean(each) == pytest.approx(value, abs=spread), (epoch, name)


@pytest.mark.slow
def test_a_linear_vae_comes_to_ppca_and_every_estimate_to_the_exact_value(mnist):
    (train, _), (test, _) = mnist
    linear = {"encoder_layers": (), "decoder_layers": (), "decoder_output": "identity"}
    vae = VAE(VAEConfig(num_classes=0, **linear))
    # At 1e-3 to the end it stays 0.25 above, for Adam's steps do not shrink; half of that is q's.
    fit(vae, (train, None), epochs=15)
    fit(vae, (train, None), epochs=5, lr=1e-4, seed=1)
    exact = -np.mean(LinearGaussian(*ppca(train, 10, 0.25)).log_p(train))
    bound = evaluate(vae, train, None)["neg_elbo"]
    print(f"training set: −ELBO {bound:.2f}, pPCA {exact:.2f}")
    assert exact == pytest.approx(247.2, abs=0.05)
    assert exact < bound < exact + 0.2

    trained = from_vae(vae)  # the decoder as it stands: its log p(x) is exact
    log_p = trained.log_p(test[:100])
    by_q = estimate_log_p(vae, test[:100], 5000)
    print(f"{by_q}; exact {np.mean(log_p):.3f}")
    assert abs(by_q.mean - np.mean(log_p)) < 3 * by_q.mean_standard_error
    assert np.mean(abs(by_q.log_p - log_p) < 3 * by_q.standard_error) > 0.95
    by_prior = estimate_log_p(vae, test[:100], 5000, "prior")
    print(by_prior)
    assert np.isnan(by_prior.mean_standard_error)  # hopeless in ten dimensions, and says so
    assert by_prior.mean < np.mean(log_p)
    one_sample = terms(vae, test[:100], None)
    assert -np.mean(one_sample["neg_elbo"]) < by_q.mean


def test_the_baselines_of_mnist_are_exact(mnist):
    assert baselines(mnist[0][0], mnist[1][0]) == pytest.approx(BASELINES["mnist"], abs=0.06)


def test_the_baselines_of_strokes_are_exact():
    train, test = (datasets.load("strokes", split)[0] for split in ("train", "test"))
    assert baselines(train, test) == pytest.approx(BASELINES["strokes"], abs=0.06)


def baselines(train, test, noise=0.25, q=10):
    """The mean image, and pPCA at a fixed variance, by the eigenvectors of the covariance."""
    train, test = train.astype(float), test.astype(float)
    mean = train.mean(axis=0)
    distance = ((test - mean) ** 2).sum(axis=1)
    constant = 784 / 2 * math.log(2 * math.pi * noise)
    eigenvalues, vectors = np.linalg.eigh(np.cov(train.T))
    along = ((test - mean) @ vectors[:, -q:]) ** 2
    outside = (distance - along.sum(axis=1)) / noise
    inside = (along / eigenvalues[-q:]).sum(axis=1)
    log_det = np.log(eigenvalues[-q:] / noise).sum()
    return {
        "mean image": distance.mean() / (2 * noise) + constant,
        "pPCA of 10 components": (inside + outside).mean() / 2 + log_det / 2 + constant,
    }
