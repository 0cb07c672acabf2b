"""minivae: the variational autoencoder written out by hand in NumPy."""

from . import datasets, errors, gradcheck, likelihood, linear_gaussian
from .checkpoint import load, save
from .config import VAEConfig
from .optim import SGD, Adam
from .training import fit
from .vae import VAE, Activations

__version__ = "0.1.0"
__all__ = [
    "SGD",
    "VAE",
    "Activations",
    "Adam",
    "VAEConfig",
    "datasets",
    "errors",
    "fit",
    "gradcheck",
    "likelihood",
    "linear_gaussian",
    "load",
    "save",
]
