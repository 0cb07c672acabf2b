"""The layers: each forward function with its backward function under it.

A backward takes the gradient of the output first, then exactly the forward values it needs, and
returns the gradients of the inputs. The gradients of weights are written into the given arrays.
Rows are examples. B examples, n inputs and m outputs a layer, K classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEAKY_SLOPE = 0.2


def linear_forward(x, W, b):
    """(E1)  a = x W + b

    x (B, n), W (n, m), b (m,) -> a (B, m).
    Source: Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors".
    """
    return x @ W + b


def linear_backward(da, x, W, dW, db):
    """dx = da Wᵀ,  dW = xᵀ da,  db = Σ_b da_b;  dW and db are overwritten."""
    linear_backward_weights(da, x, dW, db)
    return da @ W.T


def linear_backward_weights(da, x, dW, db):
    """dW = xᵀ da,  db = Σ_b da_b: all that is asked of a layer whose input is data."""
    np.matmul(x.T, da, out=dW)
    np.sum(da, axis=0, out=db)


def sigmoid_forward(a):
    """(E2)  h = 1 / (1 + exp(−a))

    a (B, m) -> h (B, m).
    Source: Rumelhart, Hinton, Williams 1986.
    """
    # The same function as ½ (1 + tanh ½a): exp(−a) overflows float32 at a = −89, tanh never does.
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def sigmoid_backward(dh, h):
    """da = dh · h (1 − h)"""
    return dh * h * (1 - h)


def tanh_forward(a):
    """(E3)  h = tanh(a)

    a (B, m) -> h (B, m).
    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp".
    """
    return np.tanh(a)


def tanh_backward(dh, h):
    """da = dh (1 − h²)"""
    return dh * (1 - h * h)


def relu_forward(a):
    """(E4)  h = a where a > 0, else 0

    a (B, m) -> h (B, m). Of a complex a the real part decides.
    Source: Nair, Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return np.where(a.real > 0, a, 0)


def relu_backward(dh, h):
    """da = dh where h > 0, else 0;  h > 0 just where a > 0"""
    return np.where(h.real > 0, dh, 0)


def leaky_relu_forward(a):
    """(E5)  h = a where a > 0, else 0.2 a

    a (B, m) -> h (B, m). Of a complex a the real part decides.
    Source: Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic
    models".
    """
    return np.where(a.real > 0, a, LEAKY_SLOPE * a)


def leaky_relu_backward(dh, h):
    """da = dh where h > 0, else 0.2 dh;  h > 0 just where a > 0"""
    return np.where(h.real > 0, dh, LEAKY_SLOPE * dh)


def softmax_forward(logits):
    """(E6)  p_k = exp(logit_k) / Σ_l exp(logit_l)

    logits (B, K) -> probs (B, K), each row a distribution.
    Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network
    outputs".
    """
    # Shifting a row by a constant changes nothing; with the largest logit at 0 nothing overflows.
    shifted = logits - np.max(logits.real, axis=1, keepdims=True)
    e = np.exp(shifted)
    return e / np.sum(e, axis=1, keepdims=True)


def softmax_backward(dprobs, probs):
    """dlogit_k = p_k (dp_k − Σ_l dp_l p_l):  every probability moves with every logit"""
    mean = np.sum(dprobs * probs, axis=1, keepdims=True)
    return probs * (dprobs - mean)


class Pair(NamedTuple):
    """A function and its derivative, to be chosen by name when a model is made."""

    forward: Callable
    backward: Callable


ACTIVATIONS = {
    "sigmoid": Pair(sigmoid_forward, sigmoid_backward),
    "tanh": Pair(tanh_forward, tanh_backward),
    "relu": Pair(relu_forward, relu_backward),
    "leaky_relu": Pair(leaky_relu_forward, leaky_relu_backward),
}
OUTPUTS = {
    "sigmoid": ACTIVATIONS["sigmoid"],
    "identity": Pair(lambda a: a, lambda dh, h: dh),
}
