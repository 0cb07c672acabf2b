"""What the numbered examples share: the data, and the numbers that each is held to.

    MINIVAE_FAST=1 python examples/NAME.py      a few seconds
    python examples/NAME.py                     at most three minutes

The data are MNIST where the variable MINIVAE_DATA names its folder, otherwise strokes. A protocol
is thus one of "mnist", "mnist quick", "strokes", "strokes quick". A number that is missed is said,
and the script exits with 1. Pictures are written into the folder in which the script is started.
"""

import os
import sys

from minivae import datasets, plots

QUICK = os.environ.get("MINIVAE_FAST") == "1"
DATA = "mnist" if os.environ.get("MINIVAE_DATA") else "strokes"
PROTOCOL = f"{DATA} quick" if QUICK else DATA
PROTOCOLS = ("mnist", "mnist quick", "strokes", "strokes quick")


def load(train=None, test=None):
    """(images, labels) for training and for the test, at most so many of each."""
    found = (datasets.load(DATA, split) for split in ("train", "test"))
    return [(images[:n], labels[:n]) for (images, labels), n in zip(found, (train, test))]


class Numbers:
    """Numbers beside those expected; leave() exits with 1 where one was missed."""

    def __init__(self, data=DATA):
        self.protocol = PROTOCOL.replace(DATA, data)  # of an example that has data of its own
        self.missed = []
        print(f"protocol: {self.protocol}\n{'':44} {'here':>12} {'expected':>12}")

    def hold(self, what, value, expected, within):
        """Print the value; it has to be expected ± within. Either may be a dict by protocol."""
        pair = expected, within
        expected, within = (x[self.protocol] if isinstance(x, dict) else x for x in pair)
        verdict = "" if abs(value - expected) <= within else "  MISSED"
        print(f"{what:44} {value:12.5g} {expected:12.5g} ± {within:.2g}{verdict}")
        if verdict:
            self.missed.append(what)

    def hold_all(self, found, table):
        """found {what: value}, table {what: (expected, within) for each of PROTOCOLS}."""
        for what, value in found.items():
            self.hold(what, value, *table[what][PROTOCOLS.index(self.protocol)])

    def leave(self):
        if self.missed:
            sys.exit(f"missed: {', '.join(self.missed)}")


def save(figure, name):
    print(plots.save(figure, f"{name}.png"))
