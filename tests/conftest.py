"""What the tests share."""

import os

import hypothesis
import numpy as np
import pytest

from minivae import datasets

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=[(5, 4), (1, 4), (5, 1), (1, 1)], ids=str)
def shape(request):
    return request.param


@pytest.fixture(scope="session")
def mnist():
    """The training and the test set; the tests never download them."""
    if not os.environ.get("MINIVAE_DATA"):
        pytest.skip("MINIVAE_DATA does not name a folder with MNIST's four files")
    return datasets.load("mnist", "train"), datasets.load("mnist", "test")


@pytest.fixture
def few_strokes(monkeypatch):
    """datasets.load("strokes") gives 300 training and 100 test images."""
    monkeypatch.setattr(datasets, "STROKES", {"train": (300, 0), "test": (100, 1)})


def refusal(stop, capsys):
    """What the command line said, in one line, when it refused with 2 or with 1."""
    said = stop.value.code if isinstance(stop.value.code, str) else capsys.readouterr().err.rstrip()
    assert stop.value.code == 2 or isinstance(stop.value.code, str)
    assert said.startswith("minivae: ") and "\n" not in said
    return said
