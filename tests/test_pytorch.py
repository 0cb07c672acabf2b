"""minivae held to PyTorch's autograd and Adam, by a file: no PyTorch is needed here.

`python tests/make_reference.py` (needs PyTorch; the committed file is of 2.13.0) makes the file
anew, and tells what it holds.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
from derivatives import relative_error

from minivae import VAE, Adam, VAEConfig
from minivae.distributions import LIKELIHOODS
from minivae.networks import ACTIVATIONS, OUTPUTS

pytestmark = pytest.mark.usefixtures("readable")
FILE = Path(__file__).parent / "reference.safetensors"
TOLERANCE = 1e-12

with safetensors.safe_open(FILE, "np") as file:
    ABOUT = json.loads(file.metadata()["reference"])
    TENSORS = {key: file.get_tensor(key) for key in file.keys()}
CONFIGS = {name: VAEConfig(**fields) for name, fields in ABOUT["models"].items()}


def case(name):
    """The model with the weights of the file, and its batches of x, eps, labels."""
    vae = VAE(CONFIGS[name], dtype="float64")
    for tensor, W in vae.parameters().items():
        W[...] = TENSORS[f"{name}/start/{tensor}"]
    x, eps = TENSORS[f"{name}/x"], TENSORS[f"{name}/eps"]
    labels = TENSORS.get(f"{name}/labels", [None] * len(x))
    return vae, list(zip(x, eps, labels, strict=True))


def first_batch(name, vae, x, eps, labels):
    """{what: its error}, of the loss and of every gradient."""
    vae.dtheta[:] = np.nan  # so that every entry has to be written
    loss, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    errors = {"loss": relative_error(loss, TENSORS[f"{name}/losses"][0])}
    for tensor, gradient in vae.gradients().items():
        errors[tensor] = relative_error(gradient, TENSORS[f"{name}/gradient/{tensor}"])
    return errors


def too_large(errors):
    """The errors outside the tolerance; a NaN is one."""
    return {what: error for what, error in errors.items() if not error <= TOLERANCE}


def test_the_file_is_small():
    assert FILE.stat().st_size <= 200_000


def test_the_file_has_every_choice():
    configs = CONFIGS.values()
    assert {config.activation for config in configs} == set(ACTIVATIONS)
    assert {config.likelihood for config in configs} == set(LIKELIHOODS)
    assert {config.decoder_output for config in configs} == set(OUTPUTS)


@pytest.mark.parametrize("kind", ["start", "gradient", "end"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_file_has_the_names_and_shapes_of_the_parameters(name, kind):
    prefix = f"{name}/{kind}/"
    found = {
        key.removeprefix(prefix): (W.shape, W.dtype)
        for key, W in TENSORS.items()
        if key.startswith(prefix)
    }
    vae, _ = case(name)
    assert found == {tensor: (W.shape, W.dtype) for tensor, W in vae.parameters().items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_E16_loss_and_gradients_are_pytorch_s(name):
    vae, batches = case(name)
    assert not too_large(first_batch(name, vae, *batches[0]))


@pytest.mark.parametrize("name", CONFIGS)
def test_E18_twenty_steps_of_adam_are_pytorch_s(name):
    vae, batches = case(name)
    adam = Adam(vae.theta, lr=1e-3)
    losses = []
    for x, eps, labels in batches:
        loss, acts = vae.forward(x, eps, labels)
        vae.backward(acts)
        adam.step(vae.theta, vae.dtheta)
        losses.append(loss)
    assert len(losses) == 20
    errors = {"losses": relative_error(np.array(losses), TENSORS[f"{name}/losses"])}
    for tensor, W in vae.parameters().items():
        errors[tensor] = relative_error(W, TENSORS[f"{name}/end/{tensor}"])
    assert not too_large(errors)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_slip_of_1e_9_in_one_bias_shows(name):
    vae, batches = case(name)
    vae.parameters()["encoder.log_var.b"][0] += 1e-9
    assert too_large(first_batch(name, vae, *batches[0]))
