"""The functions of the lesson for NumPy on a CPU, some of them with fewer passes over memory.

A new array of B · D numbers costs as much time as an operation on it. These versions therefore
work in place, on arrays that they have made themselves.
"""

import math

import numpy as np

from .readable import *  # noqa: F403


def linear_forward(x, W, b):
    a = x @ W
    a += b
    return a


def sigmoid_forward(a):
    h = 0.5 * a
    np.tanh(h, out=h)
    h *= 0.5
    h += 0.5
    return h


def sigmoid_backward(dh, h):
    da = 1 - h
    da *= h
    da *= dh
    return da


def tanh_backward(dh, h):
    da = h * h
    np.subtract(1, da, out=da)
    da *= dh
    return da


def relu_forward(a):
    return np.maximum(a, 0)


def relu_backward(dh, h):
    return dh * (h > 0)


def squared_error_forward(x, mean):
    error = x - mean
    return np.einsum("bd,bd->b", error, error)  # the product and its sum in one pass


def squared_error_backward(dsse, x, mean):
    dmean = mean - x
    dmean *= 2 * dsse.reshape(-1, 1)
    return dmean


def bernoulli_nll_forward(x, logits):
    m = np.maximum(logits, 0)
    nll = logits - 2 * m
    np.exp(nll, out=nll)
    np.log1p(nll, out=nll)
    nll += m
    nll -= x * logits
    return np.sum(nll, axis=1)


def adam_update(theta, dtheta, m, v, t, lr, beta1, beta2, eps):
    # With c = √(1 − β₂ᵗ), m̂ / (√v̂ + ε) = m c / ((1 − β₁ᵗ) (√v + ε c)): the corrections are numbers.
    c = math.sqrt(1 - beta2**t)
    rate = lr * c / (1 - beta1**t)
    scratch = (1 - beta1) * dtheta
    m *= beta1
    m += scratch
    np.multiply(dtheta, dtheta, out=scratch)
    scratch *= 1 - beta2
    v *= beta2
    v += scratch
    np.sqrt(v, out=scratch)
    scratch += eps * c
    np.divide(m, scratch, out=scratch)
    scratch *= rate
    theta -= scratch
