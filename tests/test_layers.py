"""Each layer: its gradient, and its value computed another way."""

import numpy as np
import pytest
import scipy.special
from derivatives import holds

pytestmark = pytest.mark.usefixtures("readable")


def test_E1_linear_gradient(rng, shape):
    holds("linear", rng, shape)


def test_E1_linear_weights_alone_are_the_same(rng, ops):
    x, W, da = rng.standard_normal((5, 4)), rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    dW, db, dW_alone, db_alone = np.empty((4, 3)), np.empty(3), np.empty((4, 3)), np.empty(3)
    ops.linear_backward(da, x, W, dW, db)
    assert ops.linear_backward_weights(da, x, dW_alone, db_alone) is None
    assert np.array_equal(dW, dW_alone) and np.array_equal(db, db_alone)


def test_E1_linear_value(rng, ops):
    x, W, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 2)), rng.standard_normal(2)
    a = ops.linear_forward(x, W, b)
    for i, j in np.ndindex(2, 2):
        assert a[i, j] == pytest.approx(b[j] + sum(x[i, k] * W[k, j] for k in range(3)))


def test_E2_sigmoid_gradient(rng, shape):
    holds("sigmoid", rng, shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_E2_sigmoid_value(ops, dtype):
    a = np.array([[-1e4, -800, -90, -20, -1, 0, 1, 20, 90, 800, 1e4]], dtype)
    h = ops.sigmoid_forward(a)
    assert h.dtype == dtype
    np.testing.assert_allclose(h, scipy.special.expit(a), rtol=0, atol=np.finfo(dtype).eps)


def test_E3_tanh_gradient(rng, shape):
    holds("tanh", rng, shape)


def test_E3_tanh_value(rng, ops):
    a = rng.standard_normal((5, 4))
    by_exp = 2 * scipy.special.expit(2 * a) - 1
    np.testing.assert_allclose(ops.tanh_forward(a), by_exp, rtol=1e-14, atol=1e-15)


def test_E4_relu_gradient(rng, shape):
    holds("relu", rng, shape)


def test_E4_relu_value(rng, ops):
    a = rng.standard_normal((5, 4))
    np.testing.assert_array_equal(ops.relu_forward(a), (a + abs(a)) / 2)


def test_E5_leaky_relu_gradient(rng, shape):
    holds("leaky_relu", rng, shape)


def test_E5_leaky_relu_value(rng, ops):
    a = rng.standard_normal((5, 4))
    np.testing.assert_array_equal(ops.leaky_relu_forward(a), np.maximum(a, 0.2 * a))


def test_E6_softmax_gradient(rng, shape):
    holds("softmax", rng, shape)


@pytest.mark.parametrize("size", [1, 30, 1e4])
def test_E6_softmax_value(rng, ops, size):
    logits = size * rng.standard_normal((5, 4))
    np.testing.assert_allclose(
        ops.softmax_forward(logits), scipy.special.softmax(logits, axis=1), rtol=1e-12
    )


def test_E27_identity_gradient(rng, shape):
    holds("identity", rng, shape)


def test_E27_identity_value(rng, ops):
    a = rng.standard_normal((5, 4))
    np.testing.assert_array_equal(ops.identity_forward(a), a)


def test_the_gradient_stops_at_stop_gradient(rng, ops):
    a, dh = rng.standard_normal((5, 4)), np.full((5, 4), np.nan)
    np.testing.assert_array_equal(ops.stop_gradient_forward(a), a)
    np.testing.assert_array_equal(ops.stop_gradient_backward(dh, a), np.zeros((5, 4)))


def test_kinks_are_decided_by_the_real_part(ops):
    a = np.array([[-1 + 1j, 0 + 1j, 1 - 1j]])
    assert np.array_equal(ops.relu_forward(a), [[0, 0, 1 - 1j]])
    assert np.array_equal(ops.leaky_relu_forward(a), [[-0.2 + 0.2j, 0.2j, 1 - 1j]])


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu", "identity"])
def test_no_activation_hides_a_nan(ops, name):
    assert np.isnan(getattr(ops, f"{name}_forward")(np.array([[np.nan]]))).all()
