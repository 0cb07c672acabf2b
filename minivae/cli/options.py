"""The commands of `minivae`, and their options."""

import argparse
import contextlib
import math

from .. import __version__
from ..distributions import LIKELIHOODS
from ..networks import ACTIVATIONS, OUTPUTS
from ..runs.options import Options

DATA_DIR = "folder of MNIST's four files [$MINIVAE_DATA, else a cache and a download]"
DEVICE = "the device; auto: the GPU, or the CPU and why"
MACHINES = ("cpu:float32", "cpu:float64", "gpu:float32", "gpu:float64")
DIGIT: dict = {"type": int, "choices": range(10), "metavar": "0…9"}


def typed_options(parsed):
    """{name: value} of those Options of a run that were typed."""
    return {name: x for name, x in vars(parsed).items() if hasattr(Options, name) and x is not None}


def parser():
    """An option that a run keeps is None if it is not typed; Options has the defaults."""
    top = argparse.ArgumentParser(prog="minivae", description="A variational autoencoder by hand.")
    top.add_argument("--version", action="version", version=f"minivae {__version__}")
    commands = top.add_subparsers(required=True, metavar="command", dest="command")

    def begin(name, module, help, more="."):
        """A new command, which NAME_command of the file `module` runs -> what adds an option."""
        description = help[0].upper() + help[1:] + more
        made = commands.add_parser(name, help=help, description=description)
        made.add_argument("--debug", action="store_true", help="show where an error comes from")
        made.set_defaults(module=module)

        def add(flag, help, shown=None, **how):
            kept = getattr(Options, flag[2:].replace("-", "_"), None)
            default = shown or how.get("default", kept)  # what the help gives as the default
            if default is not None:
                help = f"{help} [{default}]".strip()
            made.add_argument(flag, help=help, **how)

        return add

    add = begin(
        "train", "train", "train a model and leave a run folder",
        ": its weights, history and pictures.")
    add("data", "strokes are made on the spot (default); mnist is found or downloaded", nargs="?",
        choices=("strokes", "mnist"))
    add("--epochs", "passes over the training images", type=count)
    add("--batch-size", "images a step", type=count)
    add("--lr", "learning rate of Adam", type=rate)
    add_model_options(add)
    add("--holdout", "first training images for validation", "mnist 5000, strokes 0", type=int)
    add("--seed", "of the weights, the batches and the noise", type=seed)
    add("--dtype", "of the arithmetic", choices=("float32", "float64"))
    add("--device", DEVICE, choices=("cpu", "gpu", "auto"), default="cpu")
    add("--data-dir", DATA_DIR, metavar="DIR")
    add("--out", "the run folder, a new one", "runs/DATA, runs/DATA-2, …", type=name, metavar="DIR")
    add("--overwrite", "replace the run folder --out names", action="store_true")
    add("--resume", "continue a run, with its options or more --epochs", type=name, metavar="RUN")

    add = begin(
        "gradcheck", "study", "check every gradient by the complex step and central differences",
        ": those of every pair of functions, and of every tensor of a model with weights from the "
        "seed, on images of strokes. A row of the tables is a tensor: its entry that is furthest "
        "off by the complex step, with its numbers; `error` is max|analytic − numeric| over the "
        "entries, relative to the tensor's largest. `random direction` moves all parameters at "
        "once. The numeric derivatives are always the CPU's, in double precision. Where only the "
        "central difference disagrees, the table says why; this is not a failure. Exit status 1 if "
        "any fails.")
    add_model_options(add, likelihood="each in its turn")
    add("--batch-size", "images", type=count, default=4)
    add("--entries", "of each tensor, the largest and others at random", type=count, default=50)
    add("--seed", "of the weights, the images, the noise and the entries", type=seed, default=0)
    add("--dtype", "of the gradient", choices=("float64", "float32"), default="float64")
    add("--device", DEVICE, choices=("cpu", "gpu", "auto"), default="cpu")
    add("--json", "write the rows of the tables", metavar="FILE")
    add("--figure", "draw error by step size (last likelihood), a PNG", type=png, metavar="FILE")

    add = begin(
        "trace", "study", "one batch through the model: every equation with its numbers",
        ", forward and then backward, its line of source, and the range of what it gives. Beside a "
        "gradient's largest entry stands the derivative by its definition (complex step, double "
        "precision). The images are strokes. Exit status 1 if a gradient is wrong.")
    add("run", "a run folder", "a model with weights from the seed", nargs="?", metavar="RUN")
    add_model_options(add)
    add("--batch-size", "images", type=count, default=4)
    add("--seed", "of weights, images and noise", type=seed, default=0)
    add("--out", "write the same as a page for a browser, such as trace.html", metavar="FILE")

    add = begin(
        "lockstep", "study", "train on two devices, or in two dtypes, and compare every number",
        ", in the order of the computation: values of forward, gradients (d), weights. Both models "
        "have the same weights, batches and noise, on images of strokes. An error is max|a − b|, "
        "relative to the tensor's largest number. Exit status 1 if one is beyond the tolerance.")
    add("--steps", "", type=count, default=100)
    add("--first", "", choices=MACHINES, default="cpu:float64")
    add("--second", "", "gpu:float64, without a GPU cpu:float32", choices=MACHINES)
    add("--tolerance", "", "1e-9 between two float64, otherwise none: only reported", type=rate)
    add("--batch-size", "images a step", type=count)
    add("--lr", "learning rate of Adam", type=rate)
    add("--seed", "of the weights, the images, the batches and the noise", type=seed)
    add_model_options(add)

    runs = {}
    add = runs["sample"] = begin(
        "sample", "pictures", "draw digits that nobody wrote", ": decode z ~ N(0, I).")
    add("--digit", "the digit asked for, of a model with classes", "each in its turn", **DIGIT)
    add("--n", "number of samples, at most 400", type=samples, default=30)
    add("--seed", "of z", type=seed, default=0)

    add = runs["reconstruct"] = begin("reconstruct", "pictures", "test images, encoded and decoded")
    add("--n", "images of each digit, the first ones", type=tiles, default=2)

    add = runs["traverse"] = begin(
        "traverse", "pictures", "what each latent dimension does",
        " when it moves from −2.5 to 2.5: a row for each, the one of the largest KL first.")
    add("--digit", "start from the first test image of this digit", default=7, **DIGIT)
    add("--n", "dimensions at most", type=tiles, default=20)

    add = runs["interpolate"] = begin(
        "interpolate", "pictures", "the way from one digit to another",
        ": two test images with their codes mixed, and under each row with their pixels mixed.")
    add("--from", "the digit to start from", default=3, dest="from_digit", **DIGIT)
    add("--to", "the digit to end at", default=8, dest="to_digit", **DIGIT)
    add("--n", "pairs, of the first test images of the two digits", type=tiles, default=3)

    add = runs["evaluate"] = begin(
        "evaluate", "pictures", "the test numbers of a saved run",
        ", their standard errors, and a picture of them by digit.")
    add("--samples", "estimate log p(x) by S samples an image, of q(z|x) and of the prior; fewer "
        "than 10 effective samples give only a lower bound", "not done", type=count, metavar="S")
    add("--images", "for --samples: the first N test images", type=count, default=100, metavar="N")
    add("--seed", "of the noise", "the run's", type=seed)
    add("--device", DEVICE, choices=("cpu", "gpu", "auto"), default="cpu")

    for command, add in runs.items():
        add("run", "a run folder of minivae train", metavar="RUN")
        if command != "sample":
            add("--data-dir", DATA_DIR, metavar="DIR")
        add("--out", "the picture, a PNG", f"RUN/figures/{command}.png", type=png, metavar="FILE")
    return top


def add_model_options(add, likelihood=None):
    add("--latent", "latent dimensions", type=count)
    add("--hidden", "widths of the hidden layers of encoder and classifier, mirrored in the "
        "decoder; none: a linear model", "128", type=widths, metavar="N,N,…")
    add("--activation", "of the hidden layers", choices=ACTIVATIONS)
    add("--likelihood", "p(x|z)", likelihood, choices=LIKELIHOODS)
    add("--decoder-std", "σ of the gaussian p(x|z), in grey levels of [0, 1]", type=float)
    add("--decoder-output", "from the decoder's last layer to the gaussian's mean", choices=OUTPUTS)
    add("--beta", "weight of the KL", type=float)
    flag: dict = {"action": "store_true", "default": None}
    add("--no-classifier", "a plain VAE, which sees no labels", **flag)
    add("--cut-label-gradient", "keep the reconstruction's gradient out of the classifier", **flag)


def checked(read, fits, allowed):
    """The type of an option: what `read` makes of the text, refused where it does not fit."""

    def typed(text):
        with contextlib.suppress(ValueError):
            if fits(value := read(text)):
                return value
        raise argparse.ArgumentTypeError(allowed)

    return typed


def whole(least, most):
    return checked(int, lambda n: least <= n <= most, f"whole numbers from {least} to {most}")


count, seed, samples, tiles = whole(1, 10**9), whole(0, 2**64), whole(1, 400), whole(1, 40)
rate = checked(float, lambda x: 0 < x < math.inf, "a finite number above 0")
name = checked(str, bool, "a folder's name")
png = checked(str, lambda text: text.endswith(".png"), "a name that ends in .png")


def widths(text):
    """"500,200" -> (500, 200), "none" -> ()."""
    return () if text == "none" else tuple(count(width) for width in text.split(","))
