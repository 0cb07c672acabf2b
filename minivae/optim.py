"""Optimisers: each steps one flat vector, in place."""

import math

import numpy as np


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

    theta, dtheta, m, v (P,); t counts the steps from 1.
    Source: Kingma, Ba 2015, "Adam: A Method for Stochastic Optimization", Algorithm 1.
    """

    def __init__(self, theta, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.t = 0
        self.m = np.zeros_like(theta)
        self.v = np.zeros_like(theta)
        self.scratch = np.empty_like(theta)

    def step(self, theta, dtheta):
        self.t += 1
        scratch = self.scratch
        # m ← m + (1 − β₁) (g − m)
        np.subtract(dtheta, self.m, out=scratch)
        scratch *= 1 - self.beta1
        self.m += scratch
        # v ← β₂ v + (1 − β₂) g²
        np.multiply(dtheta, dtheta, out=scratch)
        scratch *= 1 - self.beta2
        self.v *= self.beta2
        self.v += scratch
        # √v̂ = √v / c with c = √(1 − β₂ᵗ), so m̂ / (√v̂ + ε) = m / (√v + c ε) · c / (1 − β₁ᵗ).
        c = math.sqrt(1 - self.beta2**self.t)
        np.sqrt(self.v, out=scratch)
        scratch += c * self.eps
        np.divide(self.m, scratch, out=scratch)
        scratch *= self.lr * c / (1 - self.beta1**self.t)
        theta -= scratch
