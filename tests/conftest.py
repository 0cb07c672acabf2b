"""What the tests share."""

import os
import shutil
import sys

import hypothesis
import numpy as np
import pytest
import standin
import twins

import minivae.devices.ops
from minivae import datasets
from minivae.devices import cuda, find

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=[(5, 4), (1, 4), (5, 1), (1, 1)], ids=str)
def shape(request):
    return request.param


@pytest.fixture
def readable(monkeypatch):
    """The lesson's own functions. The tests of the mathematics use this fixture."""
    monkeypatch.setenv("MINIVAE_OPS", "readable")


@pytest.fixture
def ops(readable):
    """The functions that a model calls, each as the lesson has it."""
    return minivae.devices.ops.pick("cpu", "float64")


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


def forget():
    """Clear what find.py and cuda.py have found and made with another cupy."""
    find.prove.cache_clear()
    cuda.elementwise.cache_clear()
    cuda.row_sum.cache_clear()


@pytest.fixture
def no_cupy_known():
    forget()
    yield
    forget()


@pytest.fixture
def cupy(monkeypatch, no_cupy_known):
    """The stand-in, without kernels, instead of cupy."""
    monkeypatch.setitem(sys.modules, "cupy", standin.module())
    return sys.modules["cupy"]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A compiler that has seen every kernel, so that one run compiles all of them."""
    compiler = standin.Compiler(tmp_path_factory.mktemp("kernels"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", standin.module(compiler))
        patch.setattr(compiler, "dry", True)
        forget()
        for name in twins.names(cuda):
            given = twins.arguments(name, np.random.default_rng(0), 2, 3, "float32")
            getattr(cuda, name)(*(twins.put(x, "gpu") for x in given.values()))
        forget()
    return compiler


@pytest.fixture(scope="session")
def compiler(recorded):
    if not shutil.which("g++"):
        pytest.skip("there is no g++ to compile the kernels for the CPU")
    return recorded


@pytest.fixture
def cupy_with_kernels(monkeypatch, no_cupy_known, compiler):
    """The stand-in, its kernels compiled by g++, instead of cupy."""
    monkeypatch.setitem(sys.modules, "cupy", standin.module(compiler))
    return sys.modules["cupy"]


@pytest.fixture
def gpu(no_cupy_known):
    """The real cupy, where there is a GPU."""
    if find.fault():
        pytest.skip(find.fault())
    import cupy

    return cupy


@pytest.fixture(params=["stand-in", "gpu"])
def device(request):
    """cupy with the kernels: the stand-in, and the real one where there is a GPU."""
    return request.getfixturevalue("gpu" if request.param == "gpu" else "cupy_with_kernels")


def refusal(stop, capsys):
    """The one line that the command line printed when it stopped with exit status 2 or 1."""
    said = stop.value.code if isinstance(stop.value.code, str) else capsys.readouterr().err.rstrip()
    assert stop.value.code == 2 or isinstance(stop.value.code, str)
    assert said.startswith("minivae: ") and "\n" not in said
    return said
