"""The variational autoencoder: forward, and the same lines upside down."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import backend, kernels
from .config import VAEConfig, integer
from .datasets import as_images, as_rows, one_hot
from .errors import ConfigError
from .mlp import MLP, Linear
from .parameters import glorot_uniform, views


@dataclass
class Activations:
    """The values of one forward pass. A list h is a network's input, then its hidden layers.

    x (B, D); eps, mu, log_var, var, z (B, J); y, logits, probs (B, K); the outputs of the decoder's
    heads, and the mean and variance of p(x|z), (B, D), a fixed variance one number; nll, sse, kl,
    ce (B,). None is what this model, or this pass, does not have.
    """

    x: Any
    eps: Any
    y: Any = None
    encoder_h: list = field(default_factory=list)
    mu: Any = None
    log_var: Any = None
    var: Any = None
    kl: Any = None
    z: Any = None
    classifier_h: list = field(default_factory=list)
    logits: Any = None
    probs: Any = None
    ce: Any = None
    decoder_h: list = field(default_factory=list)
    heads: list = field(default_factory=list)
    mean: Any = None
    decoder_var: Any = None
    sse: Any = None
    nll: Any = None


class VAE:
    """Encoder, classifier and decoder, each a network with linear heads on its last layer.

    theta (P,) and dtheta (P,) hold all P parameters and their gradients. ops are the functions of
    layers.py and distributions.py by name, on a GPU with the twins of kernels.py.
    """

    def __init__(self, config=None, seed=0, dtype="float32", device="cpu"):
        """Glorot weights drawn from the seed. complex128 is for complex-step checks.

        device: "cpu", "gpu", or "auto", the GPU where there is one; self.device tells. A model on
        the GPU takes arrays of NumPy, which it uploads, or of CuPy, and gives CuPy's.
        """
        if dtype not in map(np.dtype, ("float32", "float64", "complex128")):
            raise ConfigError(f"dtype={dtype!r}: float32, float64 or complex128")
        self.config = VAEConfig() if config is None else config
        if not isinstance(self.config, VAEConfig):
            raise ConfigError(f"config={config!r}: a VAEConfig")
        self.dtype = np.dtype(dtype)
        self.device = backend.find(device)
        shapes = self.make_networks()
        theta = glorot_uniform(shapes, integer("seed", seed, 0)).astype(self.dtype)
        self.theta = backend.put(theta, self.device)
        self.dtheta = np.zeros_like(self.theta)
        self._parameters = views(self.theta, shapes)
        self._gradients = views(self.dtheta, shapes)

    def make_networks(self):
        """The networks of the config, without weights -> {name: shape} of these."""
        config = self.config
        D, J, K = config.data_dim, config.latent_dim, config.num_classes
        self.ops = kernels.functions(self.device, self.dtype)
        activation = self.ops.ACTIVATION_PAIRS[config.activation]
        self.likelihood = self.ops.LIKELIHOODS[config.likelihood](config, self.ops)

        self.encoder = MLP("encoder", (D, *config.encoder_layers), activation)
        self.mu_head = Linear("encoder.mu", self.encoder.width, J)
        self.log_var_head = Linear("encoder.log_var", self.encoder.width, J)
        networks: list[Linear | MLP] = [self.encoder, self.mu_head, self.log_var_head]
        self.classifier: MLP | None = None
        if K:
            self.classifier = MLP("classifier", (D, *config.classifier_layers), activation)
            self.logits_head = Linear("classifier.out", self.classifier.width, K)
            networks += [self.classifier, self.logits_head]
        self.decoder = MLP("decoder", (J + K, *config.decoder_layers), activation)
        self.decoder_heads = [
            Linear(f"decoder.{head}", self.decoder.width, D) for head in self.likelihood.heads
        ]
        networks += [self.decoder, *self.decoder_heads]

        return {name: shape for part in networks for name, shape in part.shapes.items()}

    def forward(self, x, eps, labels=None):
        """(E16)  loss = 1/B Σ_i (nll_i + β kl_i + w ce_i),  β = beta, w = classifier_weight

        x (B, D), in uint8 from 0 to 255; eps (B, J), noise of N(0, 1); labels (B,) integers, (B, K)
        one-hot rows, or None: then ce is left out. Returns the loss, nats, and all values on the
        way.
        Source: Kingma, Welling 2014, equation 10; β: Higgins et al. 2017; classifier: Zeldes 2018.
        """
        config, params, ops = self.config, self._parameters, self.ops
        x = as_images("x", x, (None, config.data_dim), self.dtype, self.device)
        eps = as_rows("eps", eps, (len(x), config.latent_dim), self.dtype, self.device)
        acts = Activations(x, eps)

        acts.encoder_h = self.encoder.forward(x, params)
        acts.mu = self.mu_head.forward(acts.encoder_h[-1], params)
        acts.log_var = self.log_var_head.forward(acts.encoder_h[-1], params)
        acts.var = ops.variance_forward(acts.log_var, config.var_floor)
        acts.kl = ops.gaussian_kl_forward(acts.mu, acts.var)
        acts.z = ops.reparameterize_forward(acts.mu, acts.var, eps)
        cost = config.beta * acts.kl
        code = acts.z

        if self.classifier:
            acts.classifier_h = self.classifier.forward(x, params)
            acts.logits = self.logits_head.forward(acts.classifier_h[-1], params)
            acts.probs = ops.softmax_forward(acts.logits)
            acts.y = one_hot(labels, (len(x), config.num_classes), self.dtype, self.device)
            ce = ops.categorical_nll_forward(acts.logits, acts.y)
            acts.ce = None if labels is None else ce  # without labels a row of y, and ce, is 0
            cost = cost + config.classifier_weight * ce
            code = np.concatenate([acts.z, acts.probs], axis=1)

        acts.decoder_h = self.decoder.forward(code, params)
        acts.heads = [head.forward(acts.decoder_h[-1], params) for head in self.decoder_heads]
        acts.mean, acts.decoder_var, acts.sse, acts.nll = self.likelihood.forward(x, *acts.heads)
        cost = cost + acts.nll
        return np.mean(cost), acts

    def backward(self, acts):
        """Fill dtheta = ∂loss/∂θ, through its views, from the values of one forward pass.

        The lines of forward upside down. With label_gradient=False the decoder's probs count as
        constants: one path is left out, and dtheta is no longer the whole ∂loss/∂θ.
        """
        config, params, grads, ops = self.config, self._parameters, self._gradients, self.ops
        # Of np.mean: the only 1/B. Each term of cost then gets dcost times its weight.
        dcost = np.full_like(acts.nll, 1 / len(acts.nll))

        dnll = dcost
        dheads = self.likelihood.backward(dnll, acts.x, acts.mean, acts.decoder_var, *acts.heads)
        # As many paths to the decoder's last h as it has heads: they add.
        dh = 0
        for head, dhead in zip(self.decoder_heads, dheads):
            dh = dh + head.backward(dhead, acts.decoder_h[-1], params, grads)
        dcode = self.decoder.backward(dh, acts.decoder_h, params, grads)

        dz = dcode  # where code is z alone; else the split below
        if self.classifier:
            dz, dprobs = np.split(dcode, [config.latent_dim], axis=1)
            dce = config.classifier_weight * dcost
            # Two paths to the logits: from ce, and from code, which label_gradient=False cuts.
            dlogits_ce = ops.categorical_nll_backward(dce, acts.probs, acts.y)
            dlogits_code = config.label_gradient * ops.softmax_backward(dprobs, acts.probs)
            dlogits = dlogits_ce + dlogits_code
            dh = self.logits_head.backward(dlogits, acts.classifier_h[-1], params, grads)
            self.classifier.backward(dh, acts.classifier_h, params, grads, input_gradient=False)

        dkl = config.beta * dcost
        # Two paths to mu and var: from the sample and from the KL.
        dmu_z, dvar_z = ops.reparameterize_backward(dz, acts.var, acts.eps)
        dmu_kl, dvar_kl = ops.gaussian_kl_backward(dkl, acts.mu, acts.var)
        dmu = dmu_z + dmu_kl
        dvar = dvar_z + dvar_kl
        dlog_var = ops.variance_backward(dvar, acts.log_var)
        # Two paths to the encoder's last h, from its two heads: dh_mu is the one through mu.
        dh_log_var = self.log_var_head.backward(dlog_var, acts.encoder_h[-1], params, grads)
        dh_mu = self.mu_head.backward(dmu, acts.encoder_h[-1], params, grads)
        dh = dh_log_var + dh_mu
        self.encoder.backward(dh, acts.encoder_h, params, grads, input_gradient=False)

    def parameters(self):
        """{"encoder.0.W": view of theta, …}."""
        return dict(self._parameters)

    def gradients(self):
        """{"encoder.0.W": view of dtheta, …}: the same names, the same order."""
        return dict(self._gradients)

    def astype(self, dtype):
        """A copy with the same weights in another dtype."""
        copy = type(self)(self.config, dtype=dtype, device=self.device)
        copy.theta[...] = self.theta
        return copy

    def to(self, device):
        """A copy with the same weights on another device."""
        copy = type(self)(self.config, dtype=self.dtype, device=device)
        copy.theta[...] = backend.put(backend.get(self.theta), copy.device)
        return copy

    def __deepcopy__(self, memo):
        return self.to(self.device)  # its parameters are views of its own theta

    def encode(self, x):
        """x (n, D) -> mu, var (n, J): q(z|x) = N(mu, var)."""
        x = as_images("x", x, (None, self.config.data_dim), self.dtype, self.device)
        h = self.encoder.forward(x, self._parameters)[-1]
        mu = self.mu_head.forward(h, self._parameters)
        log_var = self.log_var_head.forward(h, self._parameters)
        return mu, self.ops.variance_forward(log_var, self.config.var_floor)

    def classify(self, x):
        """x (n, D) -> probs (n, K), of a model with classes."""
        if not self.classifier:
            raise ConfigError("num_classes=0: this model has no classifier")
        x = as_images("x", x, (None, self.config.data_dim), self.dtype, self.device)
        h = self.classifier.forward(x, self._parameters)[-1]
        return self.ops.softmax_forward(self.logits_head.forward(h, self._parameters))

    def decode(self, z, probs=None):
        """z (n, J), probs (n, K) where there are classes -> the mean of p(x|z), (n, D)."""
        return self.likelihood.output.forward(self._heads(z, probs)[0])

    def nll(self, x, z, probs=None):
        """x (n, D), z (n, J), probs (n, K) where there are classes -> −log p(x|z), (n,), nats."""
        heads = self._heads(z, probs)
        x = as_images("x", x, (len(z), self.config.data_dim), self.dtype, self.device)
        return self.likelihood.forward(x, *heads)[-1]

    def sample(self, n, digit=None, seed=0):
        """z ~ N(0, I), decoded -> (n, D), all of one digit, or of each class in its turn."""
        J, K = self.config.latent_dim, self.config.num_classes
        n, seed = integer("n", n, 1), integer("seed", seed, 0)
        z = np.random.default_rng(seed).standard_normal((n, J), dtype=np.float32)
        if digit is None and not K:
            return self.decode(z)
        # One-hot, where training had soft probabilities: docs/slips.md measures the difference.
        labels = np.arange(n) % K if digit is None else np.full(n, digit)
        return self.decode(z, one_hot(labels, (n, K), self.dtype, self.device))

    def reconstruct(self, x):
        """x (n, D) -> (n, D), decoded from z = mu and the predicted probabilities."""
        mu, _ = self.encode(x)
        return self.decode(mu, self.classify(x) if self.classifier else None)

    def _heads(self, z, probs):
        code = as_rows("z", z, (None, self.config.latent_dim), self.dtype, self.device)
        if self.classifier:
            shape = len(z), self.config.num_classes
            probs = as_rows("probs", probs, shape, self.dtype, self.device)
            code = np.concatenate([code, probs], axis=1)
        h = self.decoder.forward(code, self._parameters)[-1]
        return [head.forward(h, self._parameters) for head in self.decoder_heads]
