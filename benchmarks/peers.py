"""One training step of a VAE, forward, backward and Adam, in minivae, PyTorch and JAX, and its
matrix products alone.

A peer is built from a VAE, from its config and its weights, as one would write it in that library.
Every likelihood but "gaussian_learned". Libraries are imported where they are used, so that each is
missed, or fills memory, only there.
"""

import importlib.util
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minivae
from minivae import Adam
from minivae.checks import one_hot
from minivae.devices.find import synchronize
from minivae.devices.memory import get, put

LR = 1e-3
NAMES = {"torch": "PyTorch", "jax": "JAX"}
# Else JAX takes three quarters of a GPU's memory when it starts.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


class Arm(NamedTuple):
    step: Callable  # -> the loss, which may not have been computed yet
    weights: Callable  # -> {name: array of NumPy}, with minivae's names and shapes
    synchronize: Callable  # waits until every step has been done


class Batch(NamedTuple):
    """Of NumPy: x (B, D), eps (B, J), labels (B,) or None."""

    x: np.ndarray
    eps: np.ndarray
    labels: np.ndarray | None


def random_batch(config, B, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((B, config.data_dim), dtype=np.float32)
    eps = rng.standard_normal((B, config.latent_dim), dtype=np.float32)
    return Batch(x, eps, rng.integers(0, config.num_classes, B) if config.num_classes else None)


def rows_of_labels(config, labels):
    return None if labels is None else one_hot(labels, (len(labels), config.num_classes))


def why_not(package, device):
    """Why the package has no arm on the device; None where it has one."""
    if importlib.util.find_spec(package) is None:
        return f'{NAMES[package]} is not installed: pip install ".[bench]"'
    if device == "cpu":
        return None
    if package == "torch":
        import torch

        return None if torch.cuda.is_available() else "this PyTorch sees no CUDA device"
    import jax

    try:
        jax.devices("gpu")
    except RuntimeError as error:
        return f"this JAX sees no GPU: {str(error).splitlines()[0]}"
    return None


def first_step(vae, batch):
    """In float64 on the CPU, from the weights of vae -> the loss, all values, the model after."""
    exact = vae.astype("float64").to("cpu")
    loss, acts = exact.forward(batch.x, batch.eps, batch.labels)
    exact.backward(acts)
    Adam(exact.theta, lr=LR).step(exact.theta, exact.dtheta)
    return loss, acts, exact


def verify(loss, weights, vae, batch):
    """Assert that loss and weights are those of a first step from the weights of vae."""
    expected, _, exact = first_step(vae, batch)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
    verify_weights(weights, exact)


def verify_weights(weights, exact):
    """Adam's first step is lr · g / (|g| + eps): where a gradient is all but zero, rounding decides
    its sign, and the weight may go either way. Everywhere else float32 is good to 2e-6."""
    gradients = exact.gradients()
    for name, W in exact.parameters().items():
        size = np.abs(gradients[name])
        allowed = np.where(size > 1e-5 * np.max(size), 2e-6, 2.1 * LR)
        wrong = np.count_nonzero(~(np.abs(weights[name] - W) <= allowed))
        assert not wrong, f"{name}: {wrong} of {W.size} weights differ after a step"


def another(checkout):
    """The package minivae of another checkout, imported beside this one under another name."""
    folder = Path(checkout, "minivae")
    if not (folder / "__init__.py").is_file():
        raise SystemExit(f"{checkout} has no package minivae")
    spec = importlib.util.spec_from_file_location(
        "minivae_of_another_checkout",
        folder / "__init__.py",
        submodule_search_locations=[str(folder)],
    )
    package = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def same_model(vae, package):
    """The model, made by another checkout's package. It may have fewer options."""
    options = asdict(vae.config)
    config = {field.name: options[field.name] for field in fields(package.VAEConfig)}
    other = package.VAE(package.VAEConfig(**config), dtype=vae.dtype, device=vae.device)
    other.theta[...] = vae.theta
    return other


def minivae_arm(vae, batch, package=minivae):
    """package: that of vae."""
    x, eps = put(batch.x, vae.device), put(batch.eps, vae.device)
    y = rows_of_labels(vae.config, batch.labels)
    y = y if y is None else put(y, vae.device)
    adam = package.Adam(vae.theta, lr=LR)

    def step():
        loss, acts = vae.forward(x, eps, y)
        vae.backward(acts)
        adam.step(vae.theta, vae.dtheta)
        return loss

    def weights():
        return {name: get(W).copy() for name, W in vae.parameters().items()}

    return Arm(step, weights, partial(synchronize, vae.device))


def matrix_products(vae, B):
    """-> a step's matrix products, and nothing else, as an Arm; and how many flops they are."""
    rng = np.random.default_rng(0)
    products, flops = [], 0

    def made(*shape):
        return put(rng.random(shape, dtype=np.float32), vae.device)

    for name, W in vae.parameters().items():
        if not name.endswith(".W"):
            continue
        n, m = W.shape
        x, da, a, dW = made(B, n), made(B, m), made(B, m), made(n, m)
        W = made(n, m)
        products += [(x, W, a), (x.T, da, dW)]
        if name not in ("encoder.0.W", "classifier.0.W"):  # they read data, which has no gradient
            products.append((da, W.T, made(B, n)))
            flops += 2 * B * n * m
        flops += 4 * B * n * m

    def step():
        for left, right, out in products:
            np.matmul(left, right, out=out)

    return Arm(step, dict, partial(synchronize, vae.device)), flops


def pytorch(vae, device):
    """The model as a module of PyTorch: (x, eps, labels) -> loss, nll, kl, ce, the last three (B,),
    ce None without classes."""
    import torch
    from torch.nn import functional as F

    config = vae.config
    refuse_learned(config)
    activation = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    }[config.activation]
    two_var = 2 * config.decoder_std**2
    constant = config.data_dim / 2 * math.log(math.pi * two_var)

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            parameters = {name: get(W) for name, W in vae.parameters().items()}
            self.names = [name.removesuffix(".W") for name in parameters if name.endswith(".W")]
            self.layers = torch.nn.ModuleDict()
            for name in self.names:
                W, b = parameters[f"{name}.W"], parameters[f"{name}.b"]
                layer = torch.nn.Linear(*W.shape)
                layer.weight.data[:] = torch.from_numpy(W.T.copy())
                layer.bias.data[:] = torch.from_numpy(b.copy())
                self.layers[name.replace(".", "_")] = layer

        def hidden(self, network, widths, h):
            for k in range(len(widths)):
                h = activation(self.layers[f"{network}_{k}"](h))
            return h

        def forward(self, x, eps, labels=None):
            h = self.hidden("encoder", config.encoder_layers, x)
            mu = self.layers["encoder_mu"](h)
            var = config.var_floor + self.layers["encoder_log_var"](h).exp()
            kl = 0.5 * (mu.square() + var - var.log() - 1).sum(1)
            cost, ce, code = config.beta * kl, None, mu + var.sqrt() * eps
            if config.num_classes:
                h = self.hidden("classifier", config.classifier_layers, x)
                logits = self.layers["classifier_out"](h)
                ce = F.cross_entropy(logits, labels, reduction="none")
                cost = cost + config.classifier_weight * ce
                probs = logits.softmax(1)
                code = torch.cat([code, probs if config.label_gradient else probs.detach()], 1)
            out = self.layers["decoder_out"](self.hidden("decoder", config.decoder_layers, code))
            if config.likelihood == "bernoulli":
                nll = F.binary_cross_entropy_with_logits(out, x, reduction="none").sum(1)
            else:
                mean = torch.sigmoid(out) if config.decoder_output == "sigmoid" else out
                nll = (x - mean).square().sum(1) / two_var + constant
            return (cost + nll).mean(), nll, kl, ce

        def weights(self):
            found = {}
            for name in self.names:
                layer = self.layers[name.replace(".", "_")]
                found[f"{name}.W"] = layer.weight.detach().cpu().numpy().T.copy()
                found[f"{name}.b"] = layer.bias.detach().cpu().numpy().copy()
            return found

    torch.set_float32_matmul_precision("highest")  # no TF32
    return Peer().to(pytorch_device(device))


def pytorch_device(device):
    return "cuda" if device == "gpu" else "cpu"


def pytorch_synchronize(device):
    import torch

    if device == "gpu":
        torch.cuda.synchronize()


def pytorch_arm(vae, batch, device, compiled=False):
    """A step with the fused Adam; compiled: the module by torch.compile."""
    import torch

    peer = pytorch(vae, device)
    optimizer = torch.optim.Adam(peer.parameters(), lr=LR, fused=True)
    arrays = [array for array in batch if array is not None]
    tensors = [torch.from_numpy(array).to(pytorch_device(device)) for array in arrays]
    forward = peer
    if compiled:
        mode = "reduce-overhead" if device == "gpu" else "default"
        forward = torch.compile(peer, mode=mode, dynamic=False)

    def step():
        optimizer.zero_grad()
        loss = forward(*tensors)[0]
        loss.backward()
        optimizer.step()
        return loss

    return Arm(step, peer.weights, partial(pytorch_synchronize, device))


def jax_loss(config):
    """The loss as a function of JAX: (params by name, x, eps, y), y one-hot rows or None."""
    import jax
    import jax.numpy as jnp

    refuse_learned(config)
    activation = {
        "sigmoid": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "relu": jax.nn.relu,
        "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=0.2),
    }[config.activation]
    two_var = 2 * config.decoder_std**2
    constant = config.data_dim / 2 * math.log(math.pi * two_var)

    def loss(params, x, eps, y):
        def linear(name, h):
            return h @ params[f"{name}.W"] + params[f"{name}.b"]

        def hidden(network, widths, h):
            for k in range(len(widths)):
                h = activation(linear(f"{network}.{k}", h))
            return h

        h = hidden("encoder", config.encoder_layers, x)
        mu = linear("encoder.mu", h)
        var = config.var_floor + jnp.exp(linear("encoder.log_var", h))
        cost = config.beta * 0.5 * (mu**2 + var - jnp.log(var) - 1).sum(1)
        code = mu + jnp.sqrt(var) * eps
        if config.num_classes:
            h = hidden("classifier", config.classifier_layers, x)
            logits = linear("classifier.out", h)
            cost = cost - config.classifier_weight * (y * jax.nn.log_softmax(logits)).sum(1)
            probs = jax.nn.softmax(logits)
            probs = probs if config.label_gradient else jax.lax.stop_gradient(probs)
            code = jnp.concatenate([code, probs], 1)
        out = linear("decoder.out", hidden("decoder", config.decoder_layers, code))
        if config.likelihood == "bernoulli":
            nll = (jax.nn.softplus(out) - x * out).sum(1)
        else:
            mean = jax.nn.sigmoid(out) if config.decoder_output == "sigmoid" else out
            nll = ((x - mean) ** 2).sum(1) / two_var + constant
        return (cost + nll).mean()

    return loss


def jax_arm(vae, batch, device):
    """A step in one jit, Adam in it, its buffers donated."""
    import jax
    import jax.numpy as jnp

    if device == "gpu":
        jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    home = jax.devices(device)[0]
    loss = jax_loss(vae.config)

    def adam_step(state, x, eps, y):
        params, m, v, t = state
        value, gradient = jax.value_and_grad(loss)(params, x, eps, y)
        t = t + 1
        mapped = jax.tree_util.tree_map
        m = mapped(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = mapped(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        of_m, of_v = 1 - 0.9**t, 1 - 0.999**t
        params = mapped(
            lambda p, m, v: p - LR * (m / of_m) / (jnp.sqrt(v / of_v) + 1e-8), params, m, v
        )
        return (params, m, v, t), value

    jitted = jax.jit(adam_step, donate_argnums=0)
    # Copies: JAX may take NumPy's memory for its own, and donate it.
    params = {name: get(W).copy() for name, W in vae.parameters().items()}
    m = {name: np.zeros_like(W) for name, W in params.items()}
    v = {name: np.zeros_like(W) for name, W in params.items()}
    state = jax.device_put((params, m, v, np.float32(0)), home)
    y = rows_of_labels(vae.config, batch.labels)
    inputs = jax.device_put((batch.x.copy(), batch.eps.copy(), y), home)

    def step():
        nonlocal state
        state, value = jitted(state, *inputs)
        return value

    def weights():
        return {name: np.array(W) for name, W in state[0].items()}

    return Arm(step, weights, lambda: jax.block_until_ready(state))


def refuse_learned(config):
    if config.likelihood == "gaussian_learned":
        raise ValueError("the peers have no learned variance")
