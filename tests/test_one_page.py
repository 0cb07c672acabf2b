"""The page is the package: the same loss, the same gradients, the same steps."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minivae import VAE, Adam, VAEConfig

SCRIPT = Path(__file__).parent.parent / "examples" / "00_one_page.py"
SPEC = importlib.util.spec_from_file_location("one_page", SCRIPT)
page = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(page)


@pytest.fixture
def vae():
    """The package's model with the page's parts, its weights and biases all different from 0."""
    vae = VAE(VAEConfig(num_classes=0), dtype="float64")
    vae.theta += 0.05 * np.random.default_rng(1).standard_normal(vae.theta.shape)
    return vae


def error(found, right):
    return np.max(np.abs(found - right)) / np.max(np.abs(right))


def test_the_weights_have_the_package_s_shapes_and_order(vae):
    assert [W.shape for W in page.views(vae.theta)] == [W.shape for W in vae.parameters().values()]


def test_loss_and_all_gradients_equal_the_package_s(vae, rng):
    x, eps = rng.random((page.B, page.D)), rng.standard_normal((page.B, page.J))
    loss, dtheta = page.loss_and_gradient(vae.theta, x, eps)
    expected, acts = vae.forward(x, eps)
    vae.backward(acts)
    assert abs(loss - expected) < 1e-12 * expected
    for name, dW, right in zip(vae.gradients(), page.views(dtheta), vae.gradients().values()):
        assert error(dW, right) < 1e-12, name


def test_adam_s_steps_equal_the_package_s(vae, rng):
    theta = vae.theta.copy()
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    adam = Adam(vae.theta)
    for t in range(1, 21):
        start, dtheta = vae.theta.copy(), rng.standard_normal(theta.shape) * 10.0 ** -(t % 5)
        page.adam_step(theta, dtheta, m, v, t)
        adam.step(vae.theta, dtheta)
        assert error(theta, vae.theta) < 1e-14
        assert np.max(np.abs(vae.theta - start)) > 1e-4


def test_twenty_steps_of_training_end_at_the_package_s_weights(vae, rng):
    theta = vae.theta.copy()
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    adam = Adam(vae.theta)
    for t in range(1, 21):
        x, eps = rng.random((5, page.D)), rng.standard_normal((5, page.J))
        _, dtheta = page.loss_and_gradient(theta, x, eps)
        page.adam_step(theta, dtheta, m, v, t)
        _, acts = vae.forward(x, eps)
        vae.backward(acts)
        adam.step(vae.theta, vae.dtheta)
    assert error(theta, vae.theta) < 1e-9  # Adam divides by √v: rounding grows where v is small


def test_a_sample_is_what_the_package_decodes(vae, rng):
    z = rng.standard_normal((3, page.J))
    assert error(page.decode(vae.theta, z), vae.decode(z)) < 1e-12


def test_float32_stays_float32(rng):
    theta = VAE(VAEConfig(num_classes=0)).theta
    x, eps = rng.random((5, page.D), np.float32), rng.standard_normal((5, page.J), np.float32)
    loss, dtheta = page.loss_and_gradient(theta, x, eps)
    assert loss.dtype == dtheta.dtype == np.float32


def test_it_is_one_page_of_plain_numpy():
    source = SCRIPT.read_text()
    assert len(source.splitlines()) <= 100
    assert max(map(len, source.splitlines())) <= 100
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"gzip", "math", "os", "matplotlib.pyplot", "numpy"}
