"""A plain autoencoder gives pictures back, and cannot make new ones.

Without noise and without KL the encoder puts its codes where it likes. A saved code gives its
picture back, better than a VAE's does. But a code that nobody saved means nothing: decode a random
one, z ~ N(0, I), and there is no digit, for the codes lie elsewhere, with holes between. The VAE
pays KL to keep its codes together and around 0, and noise to make neighbours alike; so its decoder
has an answer to any z of the prior. "No digit" is measured by squared distances: from each of 1,000
samples to the nearest real digit, and, for a grey blur is near to everything, from each real digit
to the nearest sample. The same for 1,000 other real digits is the yardstick.

    python examples/05_it_cannot_generate.py       45 s; writes 05_it_cannot_generate.png

With MINIVAE_FAST=1, in three seconds, too little is trained on MNIST for the first distance to
show it: the autoencoder makes one grey blur, which is near to everything.
"""

import numpy as np
from story import PROTOCOL, QUICK, Numbers, load, save

import minivae
from minivae.plots import digit_grid, new_ax
from minivae.training import minibatches

numbers = Numbers()
(images, _), (test, _) = load(10_000 if QUICK else None, 2000 if QUICK else None)
# In the order in which they are printed. A training is another one with another seed or rounding:
# allowed is about four times the spread of seeds (three of each quick protocol, two of strokes),
# and more where the plain autoencoder has never been, for nothing holds its codes.
EXPECTED = {
    "mnist": (23.19, 33.60, 14.7, 4.3, 36.7, 48.9, 16.3, 0.99, 23.1, 29.6),
    "mnist quick": (31.60, 34.39, 24.3, 5.3, 24.9, 35.8, 27.0, 0.99, 27.0, 32.6),
    "strokes": (11.88, 16.07, 7.5, 6.6, 28.1, 29.7, 11.3, 1.04, 18.6, 21.3),
    "strokes quick": (13.86, 16.22, 14.3, 6.0, 24.3, 27.6, 18.3, 0.97, 19.2, 23.5),
}
WITHIN = (0.01, 0.01, 1.2, 1.2, 8, 8, 0.8, 0.1, 2, 2)
if QUICK:
    WITHIN = (0.01, 0.01, 2, 1.2, 4, 3, 6, 0.2, 2, 2)
EPOCHS, LR = (6, 3e-3) if QUICK else (20, 1e-3)

# %% A VAE; and the same networks as a plain autoencoder: eps = 0, so that z = μ, and no KL
vae = minivae.VAE(minivae.VAEConfig(num_classes=0), seed=0)
minivae.fit(vae, (images, None), epochs=EPOCHS, lr=LR)

plain = minivae.VAE(minivae.VAEConfig(num_classes=0, beta=0.0), seed=0)
adam = minivae.Adam(plain.theta, lr=LR)
rng = np.random.default_rng(0)
for _ in range(EPOCHS):
    for rows in minibatches(rng.permutation(len(images)), 100):
        _, acts = plain.forward(images[rows], np.zeros((len(rows), 10), np.float32))
        plain.backward(acts)
        adam.step(plain.theta, plain.dtheta)


# %% Codes that were saved, and codes that nobody saved
def nearest(x, others):
    """The squared distance of each row of x to the nearest of the others, and which that is."""
    squares = np.sum(x * x, axis=1)[:, None] + np.sum(others * others, axis=1) - 2 * x @ others.T
    return np.min(squares, axis=1), np.argmin(squares, axis=1)


def hold_distances(name, made):
    hold(f"{name}, from a sample to the nearest digit", np.mean(nearest(made, test)[0]))
    hold("    from a digit to the nearest sample", np.mean(nearest(test, made)[0]))


def hold(what, value):
    numbers.hold(what, value, *next(expected))


expected = zip(EXPECTED[PROTOCOL], WITHIN)
z = rng.standard_normal((1000, 10), dtype=np.float32)
hold_distances("real digits", images[:1000])
saved, unsaved = {"real digits": test[:10]}, {}
for name, model in (("autoencoder", plain), ("VAE", vae)):
    mu, _ = model.encode(test)
    back, made = model.decode(mu), model.decode(z)
    hold(f"{name}: squared error of a saved code", np.mean(np.sum((back - test) ** 2, axis=1)))
    hold("    root mean square of the codes", np.sqrt(np.mean(mu**2)))
    hold_distances("    N(0, I)", made)
    saved[f"{name}: from their codes"] = back[:10]
    unsaved[f"{name}: from z ~ N(0, I)"] = made[:10]
    unsaved[f"{name}: nearest real digits"] = test[nearest(made[:10], test)[1]]

# %% The picture
pictures = saved | {"": np.full_like(test[:10], np.nan)} | unsaved
ax = digit_grid(np.stack(list(pictures.values())), new_ax(8, 5.2), list(pictures))
ax.set_title("codes of real digits, and codes that nobody saved")
save(ax.figure, "05_it_cannot_generate")
numbers.leave()
