"""The numbers of docs/slips.md, measured again, each beside the one on the page.

    MINIVAE_DATA=FOLDER OPENBLAS_NUM_THREADS=1 python docs/measure_slips.py [PART …]

Without a PART all are measured; without MINIVAE_DATA MNIST is sought in the user's cache, and then
downloaded. Ends with 1 where a number is further from the page's than the page allows.
"""

import functools
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from minivae import SGD, VAE, Adam, VAEConfig, datasets, fit
from minivae.checks import one_hot
from minivae.devices import ops
from minivae.distributions import bernoulli_nll_backward, bernoulli_nll_forward
from minivae.evidence.likelihood import estimate_log_p, log_p_given_z
from minivae.evidence.linear_gaussian import LinearGaussian, from_vae, ppca
from minivae.layers import sigmoid_forward
from minivae.training import evaluate, minibatches, terms

PAGE = Path(__file__).parent / "slips.md"
# With this σ −log p(x|z) is the squared error and a constant: the loss of many tutorials.
SQUARED_ERROR = VAEConfig(num_classes=0, decoder_std=math.sqrt(0.5))


class Data:
    """Images, labels, and how long to train; the test takes few of them."""

    def __init__(self, train, test, epochs=20):
        self.train, self.test, self.epochs = train, test, epochs

    @functools.cached_property
    def article(self):
        """The model of Zeldes 2018, trained, and its history."""
        vae = VAE()
        return vae, fit(vae, self.train, self.test, epochs=self.epochs)

    @functools.cached_property
    def right(self):
        """Squared error + KL, trained."""
        return self.trained(SQUARED_ERROR)

    def trained(self, config, optimiser=Adam, lr=1e-3, **functions):
        """A model of the config, trained without a check on the way. functions: by name, what the
        model calls instead of its own functions."""
        with ops.replaced(**functions):
            vae = VAE(config)
        step = optimiser(vae.theta, lr=lr).step
        rng = np.random.default_rng(0)
        images = self.train[0]
        y = one_hot(self.train[1], (len(images), 10)) if config.num_classes else None
        for _ in range(self.epochs):
            for rows in minibatches(rng.permutation(len(images)), 100):
                eps = rng.standard_normal((len(rows), config.latent_dim), np.float32)
                vae.backward(vae.forward(images[rows], eps, None if y is None else y[rows])[1])
                step(vae.theta, vae.dtheta)
        return vae


def of_mnist(train, test):
    """Models train on what follows the first 5,000 images, as with `minivae train mnist`."""
    return Data([part[5000:] for part in train], test)


# %% The latent loss without its logarithm
def kl_without_log_forward(mu, var):
    return 0.5 * np.sum(mu * mu + var, axis=1)


def kl_without_log_backward(dkl, mu, var):
    dkl = dkl.reshape(-1, 1)
    return dkl * mu, dkl * 0.5 * np.ones_like(var)


def latent_loss(data):
    wrong = data.trained(
        SQUARED_ERROR,
        gaussian_kl_forward=kl_without_log_forward,
        gaussian_kl_backward=kl_without_log_backward,
    )
    for name, vae in (("with the KL", data.right), ("with ½ Σ (μ² + σ²)", wrong)):
        yield f"median σ {name}", np.median(np.sqrt(vae.encode(data.test[0])[1]))
        yield f"nearest digit {name}", nearest(vae.sample(1000), data.test[0])


def nearest(samples, images):
    """The squared distance from a sample to the image nearest to it, the mean over the samples."""
    squares = np.sum(images * images, axis=1) - 2 * samples @ images.T
    return np.mean(np.min(squares, axis=1) + np.sum(samples * samples, axis=1))


# %% A mean over pixels beside a sum over latents
def mean_and_sum(data):
    images = data.test[0]
    off = images - np.mean(data.train[0], axis=0)
    yield "sse of the mean image", np.mean(np.sum(off * off, axis=1))
    wrong = data.trained(replace(SQUARED_ERROR, beta=784 * 100.0))
    for name, vae in (("right", data.right), ("wrong", wrong)):
        seen = evaluate(vae, images, None)
        yield f"sse, {name}", seen["sse"]
        yield f"KL, {name}", seen["kl"]


# %% Cross-entropy from probabilities, on grey pixels
def cross_entropy(data):
    logits = np.array([[-40.0]], np.float32)
    x, one = np.ones_like(logits), np.ones(1, np.float32)
    p = sigmoid_forward(logits)
    yield "nll of a white pixel at logit −40, from logits", bernoulli_nll_forward(x, logits)[0]
    yield "the same, as −log(p + 1e-8)", -np.log(p + np.float32(1e-8))[0, 0]
    yield "its slope by the logit, from logits", bernoulli_nll_backward(one, x, p)[0, 0]
    yield "the same through p", (-1 / (p + np.float32(1e-8)) * p * (1 - p))[0, 0]
    grey = data.test[0].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(-grey * np.log(grey)) + np.nan_to_num(-(1 - grey) * np.log1p(-grey))
    yield "cross-entropy of grey digits with themselves", np.mean(np.sum(entropy, axis=1))
    middle = (np.arange(10_000) + 0.5) / 10_000
    density = np.exp(-bernoulli_nll_forward(middle[:, None], np.zeros((10_000, 1))))
    yield "its “density” at p = ½ integrates to", np.mean(density)


def unsigned_head(data):
    """A head for σ itself, linear: the outputs of a fresh one, and the KL's slope near 0."""
    vae, images = VAE(replace(SQUARED_ERROR, latent_dim=100)), data.test[0]
    h = vae.encoder.forward(images, vae.parameters())[-1]
    heads = vae.log_var_head.forward(h, vae.parameters())
    yield "share of a fresh linear head below 0", np.mean(heads < 0)
    std = 1e-3
    yield "slope of the KL by σ at σ = 0.001", std - 1 / std
    yield "slope of the KL by log σ² at σ = 0.001", 0.5 * (std**2 - 1)


# %% E_q p(x|z) without the weight
def no_weight(data, images=100, samples=1000):
    linear = LinearGaussian(*ppca(data.train[0][:10_000], 10, 0.25))
    vae = linear.to_vae()
    vae.parameters()["encoder.log_var.b"][...] += 0.2  # q is a little wider than the posterior
    x = data.test[0][:images].astype(np.float64)
    yield "−log p(x), exact", -np.mean(linear.log_p(x))
    mu, var = vae.encode(x)
    rng, found = np.random.default_rng(0), []
    for i in range(len(x)):
        z = mu[i] + np.sqrt(var[i]) * rng.standard_normal((samples, 10))
        log_p = log_p_given_z(vae, np.repeat(x[i : i + 1], samples, axis=0), z)
        found.append(np.logaddexp.reduce(log_p) - math.log(samples))
    yield "−log of the mean of the likelihood, no weight", -np.mean(found)
    yield "−log of the mean with the weight", -estimate_log_p(vae, x, samples).mean
    yield "−ELBO of that q", evaluate(vae, x, None)["neg_elbo"]


# %% The ELBO rises, and log p(x) falls
def one_part_falls(data):
    images = data.train[0][:10_000]
    vae = LinearGaussian(*ppca(images, 10, 0.25)).to_vae()  # no W has a larger likelihood
    for name, W in vae.parameters().items():
        if name.startswith("encoder"):
            W[...] = 0  # q(z|x) = N(0, I)
    for when in ("before", "after"):
        if when == "after":
            fit(vae, (images, None), epochs=1)
        log_p = from_vae(vae).log_p(images)
        yield f"−ELBO {when}", evaluate(vae, images, None)["neg_elbo"]
        yield f"−log p(x) {when}", -np.mean(log_p)


# %% The optimiser, and the curve
def optimiser(data):
    _, history = data.article
    yield "nll + KL by Adam", history[-1]["test_loss_auto_encode"]
    vae = data.trained(VAEConfig(), optimiser=SGD)
    yield "nll + KL by SGD, as many steps", evaluate(vae, *data.test)["loss_auto_encode"]


def curve(data, images=1000, draws=20):
    vae, history = data.article
    train, test = (history[-1][f"{split}_loss_auto_encode"] for split in ("train", "test"))
    yield "test set", test
    yield "more on the training set, the curve's last point", train - test
    few = [part[:images] for part in data.test]
    each = [terms(vae, *few, seed=seed)["loss_auto_encode"] for seed in range(draws)]
    yield "spread of one image's loss over draws of ε", np.sqrt(np.mean(np.var(each, axis=0)))


# %% What the classifier's probabilities carry
def side_channel(data, images=100, samples=1000):
    vae, history = data.article
    yield "nll + KL", history[-1]["test_loss_auto_encode"]
    yield "−ELBO, which pays for the class", history[-1]["test_neg_elbo"]
    few = [part[:images] for part in data.test]
    loss = evaluate(vae, *few)["loss_auto_encode"]
    yield "nll + KL of the first 100", loss
    yield (
        "by how much −log p(x) of these, by 1,000 samples each, lies above it",
        -estimate_log_p(vae, few[0], samples).mean - loss,
    )


def soft_and_hard(data):
    vae, _ = data.article
    images, labels = data.test
    mu, _ = vae.encode(images)
    probs = vae.classify(images)
    soft = np.mean(vae.nll(images, mu, probs), dtype=np.float64)
    yield "nll at z = μ with the soft probabilities", soft
    codes = {"the most probable class": np.argmax(probs, axis=1), "the label": labels}
    for name, code in codes.items():
        nll = vae.nll(images, mu, one_hot(code, probs.shape))
        yield f"more with one-hot, {name}", np.mean(nll, dtype=np.float64) - soft
    yield "largest probability, the mean", np.mean(np.max(probs, axis=1))


PARTS = {
    part.__name__: part
    for part in (
        latent_loss,
        mean_and_sum,
        cross_entropy,
        unsigned_head,
        no_weight,
        one_part_falls,
        optimiser,
        curve,
        side_channel,
        soft_and_hard,
    )
}


def numbers_on_the_page():
    """{part: {what: (number, within)}}, from the tables under <!-- part --> in docs/slips.md."""
    page = PAGE.read_text(encoding="utf-8")
    found: dict = {}
    for part, table in re.findall(r"<!-- (\w+) -->\n\n?((?:\|.*\n)+)", page):
        for line in table.splitlines()[2:]:
            what, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            number, within = (float(cell.replace("−", "-").replace(",", "")) for cell in cells)
            found.setdefault(part, {})[what] = number, within
    return found


def main(parts):
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    page, missed = numbers_on_the_page(), []
    data = of_mnist(*(datasets.load("mnist", split) for split in ("train", "test")))
    for part in parts or PARTS:
        print(f"{part}\n{'':52} {'here':>10} {'page':>10}")
        for what, value in PARTS[part](data):
            number, within = page.get(part, {}).get(what, (math.nan, math.nan))
            held = abs(value - number) <= within
            verdict = "" if held else "  MISSED"
            print(f"    {what:48} {value:10.5g} {number:10.5g} ± {within:g}{verdict}", flush=True)
            missed += [] if held else [what]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
