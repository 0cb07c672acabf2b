"""minivae: the variational autoencoder written out by hand in NumPy."""

import importlib

from . import datasets, errors, gradcheck, likelihood, linear_gaussian
from .checkpoint import load, save
from .config import VAEConfig
from .optim import SGD, Adam
from .training import fit
from .vae import VAE, Activations


def __getattr__(name):
    """minivae.plots, for which matplotlib is only now imported."""
    if name != "plots":
        raise AttributeError(f"module 'minivae' has no attribute {name!r}")
    return importlib.import_module(".plots", __name__)


__version__ = "0.1.0"
__all__ = [
    "SGD", "VAE", "Activations", "Adam", "VAEConfig", "datasets", "errors", "fit", "gradcheck",
    "likelihood", "linear_gaussian", "load", "plots", "save",
]  # fmt: skip
