"""Noise helps: an autoencoder beside a VAE, on images that neither has seen.

    python examples/16_noise_helps.py

The same network twice, and only a thousand images to learn from. The autoencoder is the VAE without
noise and without KL: it may put its codes anywhere, and learns its images by heart. The VAE's code
shakes, so that near codes have to give near images, and the KL keeps all codes near the origin.

Three things then go better. Images that neither has seen come back with a smaller error, and only
those of the training with a larger one; it takes epochs to show, more than the quick run has. Codes
drawn from N(0, I) give digits, or what is near to some. And a code that is moved, by a part of the
spread of the codes, gives an image that is moved less. All numbers are squared errors an image; of
samples, the squared distance of each to the real test digit nearest to it, and of each test digit
to the sample nearest to it.

15 seconds, with MINIVAE_FAST=1 three.
"""

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

from minivae import VAE, Adam, VAEConfig, fit, plots
from minivae.runs.figures import first_of_each
from minivae.training import minibatches

SEED = 0
LATENT = 20
EPOCHS = 30 if QUICK else 200
# (expected, within) for each of story.PROTOCOLS: the mean over seeds and four of their standard
# deviations; five seeds of the quick ones, two or three of those in full, there at least 2 %.
EXPECTED = {
    "autoencoder: training images": ((3.75, 0.2), (15.7, 1.3), (1.49, 0.1), (8.5, 1.2)),
    "autoencoder: test images": ((17.8, 0.7), (21.4, 1.1), (4.5, 0.25), (9.8, 1.0)),
    "autoencoder: what half a σ adds": ((14.0, 1.0), (6.6, 0.9), (13.4, 0.8), (7.2, 1.0)),
    "autoencoder: sample to nearest digit": ((53, 11), (88.8, 5.9), (54.8, 8.1), (89.3, 3.4)),
    "autoencoder: digit to nearest sample": ((51.4, 9), (62.2, 5.6), (47.5, 4.3), (56.8, 3.5)),
    "VAE: training images": ((4.8, 0.2), (17.9, 1.6), (2.15, 0.2), (10.5, 1.4)),
    "VAE: test images": ((14.6, 0.4), (22.8, 2.2), (4.4, 0.2), (11.5, 1.1)),
    "VAE: what half a σ adds": ((9.0, 0.7), (4.15, 0.6), (7.8, 1.4), (4.4, 0.6)),
    "VAE: sample to nearest digit": ((33.7, 0.7), (46.7, 7.1), (23.5, 1.7), (39.3, 2.8)),
    "VAE: digit to nearest sample": ((33.8, 0.7), (34.9, 1.4), (21.0, 1.7), (24.4, 0.5)),
}
(images, _), (test, test_labels) = load(1000, 2000)
net = {"num_classes": 0, "latent_dim": LATENT, "activation": "relu", "decoder_std": 0.3}
net |= {"encoder_layers": (256,), "decoder_layers": (256,)}

# %% The autoencoder: β = 0 takes the KL away, and eps = 0 the noise.
plain = VAE(VAEConfig(beta=0.0, **net), seed=SEED)
adam = Adam(plain.theta, lr=1e-3)
rng = np.random.default_rng(SEED)
for _ in range(EPOCHS):
    for rows in minibatches(rng.permutation(len(images)), 100):
        _, acts = plain.forward(images[rows], np.zeros((len(rows), LATENT)))
        plain.backward(acts)
        adam.step(plain.theta, plain.dtheta)

# %% The VAE.
vae = VAE(VAEConfig(**net), seed=SEED)
fit(vae, (images, None), epochs=EPOCHS, seed=SEED)


# %% What is measured.
def squared_error(a, b):
    return float(np.mean(np.sum((a - b) ** 2, axis=1)))


def to_nearest(a, b):
    """The squared distance of each image of a to the nearest of b, the mean."""
    squares = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1) - 2 * a @ b.T
    return float(np.mean(squares.min(axis=1)))


def moved(model, x, part):
    """x, decoded from codes that are moved by so much of the spread of the codes."""
    mu, _ = model.encode(x)
    noise = np.random.default_rng(SEED).standard_normal(mu.shape, dtype=np.float32)
    return model.decode(mu + part * mu.std(axis=0) * noise)


# %% The numbers.
PARTS = (0, 0.25, 0.5, 0.75, 1)
curves, samples, found = {}, {}, {}
for name, model in {"autoencoder": plain, "VAE": vae}.items():
    train_error = squared_error(model.reconstruct(images), images)
    curves[name] = [squared_error(moved(model, test, part), test) for part in PARTS]
    samples[name] = model.sample(2000, seed=SEED)
    found[f"{name}: training images"] = train_error
    found[f"{name}: test images"] = curves[name][0]
    found[f"{name}: what half a σ adds"] = curves[name][2] - curves[name][0]
    found[f"{name}: sample to nearest digit"] = to_nearest(samples[name], test)
    found[f"{name}: digit to nearest sample"] = to_nearest(test, samples[name])
numbers = Numbers()
numbers.hold_all(found, EXPECTED)

# %% The picture.
few = test[first_of_each(test_labels)]
rows = {"test images": few}
for name, model in {"autoencoder": plain, "VAE": vae}.items():
    rows[f"{name}: decoded"] = model.reconstruct(few)
    rows[f"{name}: codes moved by 0.75"] = moved(model, test, 0.75)[first_of_each(test_labels)]
    rows[f"{name}: codes of N(0, I)"] = samples[name][:10]
figure = Figure(figsize=(12, 4), layout="constrained")
digits, ax = figure.subplots(1, 2, width_ratios=(1.3, 1))
plots.digit_grid(np.stack(list(rows.values())), digits, list(rows))
for (name, values), style, colour in zip(curves.items(), ("s--", "o-"), (plots.ORANGE, plots.BLUE)):
    ax.plot(PARTS, values, style, color=colour, label=name)
ax.set_ylim(0)
ax.set_xlabel("how far codes are moved, in standard deviations of the codes")
ax.set_ylabel("squared error an image, test images")
ax.set_title("Codes that are moved")
ax.legend()
save(figure, "16_noise_helps")
numbers.leave()
