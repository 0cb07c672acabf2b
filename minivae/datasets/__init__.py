"""Data sets: images as rows of pixels, and their labels."""

import os

import numpy as np

from ..errors import DataError
from . import mnist
from .handwriting import strokes

__all__ = ["load", "strokes"]
STROKES = {"train": (20_000, 0), "test": (4_000, 1)}  # number of images, seed


def load(name, split="train", root=None):
    """"mnist" or "strokes", "train" or "test" -> images (N, 784) float32 in [0, 1], labels (N,).

    root: the folder of MNIST's files; None: the folder that the variable MINIVAE_DATA names, and if
    it names none, the user's cache, and then a download. Raises DataError for an unknown name,
    FileError for a file that is missing or damaged.
    """
    if name not in ("mnist", "strokes") or split not in ("train", "test"):
        raise DataError(f"{name!r}, {split!r}: load 'mnist' or 'strokes', 'train' or 'test'")
    if name == "strokes":
        return strokes(*STROKES[split])[:2]
    pixels, labels = mnist.load(split, root or os.environ.get("MINIVAE_DATA"))
    return pixels.reshape(len(pixels), -1) / np.float32(255), labels.astype(np.int64)
