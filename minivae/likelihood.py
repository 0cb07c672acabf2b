"""What the model says about log p(x)."""

import math

import numpy as np

from .distributions import categorical_nll_forward
from .vae import VAE, Activations


def neg_elbo(vae: VAE, acts: Activations):
    """(E19)  −ELBO = Σ_k p_k (nll_k + log p_k + log K) + kl,  nll_k = −log p(x|z, class k)

    acts of a forward pass, one sample z an example -> (B,), nats: E_z[−ELBO] ≥ −log p(x). Without
    classes it is nll + kl. With classes nll + kl bounds nothing, for the decoder reads K numbers
    computed from x and pays for none; here the class is a second latent variable, uniform a priori,
    and its KL, Σ_k p_k log(K p_k), is paid.
    Source: Kingma, Rezende, Mohamed, Welling 2014, "Semi-supervised Learning with Deep Generative
    Models", equation 7.
    """
    K = vae.config.num_classes
    if not K:
        return acts.nll + acts.kl
    bound = acts.kl
    for k in range(K):
        y = np.zeros_like(acts.probs)
        y[:, k] = 1
        p_k = np.sum(acts.probs * y, axis=1)
        log_p_k = -categorical_nll_forward(acts.logits, y)
        nll_k = vae.nll(acts.x, acts.z, y)
        bound = bound + p_k * (nll_k + log_p_k + math.log(K))
    return bound
