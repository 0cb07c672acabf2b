"""How probable is an image? Two ways to estimate p(x), and how one of them fails.

p(x) = ∫ p(x|z) p(z) dz is a mean over codes: draw z from the prior, take the mean of p(x|z). That
is right and hopeless, for almost no code drawn so explains this x, and one sample outweighs all the
others. The codes that an encoder's q(z|x) proposes do explain it; each is weighed by p(z) / q(z|x),
and few are enough. Here the model is linear, pPCA of the digits, so that log p(x) is known exactly,
and so is the share of the samples that counts. Last: as the noise σ of p(x|z) goes to 0, p(x|z) of
every sample becomes 0 in the computer, and its gradient with it: nothing is left to learn from. In
logarithms it stays a number, but of one sample only; p(x|z) has to be wide.

    python examples/08_estimating_p_of_x.py       3 s; writes 08_estimating_p_of_x.png
"""

import math

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

from minivae.evidence.likelihood import importance_estimate, log_weights
from minivae.evidence.linear_gaussian import LinearGaussian, ppca
from minivae.plots import BLUE, ORANGE

STD, J = 0.5, 10  # σ of p(x|z), latent dimensions
IMAGES, SAMPLES = (4, 4096) if QUICK else (16, 16384)
PRIOR = {"mnist": 6.9, "mnist quick": 10.5, "strokes": 7.8, "strokes quick": 14.1}  # by seeds: ± 1
numbers, rng = Numbers(), np.random.default_rng(0)

# %% The model, and its exact log p(x)
(images, _), (test, _) = load(5000 if QUICK else None, None)
linear = LinearGaussian(*ppca(images, J, STD**2))
test = test.astype(np.float64)
# Nothing here is random: half a unit of the last digit.
expected = {"mnist": -246.7, "mnist quick": -247.1, "strokes": -227.5, "strokes quick": -227.6}
numbers.hold("exact log p(x), mean of the test set", np.mean(linear.log_p(test)), expected, 0.05)

# %% An encoder that is good, not exact: q lies off the posterior by half its σ, and is 1.5 as wide
x = test[:IMAGES]
exact = linear.log_p(x)
m, covariance = linear.posterior(x)
s = np.sqrt(np.diag(covariance))
vae = linear.to_vae()
vae.parameters()["encoder.mu.b"][...] += 0.5 * s
vae.parameters()["encoder.log_var.b"][...] += 2 * math.log(1.5)
vae = vae.astype("float32")


def share(mean, std):
    """n_eff / n of many samples of N(mean, std²): 1 / Π_j ∫ p(z_j|x)² / N(z_j; mean, std²) dz_j."""
    width = 2 * std**2 - s**2
    each = std**2 / (s * np.sqrt(width)) * np.exp((m - mean) ** 2 / width)
    return 1 / np.prod(each, axis=1)


# The weights w_s of every image: p̂(x) is the mean of n of them
log_w = {"prior": [], "q": []}
for proposal in log_w:
    for row in x:
        eps = rng.standard_normal((SAMPLES // 2048, 1, 2048, J), dtype=np.float32)
        parts = [log_weights(vae, row[None], part, proposal)[0] for part in eps]
        log_w[proposal].append(np.concatenate(parts))


def rms_error(proposal, n):
    """Of log p̂ by n samples: over all images, and over all groups of n of their samples."""
    log_p = importance_estimate(np.reshape(log_w[proposal], (-1, n)))[0]
    return math.sqrt(np.mean((log_p.reshape(IMAGES, -1) - exact[:, None]) ** 2))


n, by_prior, by_q = SAMPLES // 16, share(0, 1), share(m + 0.5 * s, 1.5 * s)[0]
# 1 / n_eff − 1 / n is the variance of log p̂. Five standard errors; of an error, √(1 / 2k).
error = math.sqrt((1 / by_q - 1) / n)
allowed = 5 * error / math.sqrt(2 * IMAGES * 16)
numbers.hold(f"q: error of log p̂ by {n} samples, nats", rms_error("q", n), error, allowed)
error = math.sqrt((1 / by_q - 1) / (SAMPLES * IMAGES))
numbers.hold("q: mean of p̂(x) / p(x)", np.mean(np.exp(log_w["q"] - exact[:, None])), 1, 5 * error)
numbers.hold(f"prior: error by {n} samples, nats", rms_error("prior", n), PRIOR, 4)
print(f"one sample of q is worth {np.median(by_q / by_prior):,.0f} of the prior")

# %% σ → 0: p(x) of the first image by samples of the prior, in numbers and in logarithms
STDS = (0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.04)
z = rng.standard_normal((1000, J))
error = x[:1] - (z @ linear.W + linear.b)
rows = []
print("     σ       p̂(x)    |∂p̂/∂b|  samples that count     log p̂   log p(x)")
for std in STDS:
    narrow = LinearGaussian(linear.W, linear.b, std**2)
    log_p_x_z = -narrow.to_vae().nll(np.repeat(x[:1], len(z), axis=0), z)
    p = np.exp(log_p_x_z)
    slope = np.max(abs(p @ error)) / std**2 / len(p)
    (log_p,), _, (counting,) = importance_estimate(log_p_x_z[None])
    rows.append((np.mean(p), slope, counting, log_p, narrow.log_p(x[:1])[0]))
    print("{:6.2f} {:10.2g} {:10.2g} {:19.3f} {:9.0f} {:10.0f}".format(std, *rows[-1]))
numbers.hold("p̂(x) and its gradient at σ = 0.04", max(rows[-1][:2]), 0, 0)
numbers.hold("samples that count there, in logarithms", rows[-1][2], 1, 1e-6)

# %% The picture
left, right = (figure := Figure(figsize=(12, 4.4), layout="constrained")).subplots(1, 2)
sizes = 4 ** np.arange(6)
styles = {"prior": ("o-", ORANGE, "codes of the prior"), "q": ("s-", BLUE, "codes of q(z|x)")}
for proposal, (style, colour, label) in styles.items():
    errors = [rms_error(proposal, n) for n in sizes]
    left.loglog(sizes, errors, style, color=colour, label=label)
left.loglog(sizes[3:], np.sqrt((1 / by_q - 1) / sizes[3:]), "k:", label="q(z|x), in theory")
left.set_title("error of log p(x), where it is known exactly")
left.set_xlabel("samples n")
left.set_ylabel("root mean square, nats")
left.legend()
log_p_hat, exact_log_p = np.array(rows)[:, 3:].T
right.plot(STDS, exact_log_p, "k-", label="log p(x), exact")
right.plot(STDS, log_p_hat, "o-", color=ORANGE, label="log p̂(x) by 1,000 codes of the prior")
right.axhspan(-8000, math.log(5e-324), color="grey", alpha=0.3, label="exp of this is 0 in float64")
right.set_xscale("log")
right.set_xticks(STDS, STDS)
right.minorticks_off()
right.set(xlim=(0.55, 0.037), ylim=(-8000, 1500), xlabel="noise σ of p(x|z)", ylabel="nats")
right.set_title("σ → 0: the likelihood becomes 0, and its gradient too")
right.legend(loc="lower left")
save(figure, "08_estimating_p_of_x")
numbers.leave()
