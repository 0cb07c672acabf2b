"""Small models of every kind, each with a batch of images, noise and labels."""

import dataclasses

import numpy as np

from minivae import VAE, VAEConfig

SMALL = VAEConfig(
    data_dim=6,
    latent_dim=2,
    encoder_layers=(5,),
    decoder_layers=(4,),
    activation="tanh",
    num_classes=3,
    classifier_layers=(3,),
    classifier_weight=2.0,
    beta=0.7,
)
MODELS = {
    "article": {"activation": "sigmoid"},
    "cut": {"label_gradient": False},
    "plain": {"num_classes": 0},
    "learned": {"likelihood": "gaussian_learned"},
    "learned identity": {"likelihood": "gaussian_learned", "decoder_output": "identity"},
    "bernoulli": {"likelihood": "bernoulli"},
    "deep": {"encoder_layers": (5, 4), "decoder_layers": (4, 5, 3), "classifier_layers": (4, 3)},
    "linear": {
        "encoder_layers": (),
        "decoder_layers": (),
        "classifier_layers": (),
        "decoder_output": "identity",
    },
    "relu": {"activation": "relu"},
    "leaky relu": {"activation": "leaky_relu"},
}


def case(name="article", B=5, dtype="float64"):
    """A small model with no zero among its weights, and a batch for it."""
    config = dataclasses.replace(SMALL, **MODELS[name])
    vae = VAE(config, seed=1, dtype=dtype)
    rng = np.random.default_rng(2)
    vae.theta += 0.3 * rng.standard_normal(vae.theta.shape).astype(dtype)
    x = rng.random((B, config.data_dim)).astype(dtype)
    eps = rng.standard_normal((B, config.latent_dim)).astype(dtype)
    return vae, x, eps, np.arange(B) % 3 if config.num_classes else None
