"""Optimisers: each steps one flat vector, in place."""

import math

import numpy as np

from .kernels import twin


class SGD:
    """(E17)  θ ← θ − lr · g,  g = dtheta

    theta, dtheta (P,).
    Source: Robbins, Monro 1951, "A Stochastic Approximation Method".
    """

    def __init__(self, theta, lr=1e-3):
        self.lr = lr

    def step(self, theta, dtheta):
        theta -= self.lr * dtheta


class Adam:
    """(E18)  m ← β₁ m + (1 − β₁) g,   m̂ = m / (1 − β₁ᵗ)
          v ← β₂ v + (1 − β₂) g²,  v̂ = v / (1 − β₂ᵗ)
          θ ← θ − lr · m̂ / (√v̂ + ε),  g = dtheta

    theta, dtheta, G, S (P,); t counts the steps from 1. Kept are the sums G = m / (1 − β₁) and
    S = v / (1 − β₂): the constants need no pass over P numbers.
    Source: Kingma, Ba 2015, "Adam: A Method for Stochastic Optimization", Algorithm 1.
    """

    def __init__(self, theta, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.t = 0
        self.G = np.zeros_like(theta)
        self.S = np.zeros_like(theta)
        self.scratch = np.empty_like(theta)
        self.update = twin(adam_update, theta)

    def step(self, theta, dtheta):
        self.t += 1
        # With v̂ = c² S,  m̂ / (√v̂ + ε) = m̂ / c / (√S + ε / c).
        c = math.sqrt((1 - self.beta2) / (1 - self.beta2**self.t))
        rate = self.lr * (1 - self.beta1) / (1 - self.beta1**self.t) / c
        betas = self.beta1, self.beta2
        self.update(theta, dtheta, self.G, self.S, self.scratch, *betas, self.eps / c, rate)


def adam_update(theta, dtheta, G, S, scratch, beta1, beta2, eps, rate):
    """G ← β₁ G + g,  S ← β₂ S + g²,  θ ← θ − rate · G / (√S + eps);  each (P,), in place."""
    G *= beta1
    G += dtheta
    np.multiply(dtheta, dtheta, out=scratch)
    S *= beta2
    S += scratch
    np.sqrt(S, out=scratch)
    scratch += eps
    np.divide(G, scratch, out=scratch)
    scratch *= rate
    theta -= scratch
