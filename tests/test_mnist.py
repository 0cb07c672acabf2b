"""The numbers of the articles, on real MNIST. The long runs are marked slow."""

import math

import numpy as np
import pytest

from minivae import VAE, VAEConfig, datasets, fit
from minivae.references import BASELINES, PYTORCH_EXAMPLE
from minivae.training import evaluate


def run(mnist, config, seed, epochs, batch_size=100, holdout=5000, watch=()):
    """Train -> {epoch: the means over the test set}, for the epochs to watch and the last."""
    (images, labels), test = mnist
    vae = VAE(config, seed=seed)
    seen = {}

    def on_epoch(row):
        if row["epoch"] in (*watch, epochs):
            seen[row["epoch"]] = evaluate(vae, *test, seed=seed)

    train = images[holdout:], labels[holdout:]
    fit(vae, train, epochs=epochs, batch_size=batch_size, seed=seed, on_epoch=on_epoch)
    return seen


def test_two_epochs_of_the_article_s_model(mnist):
    seen = run(mnist, VAEConfig(), seed=0, epochs=2, watch=[1])
    assert seen[1]["loss_auto_encode"] == pytest.approx(259.8, abs=2)
    assert seen[2]["loss_auto_encode"] < 250
    assert seen[2]["accuracy"] > 0.92
    assert seen[2]["loss_auto_encode"] < seen[2]["neg_elbo"] < BASELINES["mnist"]["mean image"]


VARIANTS = {
    "article": (VAEConfig(), {
        1: {"loss_auto_encode": (259.8, 2)},
        9: {"loss_auto_encode": (230.3, 0.6)},
        20: {
            "loss_auto_encode": (224.1, 0.8),
            "kl": (11.6, 0.6),
            "sse": (17.7, 0.4),
            "accuracy": (0.960, 0.004),
            "ce": (0.166, 0.006),
            "neg_elbo": (231.2, 0.8),
        },
    }),
    "cut": (VAEConfig(label_gradient=False), {
        20: {
            "loss_auto_encode": (225.4, 0.8),
            "accuracy": (0.977, 0.003),
            "neg_elbo": (228.2, 0.8),
        },
    }),
    "plain": (VAEConfig(num_classes=0), {20: {"neg_elbo": (229.2, 0.9)}}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_twenty_epochs_mean_of_three_seeds(mnist, variant):
    config, expected = VARIANTS[variant]
    seeds = [run(mnist, config, seed, epochs=20, watch=expected) for seed in range(3)]
    for epoch, numbers in expected.items():
        for name, (value, spread) in numbers.items():
            mean = np.mean([seen[epoch][name] for seen in seeds])
            print(f"{variant}, epoch {epoch}: {name} {mean:.4f}, expected {value} ± {spread}")
            assert mean == pytest.approx(value, abs=spread), (epoch, name)


@pytest.mark.slow
def test_pytorch_s_example_ten_epochs(mnist):
    seen = run(mnist, PYTORCH_EXAMPLE, seed=0, epochs=10, batch_size=128, holdout=0)
    assert seen[10]["neg_elbo"] == pytest.approx(105.5, abs=0.6)


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
        "pPCA, 10 components": (inside + outside).mean() / 2 + log_det / 2 + constant,
    }
