"""Which dimensions live: σ rises until it reaches one, but of useless dimensions only.

    python examples/13_which_dimensions_live.py

Of what the code says the KL is the price, and a dimension that says nothing costs nothing: μ = 0
and σ = 1 for every image, which is the prior. It is often read that the KL drives σ up to one. It
does so at first, when the decoder does not listen yet: here all twenty dimensions start at σ = 0.14
and are close to one after an epoch. Then some pay: knowing them to within a smaller σ saves more
squared error than it costs in KL. Their σ falls again; the others stay at one, and are as good as
not there. At σ = 1 of the decoder a squared error is cheap, and not many are worth their price.

20 seconds, with MINIVAE_FAST=1 three.
"""

import numpy as np
from matplotlib.figure import Figure
from story import DATA, QUICK, Numbers, load, save

from minivae import VAE, VAEConfig, fit, plots

SEED = 0
LATENT = 20
ACTIVE = 0.01  # variance of μ over the images, above which a unit is active (Burda et al. 2016)
# (expected, within) for each of story.PROTOCOLS: the mean over seeds and four of their standard
# deviations; five seeds of the quick ones, two or three of those in full, there at least 2 %.
EXPECTED = {
    "dimensions with a KL over 0.1 nats": ((6, 1), (6, 5), (7, 1), (5, 3)),
    "KL of all together, nats": ((5.16, 0.4), (3.4, 0.6), (5.5, 0.4), (3.3, 0.5)),
    "σ after an epoch: the smallest": ((0.865, 0.08), (0.978, 0.03), (0.987, 0.02), (0.988, 0.02)),
    "σ at the end: where KL is largest": ((0.30, 0.07), (0.42, 0.1), (0.28, 0.03), (0.37, 0.07)),
    "σ at the end: mean of the live": ((0.456, 0.03), (0.61, 0.29), (0.503, 0.02), (0.60, 0.23)),
    "σ at the end: mean of the others": ((0.999, 0.01), (0.98, 0.02), (0.994, 0.01), (0.98, 0.02)),
    "active units: variance of μ over 0.01": ((7, 5), None, (9, 8), None),
}
(images, _), (test, _) = load(*((10_000, 2000) if QUICK else ()))

# %% Train, and keep the mean σ of each dimension after each epoch.
vae = VAE(VAEConfig(num_classes=0, latent_dim=LATENT, decoder_std=1.0), seed=SEED)
vae.parameters()["encoder.log_var.b"][...] = -4  # σ = exp(−4/2) = 0.14, far from one
course = []


def look(row=None):
    course.append(np.mean(np.sqrt(vae.encode(test)[1]), axis=0))


look()
epochs = {"mnist": 20, "strokes": 60}[DATA]  # as many steps of either
schedule = {"epochs": 12, "lr": 3e-3} if QUICK else {"epochs": epochs}
fit(vae, (images, None), seed=SEED, on_epoch=look, **schedule)

# %% The numbers. A dimension lives where its μ varies with the image.
mu, var = vae.encode(test)
std = np.mean(np.sqrt(var), axis=0)
kl = plots.kl_of_dimensions(vae, test)
active = np.var(mu, axis=0) > ACTIVE
live = kl > 0.1
found = {
    "dimensions with a KL over 0.1 nats": np.sum(live),
    "KL of all together, nats": np.sum(kl),
    "σ after an epoch: the smallest": np.min(course[1]),
    "σ at the end: where KL is largest": std[np.argmax(kl)],
    "σ at the end: mean of the live": np.mean(std[live]),
    "σ at the end: mean of the others": np.mean(std[~live]),
}
if not QUICK:  # of useless ones μ takes longest to settle
    found["active units: variance of μ over 0.01"] = np.sum(active)
numbers = Numbers()
numbers.hold_all(found, EXPECTED)

# %% The picture: the way of each σ, what each dimension says, and σ image by image.
figure = Figure(figsize=(15.6, 3.8), layout="constrained")
way, bars, histogram = figure.subplots(1, 3)
for j, values in enumerate(np.array(course).T):
    alive = {"color": plots.BLUE, "linewidth": 1.8} if live[j] else {"color": "grey"}
    way.plot(values, linestyle="-" if live[j] else ":", **alive)
way.plot([], [], color=plots.BLUE, label=f"the {np.sum(live)} with a KL over 0.1 nats")
way.plot([], [], ":", color="grey", label="the others")
way.axhline(1, color=plots.ORANGE, linestyle="--", label="σ of the prior")
way.set_ylim(0, 1.1)
way.xaxis.get_major_locator().set_params(integer=True)
way.set_xlabel("epoch")
way.set_ylabel("mean σ of q(z|x)")
way.set_title("All rise at first; those that say something fall")
way.legend(loc="lower right")
plots.kl_by_dimension(vae, test, bars)
plots.posterior_std(vae, test, histogram)
save(figure, "13_which_dimensions_live")
numbers.leave()
