"""Two gradients through a random number, and why one of them trains a VAE.

The loss is a mean over z ~ N(μ, σ²), and μ and σ are to be learned. How does it change with them?
Reparameterized, z = μ + σ ε is an ordinary function of them, with ε given: dz/dμ = 1, dz/dσ = ε,
and the slope of the loss at z is passed on. The score function needs no slope: it weighs the loss f
itself by how z's density changes, f(z) ε/σ for μ. Both are right on average. But f is some hundred
nats, and most of it has nothing to do with μ: what a single sample says is noise. Subtracting the
mean of f (a baseline) helps; knowing the slope helps more.

    python examples/10_reparameterization.py       10 s; writes 10_reparameterization.png
"""

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

import minivae
from minivae.distributions import reparameterize_backward, reparameterize_forward
from minivae.plots import BLUE, ORANGE

numbers = Numbers()
rng = np.random.default_rng(0)

# %% dz/dμ = 1 and dz/dσ = ε: by hand, and by the complex step, which is exact
mu, std, eps = rng.standard_normal((3, 4, 5))
std, h = abs(std) + 0.1, 1e-30j
by_mu = reparameterize_forward(mu + h, std**2, eps).imag / h.imag
by_std = reparameterize_forward(mu, (std + h) ** 2, eps).imag / h.imag
numbers.hold("dz/dμ − 1, the largest", np.max(abs(by_mu - 1)), 0, 1e-15)
numbers.hold("dz/dσ − ε, the largest", np.max(abs(by_std - eps)), 0, 1e-14)
dmu, dvar = reparameterize_backward(np.ones_like(eps), std**2, eps)
numbers.hold("    by reparameterize_backward", np.max(abs(dvar * 2 * std - eps)), 0, 1e-14)

# %% A loss that can be integrated: f(z) = z², so that the gradient of its mean for μ is 2 μ
mu, std, n = 1.0, 0.5, 100_000 if QUICK else 1_000_000
eps = rng.standard_normal(n)
z = mu + std * eps
pathwise, score = 2 * z, z**2 * eps / std
# By the moments of ε: 1, 3, 15 of its 2nd, 4th and 6th power.
VARIANCE = {
    "z², reparameterized": (pathwise, 4 * std**2),
    "z², score function": (
        score, (mu**4 + 18 * mu**2 * std**2 + 15 * std**4) / std**2 - 4 * mu**2
    ),
}
for name, (found, variance) in VARIANCE.items():
    error = np.sqrt(variance / n)
    numbers.hold(f"{name}: mean", np.mean(found), 2 * mu, 5 * error)
    squares = (found - 2 * mu) ** 2
    numbers.hold("    variance", np.mean(squares), variance, 5 * np.std(squares) / np.sqrt(n))

# %% A trained model: the gradient of −log p(x|z) for μ and σ of q(z|x), one image
(images, _), (test, _) = load(10_000 if QUICK else None, 100)
vae = minivae.VAE(minivae.VAEConfig(num_classes=0), seed=0)
minivae.fit(vae, (images, None), epochs=5, lr=3e-3 if QUICK else 1e-3)
vae = vae.astype("float64")
params, grads = vae.parameters(), vae.gradients()


def slope(acts):
    """dz (n, J) of each row's own nll: the lines of VAE.backward from the loss to z."""
    ones = np.ones_like(acts.nll)
    [head], [out] = vae.decoder_heads, acts.heads
    [dout] = vae.likelihood.backward(ones, acts.x, acts.mean, acts.decoder_var, out)
    dh = head.backward(dout, acts.decoder_h, out, params, grads)
    return vae.decoder.backward(dh, acts.decoder, params, grads)


# %% Three estimators of it. The one image stands in n rows, each with its own noise
n = 4000 if QUICK else 20_000
LABELS = ("score function", "score function − baseline", "reparameterized")
ratios, differences = [], []
for x in test[:3 if QUICK else 10]:
    eps = rng.standard_normal((n, vae.config.latent_dim))
    _, acts = vae.forward(np.repeat(x[None].astype(float), n, axis=0), eps)
    dz, std, f = slope(acts), np.sqrt(acts.var), acts.nll[:, None]
    by_density = np.concatenate([eps / std, (eps**2 - 1) / std], axis=1)
    by_path = np.concatenate([dz, dz * eps], axis=1)
    found = [f * by_density, (f - np.mean(f)) * by_density, by_path]  # (n, 2 J): μ, then σ
    mean, variance = np.mean(found, axis=1), np.var(found, axis=1)
    ratios.append(np.mean(variance, axis=1) / np.mean(variance[2]))
    differences.append(abs(mean[:2] - mean[2]) / np.sqrt((variance[:2] + variance[2]) / n))
numbers.hold("largest difference of means, in its errors", np.max(differences), 0, 5)
plain, baseline, _ = np.mean(ratios, axis=0)
# Nine trainings, of both data sets, quick and full, gave 44,000 to 72,000, and 11.5 to 13.5.
numbers.hold("variance: score function, in reparameterized", plain, 56_000, 30_000)
numbers.hold("    with the baseline", baseline, 12.3, 3)

# %% The picture, of the last image
figure = Figure(figsize=(12, 4.4), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
COLOURS = ("grey", ORANGE, BLUE)
sizes = [k for k in (1, 4, 16, 64, 256) if n // k >= 10]
for values, label, colour, style in zip(found, LABELS, COLOURS, ("^:", "s--", "o-")):
    groups = [values[: n // k * k].reshape(n // k, k, -1).mean(axis=1) for k in sizes]
    errors = [np.sqrt(np.mean((group - mean[2]) ** 2)) for group in groups]
    left.loglog(sizes, errors, style, color=colour, label=label)
size = np.sqrt(np.mean(mean[2] ** 2))
left.axhline(size, color="black", linewidth=1, label="size of the gradient itself")
left.set_ylim(0.03, 1e5)
left.set_title("how far the mean of n samples is off")
left.set_xlabel("samples n")
left.set_ylabel("root mean square, nats per unit of μ or σ")
left.legend(loc="upper center", ncols=2, fontsize="small")
bars = right.barh(LABELS, np.mean(variance, axis=1), color=COLOURS)
right.bar_label(bars, [f" {value:,.0f}" for value in np.mean(variance, axis=1)])
right.set_xscale("log")
right.set_xlim(0.5, 1e8)
right.set_title("variance of one sample")
right.set_xlabel("mean over μ and σ of all dimensions")
save(figure, "10_reparameterization")
numbers.leave()
