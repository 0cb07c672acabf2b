"""The variational autoencoder: forward, and backward, which answers its lines in reverse order."""

import copy
import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from .checks import as_images, as_rows, integer, number, one_hot
from .config import VAEConfig
from .devices.ops import pick
from .distributions import BOUNDS, LIKELIHOODS
from .errors import ConfigError
from .networks import Activation, Linear, Network, dense, size, views


class Activations(SimpleNamespace):
    """The values of one forward pass, in the order in which they are computed.

    x, mean (B, D); eps, mu, log_var, var, z (B, J); logits, probs, decoder_probs, y (B, K); code
    (B, J + K); decoder_var (B, D), or one number if it is fixed; heads, a list of arrays (B, D);
    kl, ce, nll, cost (B,), nats; sse (B,). encoder, classifier and decoder are lists: the network's
    input, then the output of each of its layers; encoder_h, classifier_h and decoder_h are the last
    of them.
    """

    # Without a classifier; ce also without labels.
    classifier_h = logits = probs = decoder_probs = y = ce = cast(Any, None)

    def arrays(self):
        """{name: array}: each field, and, as "encoder[1]", the other entries of the lists."""
        fields = vars(self)
        known = {id(value) for value in fields.values()}
        named: dict[str, Any] = {}
        for name, value in fields.items():
            if isinstance(value, list):
                named |= {f"{name}[{i}]": x for i, x in enumerate(value) if id(x) not in known}
            elif hasattr(value, "shape"):
                named[name] = value
        return named


class Networks:
    """The networks that a config describes, without their parameters."""

    def __init__(self, config, ops):
        D, J, K = config.data_dim, config.latent_dim, config.num_classes
        act = config.activation
        self.likelihood = LIKELIHOODS[config.likelihood](config, ops)
        self.bound = BOUNDS[config.bound](config, ops)

        widths = (D, *config.encoder_layers)
        self.encoder = dense("encoder", widths, act, ops, input_gradient=False)
        self.mu_head = Linear("encoder.mu", widths[-1], J, ops)
        self.log_var_head = Linear("encoder.log_var", widths[-1], J, ops)
        self.parts: list[Linear | Network] = [self.encoder, self.mu_head, self.log_var_head]

        self.classifier: Network | None = None
        if K:
            widths = (D, *config.classifier_layers)
            self.classifier = dense("classifier", widths, act, ops, input_gradient=False)
            self.logits_head = Linear("classifier.out", widths[-1], K, ops)
            # The probabilities pass through this layer to the decoder.
            kind = "identity" if config.label_gradient else "stop_gradient"
            self.probs_path = Activation("", K, ops, kind)
            self.parts += [self.classifier, self.logits_head]

        widths = (J + K, *config.decoder_layers)
        self.decoder = dense("decoder", widths, act, ops)
        names = [f"decoder.{head}" for head in self.likelihood.heads]
        self.decoder_heads = [Linear(name, widths[-1], D, ops) for name in names]
        self.parts += [self.decoder, *self.decoder_heads]

    @property
    def shapes(self):
        """{name: shape} of all parameters, in their order in theta."""
        return {name: shape for part in self.parts for name, shape in part.shapes.items()}


def shapes(config):
    """{name: shape} of all parameters of such a model. Nothing is drawn or allocated."""
    return Networks(config, pick()).shapes


class VAE(Networks):
    """Encoder, classifier and decoder, each a network with linear heads on its last layer.

    theta (P,) and dtheta (P,) hold all P parameters and their gradients. self.ops holds the
    functions of layers.py and distributions.py, or faster ones with the same names; ops.put moves
    an array to the model's device, ops.get moves it back, and on the CPU both return it unchanged.
    """

    def __init__(self, config=None, seed=0, dtype="float32", device="cpu"):
        """Draw the initial weights from the seed. dtype: "float32", "float64", or "complex128" for
        complex-step checks.

        device: "cpu", "gpu", or "auto", which is the GPU if there is one; self.device tells which.
        A model on the GPU accepts NumPy arrays, which it uploads, and CuPy arrays, and returns
        CuPy arrays. Raises ConfigError and DeviceError.
        """
        seed = integer("seed", seed, 0)
        self.config = VAEConfig() if config is None else config
        if not isinstance(self.config, VAEConfig):
            raise ConfigError(f"config={config!r}: a VAEConfig")
        self._prepare(dtype, device)
        # Every dtype and device starts from the same numbers: float32, drawn on the host.
        theta = np.zeros(self.theta.shape, np.float32)
        params = views(theta, self.shapes)
        rng = np.random.default_rng(seed)
        for part in self.parts:
            part.init(rng, params)
        self.theta[...] = self.ops.put(theta.astype(self.dtype))

    def _prepare(self, dtype, device):
        """Choose the functions, build the networks, and allocate theta and dtheta as zeros."""
        if dtype not in map(np.dtype, ("float32", "float64", "complex128")):
            raise ConfigError(f"dtype={dtype!r}: float32, float64 or complex128")
        self.dtype = np.dtype(dtype)
        self.ops = pick(device, dtype)
        self.device = self.ops.device
        super().__init__(self.config, self.ops)
        self.theta = self.ops.put(np.zeros(size(self.shapes), self.dtype))
        self.dtheta = np.zeros_like(self.theta)
        self._parameters = views(self.theta, self.shapes)
        self._gradients = views(self.dtheta, self.shapes)

    def forward(self, x, eps, labels=None, beta=None):
        """(E16)  loss = 1/B Σ_i (nll_i + β kl_i + w ce_i),  w = classifier_weight

        x (B, D), floats, or uint8 from 0 to 255, which is scaled to [0, 1]; eps (B, J), noise from
        N(0, I); labels (B,) integers, or (B, K) one-hot rows, or None: then ce is left out. beta:
        None means config.beta. Returns the loss, in nats, and Activations. Raises DataError.
        Source: Kingma, Welling 2014, equation 10; β: Higgins et al. 2017; classifier: Zeldes 2018.
        """
        config, params, ops = self.config, self._parameters, self.ops
        x = self._images(x)
        eps = self._rows("eps", eps, len(x), config.latent_dim)
        acts = Activations(x=x, eps=eps)
        acts.beta = config.beta if beta is None else number("beta", beta)

        acts.encoder = self.encoder.forward(x, params)
        acts.encoder_h = acts.encoder[-1]
        acts.mu = self.mu_head.forward(acts.encoder_h, params)
        acts.log_var = self.log_var_head.forward(acts.encoder_h, params)
        acts.var = ops.variance_forward(acts.log_var, config.var_floor)
        acts.kl = ops.gaussian_kl_forward(acts.mu, acts.var)
        acts.z = ops.reparameterize_forward(acts.mu, acts.var, eps)
        code = acts.z
        ce = 0.0

        if self.classifier:
            acts.classifier = self.classifier.forward(x, params)
            acts.classifier_h = acts.classifier[-1]
            acts.logits = self.logits_head.forward(acts.classifier_h, params)
            acts.probs = ops.softmax_forward(acts.logits)
            acts.y = ops.put(one_hot(labels, acts.probs.shape, self.dtype), name="labels")
            ce = ops.categorical_nll_forward(acts.logits, acts.y)
            acts.ce = None if labels is None else ce  # without labels, y and ce are 0
            acts.decoder_probs = self.probs_path.forward(acts.probs, params)
            code = np.concatenate([acts.z, acts.decoder_probs], axis=1)

        acts.code = code
        acts.decoder = self.decoder.forward(code, params)
        acts.decoder_h = acts.decoder[-1]
        acts.heads = [head.forward(acts.decoder_h, params) for head in self.decoder_heads]
        acts.mean, acts.decoder_var, acts.sse, acts.nll = self.likelihood.forward(x, *acts.heads)

        acts.cost = acts.nll + acts.beta * acts.kl + config.classifier_weight * ce
        loss = self.bound.forward(acts.cost)
        return loss, acts

    def backward(self, acts):
        """Fill dtheta with the gradient of the loss, from the values of one forward pass.

        Each line answers a line of forward, in reverse order. A value that forward uses twice gets
        the sum of the gradients from both uses. Linear layers write into views of dtheta. With
        label_gradient=False, the decoder's gradient does not pass through the probabilities.
        """
        config, params, grads, ops = self.config, self._parameters, self._gradients, self.ops
        dcost = self.bound.backward(1.0, acts.cost)
        dnll = dcost
        dkl = acts.beta * dcost
        dce = config.classifier_weight * dcost

        dheads = self.likelihood.backward(dnll, acts.x, acts.mean, acts.decoder_var, *acts.heads)
        ddecoder_h = 0  # every head uses decoder_h
        for head, dhead, out in zip(self.decoder_heads, dheads, acts.heads):
            ddecoder_h = ddecoder_h + head.backward(dhead, acts.decoder_h, out, params, grads)
        dcode = self.decoder.backward(ddecoder_h, acts.decoder, params, grads)

        dz = dcode  # without a classifier, the code is z
        if self.classifier:
            dz, ddecoder_probs = np.split(dcode, [config.latent_dim], axis=1)
            dprobs = self.probs_path.backward(
                ddecoder_probs, acts.probs, acts.decoder_probs, params, grads
            )
            dlogits_ce = ops.categorical_nll_backward(dce, acts.probs, acts.y)
            dlogits_probs = ops.softmax_backward(dprobs, acts.probs)
            dlogits = dlogits_ce + dlogits_probs  # ce and probs use the logits
            dclassifier_h = self.logits_head.backward(
                dlogits, acts.classifier_h, acts.logits, params, grads
            )
            self.classifier.backward(dclassifier_h, acts.classifier, params, grads)

        dmu_z, dvar_z = ops.reparameterize_backward(dz, acts.var, acts.eps)
        dmu_kl, dvar_kl = ops.gaussian_kl_backward(dkl, acts.mu, acts.var)
        dmu = dmu_z + dmu_kl  # z and kl use mu and var
        dvar = dvar_z + dvar_kl
        dlog_var = ops.variance_backward(dvar, acts.log_var)
        dencoder_h_log_var = self.log_var_head.backward(
            dlog_var, acts.encoder_h, acts.log_var, params, grads
        )
        dencoder_h_mu = self.mu_head.backward(dmu, acts.encoder_h, acts.mu, params, grads)
        dencoder_h = dencoder_h_log_var + dencoder_h_mu  # both heads use encoder_h
        self.encoder.backward(dencoder_h, acts.encoder, params, grads)

    def parameters(self):
        """{"encoder.0.W": view into theta, …}."""
        return dict(self._parameters)

    def gradients(self):
        """{"encoder.0.W": view into dtheta, …}: the same names in the same order."""
        return dict(self._gradients)

    def astype(self, dtype):
        """A copy with the same weights in another dtype."""
        return self._copy(dtype, self.device)

    def to(self, device):
        """A copy with the same weights on another device."""
        return self._copy(self.dtype, device)

    def __deepcopy__(self, memo):
        return self._copy(self.dtype, self.device)

    def _copy(self, dtype, device):
        twin = copy.copy(self)
        twin._prepare(dtype, device)
        theta = self.theta if twin.device == self.device else twin.ops.put(self.ops.get(self.theta))
        twin.theta[...] = theta
        return twin

    def encode(self, x):
        """x (n, D) -> mu, var (n, J): q(z|x) = N(mu, var)."""
        h = self.encoder.forward(self._images(x), self._parameters)[-1]
        mu = self.mu_head.forward(h, self._parameters)
        log_var = self.log_var_head.forward(h, self._parameters)
        return mu, self.ops.variance_forward(log_var, self.config.var_floor)

    def classify(self, x):
        """x (n, D) -> probs (n, K), for a model with classes."""
        if not self.classifier:
            raise ConfigError("num_classes=0: this model has no classifier")
        h = self.classifier.forward(self._images(x), self._parameters)[-1]
        return self.ops.softmax_forward(self.logits_head.forward(h, self._parameters))

    def decode(self, z, probs=None):
        """z (n, J), and with classes probs (n, K) -> the mean of p(x|z), (n, D)."""
        return self.likelihood.mean(*self._heads(z, probs))

    def nll(self, x, z, probs=None):
        """x (n, D), z (n, J), and with classes probs (n, K) -> −log p(x|z), (n,), nats."""
        heads = self._heads(z, probs)
        return self.likelihood.nll(self._images(x, len(z)), *heads)

    def sample(self, n, digit=None, seed=0):
        """Decode z ~ N(0, I) -> (n, D): all as one digit, or as each class in turn."""
        J, K = self.config.latent_dim, self.config.num_classes
        n, seed = integer("n", n, 1), integer("seed", seed, 0)
        z = np.random.default_rng(seed).standard_normal((n, J), dtype=np.float32)
        if digit is None and not K:
            return self.decode(z)
        # One-hot rows, although training had soft probabilities: docs/slips.md measures the effect.
        labels = np.arange(n) % K if digit is None else np.full(n, digit)
        return self.decode(z, one_hot(labels, (n, K), self.dtype))

    def reconstruct(self, x):
        """x (n, D) -> (n, D), decoded from z = mu and the predicted class probabilities."""
        mu, _ = self.encode(x)
        return self.decode(mu, self.classify(x) if self.classifier else None)

    def _heads(self, z, probs):
        code = self._rows("z", z, None, self.config.latent_dim)
        if self.classifier:
            probs = self._rows("probs", probs, len(z), self.config.num_classes)
            code = np.concatenate([code, probs], axis=1)
        h = self.decoder.forward(code, self._parameters)[-1]
        return [head.forward(h, self._parameters) for head in self.decoder_heads]

    def _images(self, x, n=None):
        if getattr(x, "dtype", None) == np.uint8:  # uploaded as it is, a quarter of the bytes
            x = self.ops.put(x, name="x")
        x = as_images("x", x, (n, self.config.data_dim), self.dtype)
        return self.ops.put(x, name="x")

    def _rows(self, name, array, n, width):
        return self.ops.put(as_rows(name, array, (n, width), self.dtype), name=name)


def neg_elbo(vae: VAE, acts: Activations):
    """(E19)  −ELBO = Σ_k p_k (nll_k + log p_k + log K) + kl,  nll_k = −log p(x|z, class k)

    acts of a forward pass, with one sample z per example -> (B,), nats: E_z[−ELBO] ≥ −log p(x).
    Without classes it is nll + kl. With classes, nll + kl is not a bound, because the decoder also
    reads K numbers that were computed from x, and nll + kl has no KL term for them. Here the class
    is a second latent variable, uniform a priori, with the KL term Σ_k p_k log(K p_k).
    Source: Kingma, Rezende, Mohamed, Welling 2014, "Semi-supervised Learning with Deep Generative
    Models", equation 7.
    """
    K = vae.config.num_classes
    if not K:
        return acts.nll + acts.kl
    bound = acts.kl
    for k in range(K):
        y = np.zeros_like(acts.probs)
        y[:, k] = 1
        p_k = acts.probs[:, k]
        log_p_k = -vae.ops.categorical_nll_forward(acts.logits, y)
        nll_k = vae.nll(acts.x, acts.z, y)
        bound = bound + p_k * (nll_k + log_p_k + math.log(K))
    return bound
