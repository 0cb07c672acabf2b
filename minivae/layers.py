"""The layers: each forward function with its backward function under it.

dX is the gradient of the loss with respect to X and has the shape of X. A backward takes the
gradient of the forward's output first, then exactly the forward values that the derivative depends
on (of an activation its output h), and returns the gradients of the inputs; those of weights are
written into the arrays given. Rows are examples: B examples, n inputs and m outputs a layer, K
classes. Products with W and xᵀ are matrix products; every other product is elementwise.

The dtype is followed, also complex: tests compare with the complex step, f′(a) ≈ Im f(a + iδ) / δ,
which subtracts nothing. Hence a.real decides where a function has a kink.
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
    """dx = da Wᵀ,  dW = xᵀ da,  db = the sum of da over its rows.

    dW and db are overwritten: each weight is used once in a pass, so that nothing accumulates.
    """
    linear_backward_weights(da, x, dW, db)
    return da @ W.T


def linear_backward_weights(da, x, dW, db):
    """Only dW and db: a layer whose input is data needs no dx."""
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
    da = 1 - h  # in place: one more array of B · D numbers costs 2 % of a step
    da *= h
    da *= dh
    return da


def tanh_forward(a):
    """(E3)  h = tanh(a)

    a (B, m) -> h (B, m).
    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp".
    """
    return np.tanh(a)


def tanh_backward(dh, h):
    """da = dh (1 − h²)"""
    da = h * h
    np.subtract(1, da, out=da)
    da *= dh
    return da


def relu_forward(a):
    """(E4)  h = a where a > 0, else 0

    a (B, m) -> h (B, m).
    Source: Nair, Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return a * (a.real > 0)


def relu_backward(dh, h):
    """da = dh where h > 0, else 0;  h > 0 exactly where a > 0; at the kink, a = 0, it is 0"""
    return dh * (h.real > 0)


def leaky_relu_forward(a):
    """(E5)  h = a where a > 0, else 0.2 a

    a (B, m) -> h (B, m).
    Source: Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic
    models"; its slope is 0.01, that of Frans 2016 is 0.2.
    """
    return np.where(a.real > 0, a, LEAKY_SLOPE * a)


def leaky_relu_backward(dh, h):
    """da = dh where h > 0, else 0.2 dh;  h > 0 exactly where a > 0"""
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
    """dlogit_k = p_k (dp_k − Σ_l dp_l p_l),  for ∂p_l / ∂logit_k = p_l (δ_kl − p_k)"""
    expected = np.sum(dprobs * probs, axis=1, keepdims=True)
    return probs * (dprobs - expected)


class Pair(NamedTuple):
    """A forward and its backward, chosen by name when a model is made."""

    forward: Callable
    backward: Callable


ACTIVATION_PAIRS = {
    "sigmoid": Pair(sigmoid_forward, sigmoid_backward),
    "tanh": Pair(tanh_forward, tanh_backward),
    "relu": Pair(relu_forward, relu_backward),
    "leaky_relu": Pair(leaky_relu_forward, leaky_relu_backward),
}
OUTPUT_PAIRS = {  # from the decoder's last linear layer to the mean of p(x|z)
    "sigmoid": ACTIVATION_PAIRS["sigmoid"],
    "identity": Pair(lambda a: a, lambda dh, h: dh),
}
