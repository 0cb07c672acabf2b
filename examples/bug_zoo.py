"""The bug zoo: mistakes that shipped in public VAE code, and which check sees each of them.

    python examples/bug_zoo.py

Each bug is one or two lines of minivae, exchanged for wrong ones while the checks run. What a
gradient check cannot see is a mistake that forward and backward share: the gradient is right, of
the wrong function. For those there are values known another way, the moments of the samples, the
dtypes, and a model whose log p(x) is known exactly.
"""

import contextlib
import inspect
import math
import sys
import textwrap
import types
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from minivae import VAE, Adam, VAEConfig
from minivae import distributions as dist
from minivae.gradcheck import check_model, check_pair
from minivae.layers import relu_backward, sigmoid_backward, softmax_backward
from minivae.likelihood import neg_elbo
from minivae.linear_gaussian import LinearGaussian
from minivae.mlp import Linear
from minivae.pairs import PAIRS
from minivae.training import costs, terms

# %% The bugs: {name: [(function, its right text, the wrong one), …]}
BUGS = {
    "two noise draws, one forward, another backward": [
        (dist.reparameterize_backward, "dz * eps", "dz * np.random.default_rng(9).permuted(eps)")
    ],
    "exp(log σ²) as σ, forward and backward": [
        (dist.reparameterize_forward, "np.sqrt(var)", "var"),
        (dist.reparameterize_backward, "eps / (2 * std)", "eps"),
    ],
    "KL without its logarithm": [
        (dist.gaussian_kl_forward, "((var - 1) - np.log(var))", "(var - 1)"),
        (dist.gaussian_kl_backward, "(1 - 1 / var)", "np.ones_like(var)"),
    ],
    "mean over pixels, sum over latents": [
        (dist.squared_error_forward, "error, error)", "error, error) / x.shape[1]"),
        (dist.squared_error_backward, "mu - x", "(mu - x) / x.shape[1]"),
    ],
    "a lost ½ in the KL": [
        (dist.gaussian_kl_forward, "0.5 * np.sum", "np.sum"),
        (dist.gaussian_kl_backward, "dkl.reshape(-1, 1)", "2 * dkl.reshape(-1, 1)"),
    ],
    "a lost 1/B": [
        (VAE.forward, "return np.mean(cost)", "return np.sum(cost)"),
        (VAE.backward, "1 / len(acts.nll)", "1"),
    ],
    "a lost 1/B, backward only": [(VAE.backward, "1 / len(acts.nll)", "1")],
    # var = var_floor + exp(log_var), and its slope is exp(log_var): less than var by the floor.
    "the floor's slope: var in place of exp(log_var)": [
        (VAE.backward, "ops.variance_backward(dvar, acts.log_var)", "dvar * acts.var")
    ],
    "the sigmoid's factor forgotten": [(sigmoid_backward, "da *= h", "da = np.ones_like(h)")],
    "the sigmoid's factor on a linear head": [
        (VAE.backward, "dmu_z + dmu_kl", "(dmu_z + dmu_kl) * acts.mu * (1 - acts.mu)")
    ],
    "softmax: the diagonal of the Jacobian only": [
        (softmax_backward, "probs * (dprobs - expected)", "probs * (1 - probs) * dprobs")
    ],
    "ReLU: the mask of the gradient, not of the value": [
        (relu_backward, "h.real > 0", "dh.real > 0")
    ],
    "Adam without the power t": [
        (Adam.step, "self.beta2**self.t", "self.beta2"),
    ],
    "Adam with a moment for each slot of the batch": [
        # As where gradients keep the shape (B, …) and the moments with them: one then follows one
        # place of the batch. Here G has two slots, and the steps take turns.
        (Adam.step, "self.t += 1", "self.t += 1; self.G[:], self.G0 = self.G0, self.G.copy()"),
        (Adam.__init__, "self.t = 0", "self.t = 0; self.G0 = np.zeros_like(theta)"),
    ],
    "the upstream gradient mutated": [
        (dist.isotropic_nll_backward, "return dnll / (2 * var)", "dnll /= 2 * var; return dnll")
    ],
    "log(p + 1e-8) in place of logits": [
        (
            dist.bernoulli_nll_forward,
            "np.sum(nll, axis=1)",
            "-np.sum(x * np.log(1 / (1 + np.exp(-logits)) + 1e-8)"
            " + (1 - x) * np.log(1 / (1 + np.exp(logits)) + 1e-8), axis=1)",
        ),
        (
            dist.bernoulli_nll_backward,
            "(probs - x)",
            "(((1 - x) / (1 - probs + 1e-8) - x / (probs + 1e-8)) * probs * (1 - probs))",
        ),
    ],
    "an update inside backward": [
        (
            Linear.backward,
            "return linear_backward(da, x, params[self.W], grads[self.W], grads[self.b])",
            "linear_backward(da, x, params[self.W], grads[self.W], grads[self.b])\n"
            "    params[self.W] -= 1e-3 * grads[self.W]; return da @ params[self.W].T",
        )
    ],
    "float64 creeping into a float32 step": [
        (dist.variance_forward, "return var_floor", "return np.float64(var_floor)")
    ],
    "noise of scale 0.01": [
        (dist.reparameterize_forward, "std * eps", "std * (0.01 * eps)"),
        (dist.reparameterize_backward, "dz * eps", "dz * (0.01 * eps)"),
    ],
    "the ELBO evaluated at the mean z": [(costs, "noise[rows]", "0 * noise[rows]")],
    # nll + KL of a model with classes: the class probabilities that reach the decoder are not paid.
    "the side channel reported as an ELBO": [
        (neg_elbo, "K = vae.config.num_classes", "K = 0"),
    ],
}


@contextlib.contextmanager
def planted(changes):
    """The functions run with the wrong text. Each stays the same object and gets other code, so
    that the tables and modules that hold it run the wrong text too.
    """
    originals = [(function, function.__code__) for function, _, _ in changes]
    try:
        for function, right, wrong in changes:
            source = textwrap.dedent(inspect.getsource(function))
            if source.count(right) != 1:
                raise LookupError(f"{function.__qualname__} does not have {right!r} once")
            module = compile(source.replace(right, wrong), "a bug", "exec")
            [code] = [part for part in module.co_consts if isinstance(part, types.CodeType)]
            function.__code__ = code
        yield
    finally:
        for function, code in originals:
            function.__code__ = code


# %% The checks: each says whether all is well
SMALL = {"data_dim": 6, "latent_dim": 2, "encoder_layers": (5,), "decoder_layers": (4,)}
MODELS = [
    VAEConfig(num_classes=3, classifier_layers=(4,), **SMALL),
    VAEConfig(num_classes=0, likelihood="gaussian_learned", activation="relu", **SMALL),
    VAEConfig(num_classes=0, likelihood="bernoulli", activation="tanh", **SMALL),
]


def gradients():
    """Every pair and every parameter of three models, by the complex step."""
    rng = np.random.default_rng(0)
    try:
        for example in PAIRS.values():
            inputs = example.inputs(rng, 5, 4)
            if not check_pair(example.forward, example.backward, inputs).passed:
                return False
    except ValueError:  # the read-only operands of a backward
        return False
    x, labels = rng.random((4, 6)), np.array([0, 1, 2, 0])
    return all(
        check_model(VAE(config), x, labels if config.num_classes else None, entries=None).passed
        for config in MODELS
    )


def values():
    """Numbers known another way: of the pairs, of the loss of a batch, of Adam."""
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
    z = dist.reparameterize_forward(mu, var, np.random.default_rng(0).standard_normal((n, 2)))
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
    for name, changes in {"no bug": [], **BUGS}.items():
        seen = caught(changes)
        print(f"{name:48} " + " ".join(f"{'CAUGHT' if x else '.':>11}" for x in seen.values()))
        wrong += [name] if any(seen.values()) != bool(changes) else []
        passed += bool(changes) and not seen["gradient"]
    print(f"{len(BUGS)} bugs, of which {passed} pass the gradient check")
    if wrong:
        sys.exit(f"not as it should be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
