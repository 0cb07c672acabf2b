"""The options of a model, and the random streams that one seed gives."""

from dataclasses import dataclass

import numpy as np

from .checks import choice, integer, number
from .distributions import BOUNDS, LIKELIHOODS
from .errors import ConfigError
from .networks import ACTIVATIONS, OUTPUTS

# One seed gives many streams of random numbers, so that, for example, an evaluation does not change
# the training that follows. default_rng(seed) itself draws initial weights, VAE.sample's codes,
# strokes, and the inputs of the commands gradcheck and lockstep.
STREAMS = {
    "epochs": 1,  # the order of the images and the noise of training
    "evaluation": 2,  # the noise of an evaluation
    "styles": 3,  # the pictures that a run draws after each epoch
    "estimation": 4,  # the samples of an estimate of log p(x)
    "upstream": 5,  # gradient checks: the gradient of the outputs,
    "entries": 6,  # which entries are compared,
    "direction": 7,  # the direction in which all parameters move,
    "noise": 8,  # the noise of the model
}


def stream(seed, name, *more):
    """A random generator that depends on the seed, the name, and the further numbers."""
    return np.random.default_rng([seed, STREAMS[name], *more])


@dataclass(frozen=True)
class VAEConfig:
    """The options of a model; the defaults give the model of Zeldes 2018.

    encoder_layers, decoder_layers and classifier_layers are the widths of the hidden layers; ()
    means that there is none. An option that the others make meaningless, such as decoder_std with
    the bernoulli likelihood, is ignored. Raises ConfigError.
    """

    data_dim: int = 784
    latent_dim: int = 10
    encoder_layers: tuple[int, ...] = (128,)
    decoder_layers: tuple[int, ...] = (128,)
    activation: str = "sigmoid"
    likelihood: str = "gaussian"
    decoder_std: float = 0.5  # σ of p(x|z), only for "gaussian"
    decoder_output: str = "sigmoid"  # from the decoder's last layer to the Gaussian's mean
    num_classes: int = 10  # 0: a plain VAE
    classifier_layers: tuple[int, ...] = (128,)
    classifier_weight: float = 10.0
    label_gradient: bool = True  # False: the reconstruction does not train the classifier
    var_floor: float = 1e-5
    beta: float = 1.0  # the weight of the KL
    bound: str = "elbo"  # from the cost of each example to the loss

    def __post_init__(self):
        checked = {
            "data_dim": integer("data_dim", self.data_dim, 1),
            "latent_dim": integer("latent_dim", self.latent_dim, 1),
            "num_classes": integer("num_classes", self.num_classes, 0),
        }
        for name in ("encoder_layers", "decoder_layers", "classifier_layers"):
            widths = getattr(self, name)
            if not isinstance(widths, (tuple, list)):
                raise ConfigError(f"{name}={widths!r}: a tuple of widths, () for a linear network")
            checked[name] = tuple(integer(name, width, 1) for width in widths)
        for name in ("decoder_std", "classifier_weight", "var_floor", "beta"):
            checked[name] = number(name, getattr(self, name))
        if not 1e-15 <= checked["decoder_std"] <= 1e15:  # so that its square fits into float32
            raise ConfigError(f"decoder_std={self.decoder_std}: a number from 1e-15 to 1e15")
        if not isinstance(self.label_gradient, (bool, np.bool_)):
            raise ConfigError(f"label_gradient={self.label_gradient!r}: True or False")
        checked["label_gradient"] = bool(self.label_gradient)
        choice("activation", self.activation, ACTIVATIONS)
        choice("likelihood", self.likelihood, LIKELIHOODS)
        choice("decoder_output", self.decoder_output, OUTPUTS)
        choice("bound", self.bound, BOUNDS)
        # Python's own numbers, because a NumPy float64 would turn a float32 model into float64.
        for name, value in checked.items():
            object.__setattr__(self, name, value)
