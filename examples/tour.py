"""From data to samples in a dozen cells: for an editor that knows `# %%`, or as a script of 15 s.

The pictures, tour_*.png, and the model, tour.safetensors, are left where the tour is started.
"""

# %% Data: handwritten digits that are made on the spot. "mnist" in place of "strokes" loads MNIST.
import matplotlib.pyplot as plt
import numpy as np

import minivae
from minivae import plots

images, labels = minivae.datasets.load("strokes", "train")
test_images, test_labels = minivae.datasets.load("strokes", "test")
print("images", images.shape, "labels", labels.shape)

# %% Forty of them. Each function of minivae.plots draws into an ax.
figure, ax = plt.subplots(figsize=(6, 2.6))
plots.digit_grid(plots.in_rows(images[:40], 10), ax)
ax.set_title("strokes")
figure.savefig("tour_data.png", bbox_inches="tight")

# %% A conditional VAE: ten latent numbers and a label make a picture.
vae = minivae.VAE(minivae.VAEConfig(latent_dim=10), seed=0)
for name, W in vae.parameters().items():
    print(f"{name:22} {W.shape}")

# %% Forward. The noise is an argument, and every value on the way has its name.
x, y = images[:100], labels[:100]
eps = np.random.default_rng(0).standard_normal((100, 10), dtype=np.float32)
loss, acts = vae.forward(x, eps, y)
print("mu", acts.mu.shape, "z", acts.z.shape, "mean of p(x|z)", acts.mean.shape)
print(f"loss {loss:.2f} = nll {acts.nll.mean():.2f} + KL {acts.kl.mean():.2f} "
      f"+ 10 · cross-entropy {acts.ce.mean():.2f} nats an image")

# %% Backward: the same lines in reverse order. They fill one vector, with a view for each weight.
vae.backward(acts)
print("∂loss/∂θ", vae.dtheta.shape, "of which for mu:", vae.gradients()["encoder.mu.W"].shape)

# %% Is it right? A few entries of every gradient, beside the derivative by its definition.
print(minivae.gradcheck.check_model(vae, x[:5], y[:5]))

# %% Train with Adam, for seven seconds.
history = minivae.fit(vae, (images, labels), (test_images, test_labels))
print(f"test accuracy {history[-1]['test_accuracy']:.3f}")

# %% The two losses fall.
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
plots.loss_curve(history, "loss_auto_encode", axes[0])
plots.loss_curve(history, "ce", axes[1])
figure.savefig("tour_losses.png", bbox_inches="tight")

# %% Test images, and what comes back from their codes.
figure, ax = plt.subplots(figsize=(6, 1.8), layout="constrained")
few = test_images[:10]
plots.reconstructions(few, {"decoded": vae.reconstruct(few)}, ax)
ax.set_title("test images, and what comes back from their codes")
figure.savefig("tour_reconstructions.png", bbox_inches="tight")

# %% Sevens that nobody wrote.
figure, ax = plt.subplots(figsize=(6, 1.6), layout="constrained")
plots.digit_grid(plots.in_rows(vae.sample(20, digit=7), 10), ax)
ax.set_title("samples of the digit 7")
figure.savefig("tour_sevens.png", bbox_inches="tight")

# %% A code of two numbers and no label: all digits on one plane.
plane = minivae.VAE(minivae.VAEConfig(latent_dim=2, num_classes=0), seed=0)
minivae.fit(plane, (images, None), epochs=20)
figure, axes = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
plots.posterior_means(plane, test_images[:1000], test_labels[:1000], axes[0])
axes[0].set_title("the codes of 1,000 test images")
plots.manifold(plane, axes[1]).set_title("what is decoded over the plane")
figure.savefig("tour_plane.png", bbox_inches="tight")

# %% Keep the model.
minivae.save(vae, "tour.safetensors")
again = minivae.load("tour.safetensors")
print("the same weights:", np.array_equal(vae.theta, again.theta))
