"""minivae: the variational autoencoder written out by hand in NumPy."""

import importlib
import sys

from . import datasets, errors, gradcheck
from .config import VAEConfig
from .devices import readable as readable  # with every file that is registered there
from .evidence import likelihood, linear_gaussian
from .optim import SGD, Adam
from .runs.checkpoint import load, save
from .training import fit
from .vae import VAE, Activations

# `from minivae.likelihood import …` is what scripts written for version 0.1 say.
sys.modules |= {f"{__name__}.{m.__name__.split('.')[-1]}": m for m in (likelihood, linear_gaussian)}


def __getattr__(name):
    """minivae.plots, which imports matplotlib, is imported when it is first used."""
    if name != "plots":
        raise AttributeError(f"module 'minivae' has no attribute {name!r}")
    return importlib.import_module(".plots", __name__)


__version__ = "0.1.0"
__all__ = [
    "SGD", "VAE", "Activations", "Adam", "VAEConfig", "datasets", "errors", "fit", "gradcheck",
    "likelihood", "linear_gaussian", "load", "plots", "save",
]  # fmt: skip
