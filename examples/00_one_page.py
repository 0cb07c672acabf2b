"""A whole variational autoencoder on one page of NumPy: forward, backward, Adam, training, samples.

    python examples/00_one_page.py      5 s; −ELBO in nats an image; writes 00_one_page.png

x are rings drawn here, or MNIST where MINIVAE_DATA names its folder. Encoder: q(z|x) = N(mu, var),
prior: p(z) = N(0, I), decoder: p(x|z) = N(mean, DECODER_VAR I), a classifier: none on this page."""
import gzip
import math
import os

import matplotlib.pyplot as plt
import numpy as np

D, H, J, B = 784, 128, 10, 100  # pixels, hidden units, numbers in a code, images in a batch
DECODER_VAR, VAR_FLOOR = 0.25, 1e-5
SHAPES = [(D, H), (H,), (H, J), (J,), (H, J), (J,), (J, H), (H,), (H, D), (D,)]  # W, b, W, b, …

def views(vector):  # theta or dtheta (P,) -> its parts; what is written into them is in it
    ends = np.cumsum([math.prod(shape) for shape in SHAPES])
    return [part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), SHAPES)]

def sigmoid(a):
    return 0.5 + 0.5 * np.tanh(0.5 * a)  # 1 / (1 + exp(−a)), without its overflow

def loss_and_gradient(theta, x, eps):  # theta (P,), x (B, D), eps (B, J) of N(0, 1)
    W_e, b_e, W_mu, b_mu, W_log_var, b_log_var, W_d, b_d, W_out, b_out = views(theta)
    h_e = sigmoid(x @ W_e + b_e)                                                     # (B, H)
    mu = h_e @ W_mu + b_mu                                                           # (B, J)
    log_var = h_e @ W_log_var + b_log_var                                            # (B, J)
    var = VAR_FLOOR + np.exp(log_var)                                                # (B, J)
    std = np.sqrt(var)                                                               # (B, J)
    z = mu + std * eps                            # a sample of q(z|x)               # (B, J)
    h_d = sigmoid(z @ W_d + b_d)                                                     # (B, H)
    mean = sigmoid(h_d @ W_out + b_out)                                              # (B, D)
    sse = np.sum((x - mean) ** 2, axis=1)                                            # (B,)
    nll = sse / (2 * DECODER_VAR) + D / 2 * math.log(2 * math.pi * DECODER_VAR)      # (B,)
    kl = 0.5 * np.sum(mu**2 + var - np.log(var) - 1, axis=1)                         # (B,)
    loss = np.mean(nll + kl)                      # −ELBO, nats an image

    # The same lines upside down. dv is ∂loss/∂v, and has the shape of v.
    dtheta = np.empty_like(theta)
    dW_e, db_e, dW_mu, db_mu, dW_log_var, db_log_var, dW_d, db_d, dW_out, db_out = views(dtheta)
    dnll = dkl = 1 / len(x)                       # of np.mean
    dsse = dnll / (2 * DECODER_VAR)
    dmean = dsse * 2 * (mean - x)                                                    # (B, D)
    da = dmean * mean * (1 - mean)                # a, what the sigmoid was given    # (B, D)
    dW_out[...], db_out[...] = h_d.T @ da, np.sum(da, axis=0)
    dh_d = da @ W_out.T                                                              # (B, H)
    da = dh_d * h_d * (1 - h_d)                                                      # (B, H)
    dW_d[...], db_d[...] = z.T @ da, np.sum(da, axis=0)
    dz = da @ W_d.T                                                                  # (B, J)
    dmu = dz + dkl * mu                           # two paths: from z and from kl    # (B, J)
    dvar = dz * eps / (2 * std) + dkl * 0.5 * (1 - 1 / var)       # the same two     # (B, J)
    dlog_var = dvar * np.exp(log_var)                                                # (B, J)
    dW_log_var[...], db_log_var[...] = h_e.T @ dlog_var, np.sum(dlog_var, axis=0)
    dW_mu[...], db_mu[...] = h_e.T @ dmu, np.sum(dmu, axis=0)
    dh_e = dlog_var @ W_log_var.T + dmu @ W_mu.T  # two paths: from the two heads    # (B, H)
    da = dh_e * h_e * (1 - h_e)                                                      # (B, H)
    dW_e[...], db_e[...] = x.T @ da, np.sum(da, axis=0)
    return loss, dtheta

def adam_step(theta, dtheta, m, v, t, lr=1e-3):  # t = 1, 2, …; theta, m, v (P,) change in place
    m += 0.1 * (dtheta - m)
    v += 0.001 * (dtheta**2 - v)
    m_hat = m / (1 - 0.9**t)
    v_hat = v / (1 - 0.999**t)
    theta -= lr * m_hat / (np.sqrt(v_hat) + 1e-8)

def decode(theta, z):  # z (n, J) -> the mean of p(x|z), (n, D)
    *_, W_d, b_d, W_out, b_out = views(theta)
    return sigmoid(sigmoid(z @ W_d + b_d) @ W_out + b_out)

def load(rng, n=10_000):  # images (n, D) in [0, 1]
    if os.environ.get("MINIVAE_DATA"):
        with gzip.open(os.environ["MINIVAE_DATA"] + "/train-images-idx3-ubyte.gz") as file:
            return np.frombuffer(file.read(), np.uint8, n * D, 16).reshape(n, D) / np.float32(255)
    offset = np.indices((28, 28)).reshape(2, 1, D) - rng.uniform(11, 16, (2, n, 1))  # of y and of x
    r = np.hypot(*offset / rng.uniform(4, 10, (2, n, 1)))  # (n, D), 1 on an ellipse
    return np.rint(255 * np.exp(-((3 * (r - 1)) ** 2))).astype(np.float32) / 255

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    images = load(rng)
    theta = np.zeros(sum(math.prod(shape) for shape in SHAPES), np.float32)
    for W in views(theta)[::2]:
        W[...] = rng.uniform(-1, 1, W.shape) * math.sqrt(6 / sum(W.shape))  # Glorot
    m, v, losses = 0 * theta, 0 * theta, []
    for epoch in range(20):
        for x in images[rng.permutation(len(images))].reshape(-1, B, D):
            eps = rng.standard_normal((B, J), dtype=np.float32)
            loss, dtheta = loss_and_gradient(theta, x, eps)
            losses.append(loss)
            adam_step(theta, dtheta, m, v, t=len(losses))
        print(f"epoch {epoch + 1:2}   loss {np.mean(losses[epoch * len(images) // B:]):.1f}")
    samples = decode(theta, rng.standard_normal((48, J), dtype=np.float32))
    rows = np.concatenate([images[:24], samples]).reshape(6, 12, 28, 28)
    plt.imshow(rows.swapaxes(1, 2).reshape(6 * 28, 12 * 28), cmap="gray")
    plt.title("two rows of data, then samples: z ~ N(0, I), decoded")
    plt.axis("off")
    plt.savefig("00_one_page.png", dpi=140, bbox_inches="tight")
