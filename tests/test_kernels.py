"""kernels.py: each twin against the readable function that it repeats, and its text for CUDA."""

import inspect
import os

import numpy as np
import pytest
import standin
import twins

from minivae import distributions, kernels, layers

# An expression is rounded at other places, a sum of 784 numbers in another order: the largest seen
# is 16 roundings of the largest number.
ROUNDINGS = 32


def test_every_twin_has_the_name_and_the_signature_of_a_readable_function():
    functions = {
        name
        for name, function in inspect.getmembers(kernels, inspect.isfunction)
        if function.__module__ == kernels.__name__
    }
    assert functions - set(twins.NAMES) == {"functions", "twin"}
    for name in twins.NAMES:
        signature = inspect.signature(getattr(kernels, name))
        assert signature == inspect.signature(twins.READABLE[name]), name


def close(found, expected, roundings=ROUNDINGS):
    """Equal but for some roundings of the largest finite number; inf and nan at the same places."""
    found, expected = found.get(), np.asarray(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    scale = np.max(np.abs(expected[finite]), initial=0)
    difference = np.max(np.abs(found[finite] - expected[finite]), initial=0)
    assert difference <= roundings * np.finfo(expected.dtype).eps * scale


def compare(name, given, roundings=ROUNDINGS):
    """The twin on the device against the readable function; arrays that are written included."""
    there = {key: twins.on_device(x) for key, x in given.items()}
    with np.errstate(all="ignore"):
        expected = twins.READABLE[name](**given)
    found = getattr(kernels, name)(**there)
    if expected is None:  # the update of Adam: in place
        expected = [given[key] for key in ("theta", "G", "S")]
        found = [there[key] for key in ("theta", "G", "S")]
    if not isinstance(expected, (tuple, list)):
        expected, found = [expected], [found]
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        close(one, other, roundings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", twins.NAMES)
def test_a_twin_gives_what_the_readable_function_gives(name, dtype, device, rng):
    for B, n in [(1, 1), (5, 7), (100, 10), (1, 784), (5, 784)]:
        compare(name, twins.arguments(name, rng, B, n, dtype))
    compare(name, twins.arguments(name, rng, 5, 7, dtype, extreme=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twins_keep_the_digits_of_small_losses(dtype, device):
    """Where a sum is small, a form that only looks the same would give 0."""
    logits = np.array([[-20.0], [-30.0], [-80.0]], dtype)
    for row in logits.reshape(-1, 1, 1):
        compare("bernoulli_nll_forward", {"x": np.zeros_like(row), "logits": row})
    for excess in (1e-3, 1e-2):
        var = np.array([[1 + excess]], dtype)
        found = kernels.gaussian_kl_forward(*map(twins.on_device, (np.zeros_like(var), var)))
        exact = float(var[0, 0]) - 1
        exact = (exact - np.log1p(exact)) / 2
        assert found.get()[0] == pytest.approx(exact, rel=float(4 * np.finfo(dtype).eps / excess))


def test_a_twin_takes_slices_of_wider_arrays(device, rng):
    """As np.split makes them of the code's gradient, and .T of a product's."""
    wide = rng.standard_normal((5, 9))
    probs = rng.dirichlet(np.ones(4), 5)
    expected = layers.softmax_backward(wide[:, 5:], probs)
    close(kernels.softmax_backward(twins.on_device(wide)[:, 5:], twins.on_device(probs)), expected)
    slices = twins.on_device(wide)[:, 5:], twins.on_device(probs), twins.on_device(wide)[:, :4]
    expected = distributions.reparameterize_backward(wide[:, 5:], probs, wide[:, :4])
    close(kernels.reparameterize_backward(*slices)[1], expected[1])
    tall = np.ascontiguousarray(wide.T)
    close(kernels.softmax_forward(twins.on_device(tall).T), layers.softmax_forward(wide))
    expected = distributions.gaussian_kl_forward(wide[:, :4], probs)
    close(kernels.gaussian_kl_forward(slices[2], slices[1]), expected)


def test_functions_gives_the_twins_to_real_numbers_on_the_gpu_alone():
    for device, dtype in [("cpu", "float32"), ("gpu", "complex128")]:
        ops = vars(kernels.functions(device, dtype))
        assert all(ops[name] is twins.READABLE[name] for name in twins.NAMES if name in ops)
        assert ops["ACTIVATION_PAIRS"] is layers.ACTIVATION_PAIRS
    ops = kernels.functions("gpu", "float32")
    assert all(getattr(ops, name) is getattr(kernels, name) for name in twins.NAMES[1:])
    for name, pair in ops.ACTIVATION_PAIRS.items():
        assert pair == (getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward"))
    assert ops.OUTPUT_PAIRS["sigmoid"] is ops.ACTIVATION_PAIRS["sigmoid"]
    assert ops.linear_forward is layers.linear_forward


@pytest.fixture(scope="session")
def nvrtc():
    """NVIDIA's compiler and CuPy's headers: both need no GPU."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy_backends.cuda.libs import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"no NVRTC, pip install nvidia-cuda-nvrtc: {type(error).__name__}")
    return nvrtc, os.path.join(os.path.dirname(cupy.__file__), "_core", "include")


@pytest.mark.parametrize(
    "architecture, contiguous", [("75", True), ("75", False), ("90", True), ("100", True)]
)
def test_every_kernel_compiles_for_cuda_without_a_gpu(architecture, contiguous, nvrtc, recorded):
    """Within CuPy's own headers, its arrays as it passes them, float and double."""
    library, include = nvrtc
    text = "".join(f"#include <cupy/{name}.cuh>\n" for name in ("complex", "carray", "atomics"))
    for n, kernel in enumerate(recorded.kernels.values()):
        for T in standin.FLOATS:
            text += kernel.cuda_text(np.dtype(T), f"kernel{n}_{T}", contiguous)
    program = library.createProgram(text, "kernels.cu", (), ())
    folders = ["", *(f"/cupy/_cccl/{name}" for name in ("libcudacxx", "thrust", "cub"))]
    options = [f"--gpu-architecture=sm_{architecture}", "-std=c++17"]
    try:
        library.compileProgram(program, (*options, *(f"-I{include}{path}" for path in folders)))
    except Exception as error:
        raise AssertionError(library.getProgramLog(program)[:4000]) from error
    assert library.getCUBIN(program)
    entries = library.getPTX(program).decode().split(".visible .entry ")[1:]
    assert len(entries) == 2 * len(recorded.kernels)
    for entry in entries:
        # One constant without T( ) would make a float's kernel compute in double, 64 times slower.
        assert ".f64" not in entry or "_float64(" in entry.partition("\n")[0], entry
