"""log p(x) is the ELBO and something that is never negative.

    log p(x) − KL[q(z|x) ‖ p(z|x)] = E_q[log p(x|z)] − KL[q(z|x) ‖ p(z)]

holds for every q. What stands on the right, the ELBO, can be computed; what stands on the left says
what it is good for. To raise it is to make x probable, or to bring q to the posterior: one of them,
or both. With one latent dimension every integral here is a sum over a fine grid of codes, so that
both sides can be computed, each for itself, to ten digits. Moving q by hand shows the rest: the
ELBO rises and falls, the KL falls and rises, and their sum never moves.

    python examples/09_log_p_is_elbo_plus_kl.py    10 s; writes 09_log_p_is_elbo_plus_kl.png
"""

import math

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

import minivae
from minivae.distributions import gaussian_kl_forward, gaussian_nll_forward, reparameterize_forward
from minivae.plots import BLUE, ORANGE, digit_grid

numbers = Numbers()

# %% A model with one latent dimension, trained on digits; from here on in float64
(images, _), (test, _) = load(10_000 if QUICK else None, None)
config = minivae.VAEConfig(latent_dim=1, num_classes=0)
vae = minivae.VAE(config, seed=0)
minivae.fit(vae, (images, None), epochs=2 if QUICK else 10, lr=3e-3)
vae = vae.astype("float64")

# %% Three densities over a grid of codes. The sum over such a grid is exact to rounding
z = np.linspace(-14, 14, 4001)[:, None]
width = z[1, 0] - z[0, 0]


def log_normal(mu, var):
    """log N(z; mu, var) at every z of the grid."""
    return -gaussian_nll_forward(z, np.full_like(z, mu), np.full_like(z, var))


def log_posterior(x):
    """log p(x|z), log p(x) = log ∫ p(x|z) p(z) width, and log p(z|x), by Bayes' rule."""
    log_p_x_z = -vae.nll(np.repeat(x[None].astype(float), len(z), axis=0), z)
    joint = log_p_x_z + log_normal(0, 1)
    log_p_x = np.max(joint) + math.log(np.sum(np.exp(joint - np.max(joint))) * width)
    return log_p_x_z, log_p_x, joint - log_p_x


def sides(log_p_x_z, log_p_z_x, mu, var):
    """The ELBO and KL[q ‖ p(z|x)] of q = N(mu, var)."""
    log_q = log_normal(mu, var)
    q = np.exp(log_q) * width
    elbo = np.sum(q * log_p_x_z) - gaussian_kl_forward(np.array([[mu]]), np.array([[var]]))[0]
    return elbo, np.sum(q * (log_q - log_p_z_x))


# %% Both sides, for the encoder's own q and for others that are moved, wider, narrower
worst, found = 0.0, []
for i, x in enumerate(test[:8]):
    log_p_x_z, log_p_x, log_p_z_x = log_posterior(x)
    mu, var = (float(value[0, 0]) for value in vae.encode(x[None].astype(float)))
    for shift, wide in ((0.3, 1), (0, 2), (-0.5, 0.7), (0, 1)):
        elbo, gap = sides(log_p_x_z, log_p_z_x, mu + shift, wide**2 * var)
        worst = max(worst, abs(log_p_x - gap - elbo))
    print(f"image {i}: log p(x) {log_p_x:9.4f} = ELBO {elbo:9.4f} + KL[q ‖ p(z|x)] {gap:.4f}")
    found.append((gap, i))
# The sums are of numbers near 300, each with 16 digits.
numbers.hold("|log p − KL − ELBO|, the worst of 32", worst, 0, 1e-10)
gap, chosen = max(found)
numbers.hold("no KL is negative: those that are", sum(gap < 0 for gap, _ in found), 0, 0)

# %% KL[q ‖ p(z)]: by its formula, by the grid, and as a mean over samples of q
log_p_x_z, log_p_x, log_p_z_x = log_posterior(test[chosen])
mu, var = (float(value[0, 0]) for value in vae.encode(test[[chosen]].astype(float)))
formula = gaussian_kl_forward(np.array([[mu]]), np.array([[var]]))[0]
log_ratio = log_normal(mu, var) - log_normal(0, 1)
by_grid = np.sum(np.exp(log_normal(mu, var)) * width * log_ratio)
numbers.hold("KL[q ‖ p(z)] by the grid", by_grid, formula, 1e-10)
for n in (100, 10_000, 1_000_000):
    eps = np.random.default_rng(0).standard_normal((n, 1))
    sample = reparameterize_forward(np.full_like(eps, mu), np.full_like(eps, var), eps)
    # log q(z) − log p(z), whose variance is ½ (σ² − 1)² + μ² σ²; five standard errors are allowed.
    by_samples = np.mean(0.5 * (sample**2 - eps**2 - math.log(var)))
    error = math.sqrt((0.5 * (var - 1) ** 2 + mu**2 * var) / n)
    numbers.hold(f"KL[q ‖ p(z)] by {n:,} samples", by_samples, formula, 5 * error)

# %% The picture: q moved past the posterior
figure = Figure(figsize=(12.5, 4.2), layout="constrained")
digit, left, right = figure.subplots(1, 3, width_ratios=(0.6, 1, 1.3))
digit_grid(test[None, [chosen]], digit)
digit.set_title("x")
curves = {
    "prior p(z)": (log_normal(0, 1), ":"),
    "posterior p(z|x)": (log_p_z_x, "-"),
    "encoder's q(z|x)": (log_normal(mu, var), "--"),
}
for (name, (log_p, style)), colour in zip(curves.items(), ("black", BLUE, ORANGE)):
    left.plot(z, np.exp(log_p), style, color=colour, label=name)
left.set_xlim(-4, 4)
left.set_ylim(0, 1.45 * max(np.exp(log_p).max() for log_p, _ in curves.values()))
left.set_title("what is thought of the code")
left.set_xlabel("code z")
left.set_ylabel("density")
left.legend(loc="upper center")
means = np.linspace(mu - 1.5, mu + 1.5, 121)
elbos, gaps = np.array([sides(log_p_x_z, log_p_z_x, mean, var) for mean in means]).T
low = max(elbos.min(), log_p_x - 30)
right.fill_between(means, low, elbos, color=BLUE, alpha=0.35, label="ELBO, up to here")
right.fill_between(means, elbos, elbos + gaps, color=ORANGE, alpha=0.5, label="KL[q ‖ p(z|x)]")
right.plot(means, elbos + gaps, "k", linewidth=2, label="their sum: log p(x), always")
right.axvline(mu, color="black", linestyle="--", linewidth=1, label="where the encoder puts q")
right.set_ylim(low, log_p_x + 0.45 * (log_p_x - low))
right.set_title("q moves, log p(x) stays")
right.set_xlabel("mean of q")
right.set_ylabel("nats")
right.legend(loc="upper center", ncols=2, fontsize="small")
save(figure, "09_log_p_is_elbo_plus_kl")
numbers.leave()
