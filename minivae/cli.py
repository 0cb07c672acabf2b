"""The command line: the commands and their options."""

import argparse
import io
import math
import os
import re
import sys

from . import __version__, runs
from .commands import gradcheck_command, lockstep_command, trace_command, train_command
from .config import VAEConfig
from .distributions import LIKELIHOODS
from .errors import ConfigError, MinivaeError
from .layers import ACTIVATION_PAIRS, OUTPUT_PAIRS
from .record import OPTIONS
from .references import ARTICLE

DATA_DIR = "folder of MNIST's four files [$MINIVAE_DATA, else a cache and a download]"
DIGIT: dict = {"type": int, "choices": range(10), "metavar": "0…9"}
MACHINE = re.compile("(cpu|gpu):(float32|float64)")


def main(argv=None):
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where there is no σ, print ?
    options = parser().parse_args(argv)
    options.given = vars(parser(defaults=False).parse_args(argv))
    try:
        options.command(options)
        print(end="", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _let_go_of_stdout()  # who read it has left: quietly so do we
        sys.exit(1)
    except (MinivaeError, OSError, MemoryError) as error:
        if options.debug:
            raise
        if isinstance(error, OSError) and not isinstance(error, MinivaeError):
            _let_go_of_stdout()  # it may be what is full
        what = "out of memory: " if isinstance(error, MemoryError) else ""
        said = f"minivae: {what}{error}".replace("\n", " ")
        if isinstance(error, ConfigError):
            print(said, file=sys.stderr)
            sys.exit(2)
        sys.exit(said)


def _let_go_of_stdout():
    """Python flushes it at the end, and would complain again."""
    if sys.stdout:  # None where it was closed from the start
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(defaults=True):
    """defaults=False: an option of `train` that is not typed is None."""
    top = argparse.ArgumentParser(prog="minivae", description="A variational autoencoder by hand.")
    top.add_argument("--version", action="version", version=f"minivae {__version__}")
    commands = top.add_subparsers(required=True, metavar="command")

    def begin(name, command, help, description):
        made = commands.add_parser(name, help=help, description=description)
        made.set_defaults(command=command)
        return made.add_argument

    add = begin(
        "train", train_command, "train a model and leave a run folder",
        "Train a model and leave a run folder: its weights, history and pictures.")
    add("data", nargs="?", default="strokes", choices=("strokes", "mnist"),
        help="strokes are made on the spot (default); mnist is found or downloaded")
    add("--epochs", type=count, default=ARTICLE.epochs,
        help="passes over the training images [%(default)s]")
    add_steps(add)
    add_model_options(add, VAEConfig.likelihood, "%(default)s")
    add("--holdout", type=int, metavar="N",
        help="first training images kept for validation [mnist 5000, strokes 0]")
    add("--seed", type=seed, default=0,
        help="of the weights, the batches and the noise [%(default)s]")
    add("--dtype", choices=("float32", "float64"), default="float32",
        help="of the arithmetic [%(default)s]")
    add_device(add)
    add("--data-dir", metavar="DIR", help=DATA_DIR)
    add("--out", type=name, metavar="DIR",
        help="the run folder, a new one [runs/DATA, runs/DATA-2, …]")
    add("--overwrite", action="store_true", help="replace the run folder --out names")
    add("--resume", type=name, metavar="RUN",
        help="go on with a run that was stopped, with its own options; --epochs may be more")
    if not defaults:
        commands.choices["train"].set_defaults(**dict.fromkeys(OPTIONS))

    add = begin(
        "gradcheck", gradcheck_command,
        "hold every gradient against the complex step and central differences",
        "Check the gradient of every pair of functions, and of every tensor of a model "
        "with weights from the seed, on images of strokes. A row of the tables is a tensor: its "
        "entry that is furthest off by the complex step, with its numbers; `error` is "
        "max|analytic − numeric| over the entries, relative to the tensor's largest. `random "
        "direction` moves all parameters at once. An entry whose step of 1e-4 crosses the kink of "
        "a ReLU has no central difference: such entries are counted, and compared with the complex "
        "step only. Exit status 1 if any fails.")
    add_model_options(add, None, "each in its turn")
    add("--batch-size", type=count, default=4, help="images [%(default)s]")
    add("--entries", type=count, default=50,
        help="of each tensor, the largest gradient and others at random [%(default)s]")
    add("--seed", type=seed, default=0,
        help="of the weights, the images, the noise and the entries [%(default)s]")
    add("--dtype", choices=("float64", "float32"), default="float64",
        help="of the gradient; the numbers beside it are always in double precision [%(default)s]")
    add_device(add, " of the model's gradients; the numbers beside them are the CPU's")
    add("--json", metavar="FILE", help="write the rows of the tables")
    add("--figure", type=png, metavar="FILE",
        help="draw the error against the step size, for the last likelihood; a PNG file")

    add = begin(
        "trace", trace_command, "one batch through the model: every equation with its numbers",
        "Send a few images of strokes through a model, and print each line of the mathematics, "
        "forward and then backward: equation, line of source, and the range of what it gives. "
        "Beside a gradient's largest entry stands the derivative by its definition (complex step, "
        "double precision); `error` is relative, of that entry or of all moved at once in a random "
        "direction, the larger. Exit status 1 if one is beyond 1e-10.")
    add("run", nargs="?", metavar="RUN",
        help="a run folder of minivae train [a model with weights from the seed]")
    add_model_options(add, VAEConfig.likelihood, "%(default)s")
    add("--batch-size", type=count, default=4, help="images [%(default)s]")
    add("--seed", type=seed, default=0, help="of weights, images and noise [%(default)s]")
    add("--out", metavar="FILE", help="write the same as a page for a browser, such as trace.html")

    add = begin(
        "lockstep", lockstep_command,
        "train on two devices, or in two dtypes, and compare every number",
        "Train two models with the same weights, batches and noise, on images of "
        "strokes, and print how far apart they are: every value of forward, every gradient (d), "
        "every weight, in the order of the computation. An error is max|a − b|, relative to the "
        "tensor's largest number. Exit status 1 if one is beyond the tolerance.")
    add("--steps", type=count, default=100, help="[%(default)s]")
    add("--first", type=machine, default="cpu:float64", metavar="DEVICE:DTYPE",
        help="cpu or gpu, float32 or float64 [%(default)s]")
    add("--second", type=machine, metavar="DEVICE:DTYPE",
        help="[gpu:float64, without a GPU cpu:float32]")
    add("--tolerance", type=rate, help="[1e-9 between two float64, otherwise none: only reported]")
    add_steps(add)
    add("--seed", type=seed, default=0,
        help="of the weights, the images, the batches and the noise [%(default)s]")
    add_model_options(add, VAEConfig.likelihood, "%(default)s")

    add = begin(
        "sample", runs.sample_command, "draw digits that nobody wrote",
        "Decode z ~ N(0, I): digits that nobody wrote.")
    add("--digit", **DIGIT, help="the digit asked for, of a model with classes [each in its turn]")
    add("--n", type=samples, default=30, help="number of samples, at most 400 [%(default)s]")
    add("--seed", type=seed, default=0, help="of z [%(default)s]")

    add = begin(
        "reconstruct", runs.reconstruct_command, "test images, encoded and decoded",
        "Test images, and under each what is decoded from the mean of its code.")
    add("--n", type=tiles, default=2, help="images of each digit, the first ones [%(default)s]")

    add = begin(
        "traverse", runs.traverse_command, "what each latent dimension does",
        "Move one latent dimension of an image's code from −2.5 to 2.5 and decode: a row a "
        "dimension, that of the largest KL first.")
    add("--digit", **DIGIT, default=7,
        help="start from the first test image of this digit [%(default)s]")
    add("--n", type=tiles, default=20, help="dimensions at most [%(default)s]")

    add = begin(
        "interpolate", runs.interpolate_command, "the way from one digit to another",
        "Decode the codes on the straight line between those of two test images; under each row "
        "the pixels of the two, mixed in the same parts.")
    add("--from", **DIGIT, default=3, dest="from_digit",
        help="the digit to start from [%(default)s]")
    add("--to", **DIGIT, default=8, dest="to_digit", help="the digit to end at [%(default)s]")
    add("--n", type=tiles, default=3,
        help="pairs, of the first test images of the two digits [%(default)s]")

    add = begin(
        "evaluate", runs.evaluate_command, "the test numbers of a saved run",
        "The means over the test set and their standard errors, in nats an image but for sse "
        "(squared grey levels an image) and accuracy (a fraction); and a picture of them by digit.")
    add("--samples", type=count, metavar="S",
        help="estimate log p(x) by S samples an image, of q(z|x) and of the prior; an estimate "
        "with fewer than 10 effective samples is below log p(x) by an unknown amount, a lower "
        "bound only [not done]")
    add("--images", type=count, default=100, metavar="N",
        help="with --samples: of the first N test images [%(default)s]")
    add("--seed", type=seed, help="of the noise [the run's]")
    add_device(add)

    for command in ("sample", "reconstruct", "traverse", "interpolate", "evaluate"):
        add = commands.choices[command].add_argument
        add("run", metavar="RUN", help="a run folder of minivae train")
        if command != "sample":
            add("--data-dir", metavar="DIR", help=DATA_DIR)
        add("--out", type=png, metavar="FILE",
            help=f"the picture, a PNG [RUN/figures/{command}.png]")
    for each in commands.choices.values():
        each.add_argument("--debug", action="store_true", help="show where an error comes from")
    return top


def add_steps(add):
    add("--batch-size", type=count, default=ARTICLE.batch_size, help="images a step [%(default)s]")
    add("--lr", type=rate, default=ARTICLE.lr, help="learning rate of Adam [%(default)s]")


def add_device(add, what=""):
    add("--device", choices=("cpu", "gpu", "auto"), default="cpu",
        help=f"the device{what}; auto: the GPU, or the CPU and why [%(default)s]")


def add_model_options(add, likelihood, default):
    add("--latent", type=count, default=VAEConfig.latent_dim,
        help="latent dimensions [%(default)s]")
    add("--hidden", type=widths, default=VAEConfig.encoder_layers, metavar="N,N,…",
        help="widths of the hidden layers of encoder and classifier, mirrored in the decoder; "
        "none: a linear model [128]")
    add("--activation", choices=ACTIVATION_PAIRS, default=VAEConfig.activation,
        help="of the hidden layers [%(default)s]")
    add("--likelihood", choices=LIKELIHOODS, default=likelihood, help=f"p(x|z) [{default}]")
    add("--decoder-std", type=float, default=VAEConfig.decoder_std,
        help="σ of the gaussian p(x|z), in grey levels of [0, 1] [%(default)s]")
    add("--decoder-output", choices=OUTPUT_PAIRS, default=VAEConfig.decoder_output,
        help="from the decoder's last layer to the gaussian's mean [%(default)s]")
    add("--beta", type=float, default=VAEConfig.beta, help="weight of the KL [%(default)s]")
    add("--no-classifier", action="store_true", help="a plain VAE, which sees no labels")
    add("--cut-label-gradient", action="store_true",
        help="keep the reconstruction's gradient out of the classifier, which then reads better")


def checked(kind, read, fits, needed):
    """The type of an option: what `read` makes of the text, refused where it does not fit."""

    def typed(text):
        value = read(text)
        if not fits(value):
            raise argparse.ArgumentTypeError(needed)
        return value

    typed.__name__ = kind  # as argparse calls it: invalid whole number value
    return typed


def whole(least, most):
    needed = f"whole numbers from {least} to {most}"
    return checked("whole number", int, lambda n: least <= n <= most, needed)


count, seed, samples, tiles = whole(1, 10**9), whole(0, 2**64), whole(1, 400), whole(1, 40)
machine = checked("machine", str, MACHINE.fullmatch, "cpu or gpu, a colon, float32 or float64")
rate = checked("rate", float, lambda x: 0 < x < math.inf, "a finite number above 0")
name = checked("name", str, bool, "a folder's name")
png = checked("name", str, lambda text: text.endswith(".png"), "a name that ends in .png")


def widths(text):
    """"500,200" -> (500, 200), "none" -> ()."""
    if text == "none":
        return ()
    if not text.replace(",", "").isdecimal():
        raise argparse.ArgumentTypeError("widths like 500,200, or none")
    return tuple(count(width) for width in text.split(","))
