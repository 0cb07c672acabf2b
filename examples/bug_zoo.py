"""The bug zoo: mistakes that shipped in public VAE code, and which check sees each of them.

    python examples/bug_zoo.py

Each bug is one or two wrong functions, which take the place of the right ones while the checks
run. A gradient check cannot see a mistake that forward and backward share: the gradient is right,
but it is the gradient of the wrong function. Other checks find those mistakes: values that are
known another way, the moments of the samples, the dtypes, and a model whose log p(x) is known.
"""

import contextlib
import math
import sys
from dataclasses import replace
from statistics import NormalDist
from unittest import mock

import numpy as np

from minivae import VAE, Adam, VAEConfig
from minivae.config import stream
from minivae.devices import ops
from minivae.evidence.linear_gaussian import LinearGaussian
from minivae.gradcheck import check_model, check_pair
from minivae.gradcheck.pairs import PAIRS
from minivae.training import terms

right = ops.pick("cpu", "float64")


# %% The wrong functions
def reparameterize_backward_with_other_noise(dz, var, eps):
    return right.reparameterize_backward(dz, var, np.random.default_rng(9).permuted(eps))


def reparameterize_forward_with_variance(mu, var, eps):
    return mu + var * eps


def reparameterize_backward_with_variance(dz, var, eps):
    return dz, dz * eps


def gaussian_kl_forward_without_log(mu, var):
    return 0.5 * np.sum(mu * mu + var - 1, axis=1)


def gaussian_kl_backward_without_log(dkl, mu, var):
    dkl = dkl.reshape(-1, 1)
    return dkl * mu, dkl * 0.5 * np.ones_like(var)


def squared_error_forward_mean(x, mean):
    return np.mean((x - mean) * (x - mean), axis=1)


def squared_error_backward_mean(dsse, x, mean):
    return right.squared_error_backward(dsse, x, mean) / x.shape[1]


def gaussian_kl_forward_without_half(mu, var):
    return 2 * right.gaussian_kl_forward(mu, var)


def gaussian_kl_backward_without_half(dkl, mu, var):
    return right.gaussian_kl_backward(2 * dkl, mu, var)


def batch_sum_forward(cost):
    return np.sum(cost)


def batch_sum_backward(dloss, cost):
    return np.full_like(cost, dloss)


def variance_backward_with_floor(dvar, log_var):
    return dvar * right.variance_forward(log_var, 1e-5)  # exp(log_var) is var without the floor


def sigmoid_backward_without_factor(dh, h):
    return dh * (1 - h)


def identity_backward_with_factor(dh, h):
    return dh * h * (1 - h)


def softmax_backward_diagonal(dprobs, probs):
    return probs * (1 - probs) * dprobs


def relu_backward_with_wrong_mask(dh, h):
    return np.where(dh.real > 0, dh, 0)


def adam_update_without_power(theta, dtheta, m, v, t, lr, beta1, beta2, eps):
    m[:] = beta1 * m + (1 - beta1) * dtheta
    v[:] = beta2 * v + (1 - beta2) * dtheta**2
    theta -= lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2)) + eps)


def adam_update_by_slot(theta, dtheta, m, v, t, lr, beta1, beta2, eps, slots={}):  # noqa: B006
    """As where gradients keep the shape (B, …), and the moments with them: one moment then follows
    one place of the batch. Here m has two slots, and the steps take turns."""
    slot = slots.setdefault((id(m), t % 2), np.zeros_like(m))
    m[:] = slot
    right.adam_update(theta, dtheta, m, v, t, lr, beta1, beta2, eps)
    slot[:] = m


def isotropic_nll_backward_in_place(dnll, var):
    dnll /= 2 * var
    return dnll


def bernoulli_nll_forward_with_epsilon(x, logits):
    p = 1 / (1 + np.exp(-logits))
    return -np.sum(x * np.log(p + 1e-8) + (1 - x) * np.log(1 - p + 1e-8), axis=1)


def bernoulli_nll_backward_with_epsilon(dnll, x, probs):
    dprobs = (1 - x) / (1 - probs + 1e-8) - x / (probs + 1e-8)
    return dnll.reshape(-1, 1) * dprobs * probs * (1 - probs)


def linear_backward_with_update(da, x, W, dW, db):
    right.linear_backward(da, x, W, dW, db)
    W -= 1e-3 * dW
    return da @ W.T


def variance_forward_float64(log_var, var_floor):
    return np.float64(var_floor) + np.exp(log_var)


def reparameterize_forward_small(mu, var, eps):
    return right.reparameterize_forward(mu, var, 0.01 * eps)


def reparameterize_backward_small(dz, var, eps):
    return right.reparameterize_backward(dz, var, 0.01 * eps)


def no_noise(seed, name):
    """A stream of zeros, in the place of the noise of an evaluation."""
    zeros = mock.Mock()
    zeros.standard_normal = lambda shape, dtype: np.zeros(shape, dtype)
    return zeros if name == "evaluation" else stream(seed, name)


def neg_elbo_without_class(vae, acts):
    return acts.nll + acts.kl


# %% The bugs: {name: {function that is called through ops, or a name in a module: the wrong one}}
BUGS = {
    "two noise draws, one forward, another backward": {
        "reparameterize_backward": reparameterize_backward_with_other_noise,
    },
    "exp(log σ²) as σ, forward and backward": {
        "reparameterize_forward": reparameterize_forward_with_variance,
        "reparameterize_backward": reparameterize_backward_with_variance,
    },
    "KL without its logarithm": {
        "gaussian_kl_forward": gaussian_kl_forward_without_log,
        "gaussian_kl_backward": gaussian_kl_backward_without_log,
    },
    "mean over pixels, sum over latents": {
        "squared_error_forward": squared_error_forward_mean,
        "squared_error_backward": squared_error_backward_mean,
    },
    "a lost ½ in the KL": {
        "gaussian_kl_forward": gaussian_kl_forward_without_half,
        "gaussian_kl_backward": gaussian_kl_backward_without_half,
    },
    "a lost 1/B": {
        "batch_mean_forward": batch_sum_forward,
        "batch_mean_backward": batch_sum_backward,
    },
    "a lost 1/B, backward only": {"batch_mean_backward": batch_sum_backward},
    "the floor's slope: var instead of exp(log_var)": {
        "variance_backward": variance_backward_with_floor,
    },
    "the sigmoid's factor forgotten": {"sigmoid_backward": sigmoid_backward_without_factor},
    "the sigmoid's factor on a linear head": {"identity_backward": identity_backward_with_factor},
    "softmax: the diagonal of the Jacobian only": {"softmax_backward": softmax_backward_diagonal},
    "ReLU: the mask of the gradient, not of the value": {
        "relu_backward": relu_backward_with_wrong_mask,
    },
    "Adam without the power t": {"adam_update": adam_update_without_power},
    "Adam with a moment for each slot of the batch": {"adam_update": adam_update_by_slot},
    "the upstream gradient mutated": {"isotropic_nll_backward": isotropic_nll_backward_in_place},
    "log(p + 1e-8) instead of logits": {
        "bernoulli_nll_forward": bernoulli_nll_forward_with_epsilon,
        "bernoulli_nll_backward": bernoulli_nll_backward_with_epsilon,
    },
    "an update inside backward": {"linear_backward": linear_backward_with_update},
    "float64 creeping into a float32 step": {"variance_forward": variance_forward_float64},
    "noise of scale 0.01": {
        "reparameterize_forward": reparameterize_forward_small,
        "reparameterize_backward": reparameterize_backward_small,
    },
    "the ELBO evaluated at the mean z": {"minivae.training.stream": no_noise},
    # nll + KL of a model with classes does not count the probabilities that the decoder reads.
    "the side channel reported as an ELBO": {"minivae.training.neg_elbo": neg_elbo_without_class},
}


@contextlib.contextmanager
def planted(wrong):
    """While this lasts, every new model and optimiser uses the wrong functions."""
    functions = {name: function for name, function in wrong.items() if "." not in name}
    with contextlib.ExitStack() as stack:
        stack.enter_context(ops.replaced(**functions))
        for name in wrong.keys() - functions:
            stack.enter_context(mock.patch(name, wrong[name]))
        yield


# %% The checks: each says whether all is well
SMALL = {"data_dim": 6, "latent_dim": 2, "encoder_layers": (5,), "decoder_layers": (4,)}
MODELS = [
    VAEConfig(num_classes=3, classifier_layers=(4,), **SMALL),
    VAEConfig(num_classes=0, likelihood="gaussian_learned", activation="relu", **SMALL),
    VAEConfig(num_classes=0, likelihood="bernoulli", activation="tanh", **SMALL),
    VAEConfig(num_classes=0, decoder_output="identity", activation="leaky_relu", **SMALL),
]


def gradients():
    """Every pair and every parameter of four models, by the complex step."""
    rng = np.random.default_rng(0)
    try:
        for example in PAIRS.values():
            inputs = example.inputs(rng, 5, 4)
            if not check_pair(example.forward, example.backward, inputs).passed:
                return False
    except ValueError:  # a backward changed an array that it was given, and these are read-only
        return False
    x, labels = rng.random((4, 6)), np.array([0, 1, 2, 0])
    return all(
        check_model(VAE(config), x, labels if config.num_classes else None, entries=None).passed
        for config in MODELS
    )


def values():
    """Numbers that are known another way: of the pairs, of the loss of a batch, of Adam."""
    dist = ops.pick("cpu", "float64")
    x, mu, std, eps = 0.8, -0.4, 0.3, 1.7
    var, normal = np.array([[std**2]]), NormalDist(mu, std)
    nll = -math.log(normal.pdf(x))
    X, M = np.array([[x]]), np.array([[mu]])
    sse = dist.squared_error_forward(np.array([[x, 1.0]]), np.array([[mu, 3.0]]))
    z = np.linspace(mu - 12 * std, mu + 12 * std, 10_001)
    q, log_q = np.array([normal.pdf(t) for t in z]), -(((z - mu) / std) ** 2) / 2 - math.log(std)
    known = [
        (dist.reparameterize_forward(M, var, np.array([[eps]])), mu + std * eps),
        (dist.gaussian_kl_forward(M, var), np.sum(q * (log_q + z**2 / 2)) * (z[1] - z[0])),
        (sse, (x - mu) ** 2 + 4),
        (dist.isotropic_nll_forward((x - mu) ** 2, std**2, 1), nll),
        (dist.gaussian_nll_forward(X, M, var), nll),
        # log(1 + exp(40)) − 40 = exp(−40), and all 40 nats of a pixel that is surely wrong
        (dist.bernoulli_nll_forward(np.array([[1.0, 0.0]]), np.array([[40.0, 40.0]])), 40.0),
    ]
    vae = VAE(MODELS[0], dtype="float64")
    rng = np.random.default_rng(0)
    batch, noise, labels = rng.random((3, 6)), rng.standard_normal((3, 2)), np.array([0, 1, 2])
    alone = [vae.forward(batch[[i]], noise[[i]], labels[[i]])[0] for i in range(3)]
    known.append((vae.forward(batch, noise, labels)[0], np.mean(alone)))

    theta, m, v = np.array([0.5]), 0.0, 0.0
    adam, expected = Adam(theta, lr=0.1), 0.5
    for t, g in enumerate([1.0, -2.0, 0.5], start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        adam.step(theta, np.array([g]))
    known.append((theta, expected))
    return all(np.allclose(found, right, rtol=1e-9) for found, right in known)


def moments():
    """The mean and the variance of 100,000 samples of z, within five standard errors."""
    n, mu, var = 100_000, np.array([[1.0, -2.0]]), np.array([[0.04, 4.0]])
    reparameterize = ops.pick("cpu", "float64").reparameterize_forward
    z = reparameterize(mu, var, np.random.default_rng(0).standard_normal((n, 2)))
    mean_error = np.abs(z.mean(axis=0) - mu) / np.sqrt(var / n)
    var_error = np.abs(z.var(axis=0) - var) / (var * math.sqrt(2 / n))
    return bool(np.all(mean_error < 5) and np.all(var_error < 5))


def dtypes():
    """Every value of a float32 step is float32."""
    vae = VAE(MODELS[0])
    rng = np.random.default_rng(0)
    loss, acts = vae.forward(
        rng.random((3, 6), np.float32), rng.standard_normal((3, 2), np.float32), np.array([0, 1, 2])
    )
    vae.backward(acts)
    Adam(vae.theta).step(vae.theta, vae.dtheta)
    found = [loss, vae.theta, vae.dtheta]
    for value in vars(acts).values():
        found += value if isinstance(value, list) else [value]
    return {value.dtype for value in found if hasattr(value, "dtype")} == {np.dtype("float32")}


def exact_model():
    """A linear model whose q is the posterior: the mean of −ELBO is −log p(x), within five
    standard errors. Once plain; once with three classes, whose q(class|x) is exact too.
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    W, b, var, n = 1.5 * axes[:2], rng.standard_normal(8), 0.25, 4000
    plain = LinearGaussian(W, b, var)
    x = rng.standard_normal((n, 2)) @ W + b + math.sqrt(var) * rng.standard_normal((n, 8))
    exact = plain.to_vae()
    if not unbiased(terms(exact, x, None)["neg_elbo"] + plain.log_p(x)):
        return False

    offsets = 1.5 * axes[2:5]  # of the classes, at right angles to W and to each other
    labels = rng.integers(3, size=n)
    x = x + offsets[labels]
    config = replace(exact.config, num_classes=3, classifier_layers=())
    vae = VAE(config, dtype="float64")
    params = vae.parameters()
    for name, value in exact.parameters().items():
        if name != "decoder.out.W":
            params[name][...] = value
    params["decoder.out.W"][...] = np.concatenate([W, offsets])
    params["classifier.out.W"][...] = offsets.T / var
    params["classifier.out.b"][...] = -b @ offsets.T / var
    each = [LinearGaussian(W, b + offset, var).log_p(x) for offset in offsets]
    log_p = np.logaddexp.reduce(each) - math.log(3)
    return unbiased(terms(vae, x, labels)["neg_elbo"] + log_p)


def unbiased(differences):
    standard_error = np.std(differences) / math.sqrt(len(differences))
    return bool(abs(np.mean(differences)) <= 5 * standard_error + 1e-9)


CHECKS = {
    "gradient": gradients,
    "values": values,
    "moments": moments,
    "dtypes": dtypes,
    "exact model": exact_model,
}


# %% The matrix
def caught(changes):
    """{check: does it see the bug}"""
    with planted(changes):
        return {name: not check() for name, check in CHECKS.items()}


def main():
    print(f"{'':48} " + " ".join(f"{name:>11}" for name in CHECKS))
    wrong, passed = [], 0
    for name, changes in {"no bug": {}, **BUGS}.items():
        seen = caught(changes)
        print(f"{name:48} " + " ".join(f"{'CAUGHT' if x else '.':>11}" for x in seen.values()))
        wrong += [name] if any(seen.values()) != bool(changes) else []
        passed += bool(changes) and not seen["gradient"]
    print(f"{len(BUGS)} bugs, of which {passed} pass the gradient check")
    if wrong:
        sys.exit(f"not as it should be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
