"""Optimisers: each updates the flat vector of all parameters in place."""

import numpy as np

from .devices.ops import pick_for


def sgd_update(theta, dtheta, lr):
    """(E17)  θ ← θ − lr · g,  g = dtheta

    theta, dtheta (P,); lr is the learning rate.
    Source: Robbins, Monro 1951, "A Stochastic Approximation Method".
    """
    theta -= lr * dtheta


def adam_update(theta, dtheta, m, v, t, lr, beta1, beta2, eps):
    """(E18)  m ← β₁ m + (1 − β₁) g,   m̂ = m / (1 − β₁ᵗ)
          v ← β₂ v + (1 − β₂) g²,  v̂ = v / (1 − β₂ᵗ)
          θ ← θ − lr · m̂ / (√v̂ + ε),  g = dtheta

    theta, dtheta, m, v (P,); t counts the steps from 1. m and v start at 0; m̂ and v̂ correct this.
    Source: Kingma, Ba 2015, "Adam: A Method for Stochastic Optimization", Algorithm 1.
    """
    m[:] = beta1 * m + (1 - beta1) * dtheta
    v[:] = beta2 * v + (1 - beta2) * dtheta**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    theta -= lr * m_hat / (np.sqrt(v_hat) + eps)


class SGD:
    """Stochastic gradient descent: step(theta, dtheta) moves theta against its gradient."""

    def __init__(self, theta, lr=1e-3):
        self.lr = lr
        self.update = pick_for(theta).sgd_update

    def step(self, theta, dtheta):
        self.update(theta, dtheta, self.lr)


class Adam:
    """Adam: keeps the running means m of the gradient and v of its square, both (P,)."""

    def __init__(self, theta, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.t = 0
        self.m = np.zeros_like(theta)
        self.v = np.zeros_like(theta)
        self.update = pick_for(theta).adam_update

    def step(self, theta, dtheta):
        self.t += 1
        decay = self.beta1, self.beta2
        self.update(theta, dtheta, self.m, self.v, self.t, self.lr, *decay, self.eps)
