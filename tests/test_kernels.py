"""devices/cpu.py and cuda.py: each function against the lesson's, and the kernels as CUDA."""

import inspect
import os

import numpy as np
import pytest
import standin
import twins
from models import MODELS, case

from minivae import distributions, layers
from minivae.devices import cpu, cuda, memory, readable

DTYPES = ["float32", "float64"]
MODULES = {"cpu": cpu, "stand-in": cuda, "gpu": cuda}
VERSIONS = [(machine, name) for machine in MODULES for name in twins.names(MODULES[machine])]
# On the CPU these do the lesson's operations in the lesson's order, only in place. Of the others,
# the sigmoid's backward multiplies in another order, the squared error is summed in another order,
# and Adam's corrections of m and v are collected in two numbers.
SAME_BITS = set(twins.names(cpu)) - {"sigmoid_backward", "squared_error_forward", "adam_update"}
# Elsewhere an expression is rounded at other places, and a sum of 784 numbers is taken in another
# order: the largest difference seen is 16 roundings of the largest number.
ROUNDINGS = 32


@pytest.fixture
def machine(request):
    """The module with the faster functions, and the device on which they compute."""
    if request.param != "cpu":
        request.getfixturevalue("gpu" if request.param == "gpu" else "cupy_with_kernels")
    return MODULES[request.param], "cpu" if request.param == "cpu" else "gpu"


machines = pytest.mark.parametrize("machine", MODULES, indirect=True)
versions = pytest.mark.parametrize("machine, name", VERSIONS, indirect=["machine"])


@pytest.mark.parametrize("module", [cpu, cuda], ids=["cpu", "cuda"])
def test_every_function_has_the_name_and_the_signature_of_a_readable_one(module):
    own = inspect.getmembers(module, inspect.isfunction)
    own = {name for name, function in own if function.__module__ == module.__name__}
    assert own - {"fused", "summed"} == set(twins.names(module))
    for name in twins.names(module):
        signature = inspect.signature(getattr(module, name))
        assert signature == inspect.signature(twins.READABLE[name]), name


def close(found, expected, roundings):
    """Equal but for some roundings of the largest finite number; inf and nan at the same places."""
    found, expected = memory.get(found), np.asarray(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if roundings == 0:
        return np.testing.assert_array_equal(found, expected)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    scale = np.max(np.abs(expected[finite]), initial=0)
    difference = np.max(np.abs(found[finite] - expected[finite]), initial=0)
    assert difference <= roundings * np.finfo(expected.dtype).eps * scale


def compare(machine, name, given):
    """The faster function against the readable one; arrays that are written included."""
    module, device = machine
    there = {key: twins.put(np.copy(x) if np.ndim(x) else x, device) for key, x in given.items()}
    if name != "adam_update" and device == "cpu":
        for x in there.values():  # no function changes an array that it did not create
            if isinstance(x, np.ndarray):
                x.flags.writeable = False
    with np.errstate(all="ignore"):
        found = getattr(module, name)(**there)
        expected = twins.READABLE[name](**given)
    if expected is None:  # Adam's update works in place
        expected, found = ([x[key] for key in ("theta", "m", "v")] for x in (given, there))
    if not isinstance(expected, (tuple, list)):
        expected, found = [expected], [found]
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        close(one, other, 0 if module is cpu and name in SAME_BITS else ROUNDINGS)


@pytest.mark.parametrize("dtype", DTYPES)
@versions
def test_a_faster_function_gives_what_the_readable_one_gives(machine, name, dtype, rng):
    for B, n in [(1, 1), (5, 7), (100, 10), (1, 784), (5, 784)]:
        compare(machine, name, twins.arguments(name, rng, B, n, dtype))
    compare(machine, name, twins.arguments(name, rng, 5, 7, dtype, extreme=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "machine, name", [case for case in VERSIONS if "relu" in case[1]], indirect=["machine"]
)
def test_relu_of_values_that_are_not_finite(machine, name, dtype):
    """A kernel that multiplies by a truth value would make NaN of 0 · inf."""
    a = np.array([[-np.inf, -1, 0, 1, np.inf, np.nan]], dtype)
    given = {"a": a} if name.endswith("forward") else {"dh": a, "h": np.flip(a[:, :5])}
    if name.endswith("backward"):  # on the CPU, where speed decided, only finite dh are masked
        given["dh"] = a[:, 1:4] if machine[1] == "cpu" else a[:, :5]
        given["h"] = given["h"][:, : given["dh"].shape[1]]
    compare(machine, name, given)


@machines
@pytest.mark.parametrize("dtype", DTYPES)
def test_they_keep_the_digits_of_small_losses(dtype, machine):
    """Where a sum is small, a form that only looks the same would give 0."""
    logits = np.array([[-20.0], [-30.0], [-80.0]], dtype)
    for row in logits.reshape(-1, 1, 1):
        compare(machine, "bernoulli_nll_forward", {"x": np.zeros_like(row), "logits": row})
    module, device = machine
    for excess in (1e-3, 1e-2):
        var = np.array([[1 + excess]], dtype)
        given = np.zeros_like(var), var
        found = module.gaussian_kl_forward(*(twins.put(x, device) for x in given))
        exact = float(var[0, 0]) - 1
        exact = (exact - np.log1p(exact)) / 2
        error = float(4 * np.finfo(dtype).eps / excess)
        assert memory.get(found)[0] == pytest.approx(exact, rel=error)


@pytest.mark.parametrize("dtype", DTYPES)
@machines
def test_a_hundred_steps_of_adam(machine, dtype, rng):
    """m and v have the lesson's values too, so that a checkpoint of one device fits the other."""
    module, device = machine
    eps = np.finfo(dtype).eps
    start = rng.standard_normal(40).astype(dtype)
    here, there = ([np.copy(start), np.zeros_like(start), np.zeros_like(start)] for _ in range(2))
    there = [twins.put(x, device) for x in there]
    scale = np.logspace(-6, 3, 40)
    for t in range(1, 101):
        g = (scale * rng.standard_normal(40)).astype(dtype)
        for function, (theta, m, v) in ((readable.adam_update, here), (module.adam_update, there)):
            dtheta = twins.put(g, device) if theta is there[0] else g
            function(theta, dtheta, m, v, t, 1e-3, 0.9, 0.999, 1e-8)
    theta, m, v = map(memory.get, there)
    # Each step rounds a few times, θ to a part of itself, m and v to a part of g and g².
    np.testing.assert_allclose(theta, here[0], rtol=0, atol=100 * eps)
    np.testing.assert_allclose(m / scale, here[1] / scale, rtol=0, atol=10 * eps)
    np.testing.assert_allclose(v, here[2], rtol=100 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_the_step_on_the_cpu_is_the_lesson_s_but_for_rounding(name, dtype, monkeypatch):
    monkeypatch.setenv("MINIVAE_OPS", "readable")
    vae, *batch = case(name, dtype=dtype)
    monkeypatch.delenv("MINIVAE_OPS")
    fast, *_ = case(name, dtype=dtype)
    assert (vae.ops.name, fast.ops.name) == ("readable", "cpu")
    for one, other in zip(twins.steps(fast, batch), twins.steps(vae, batch), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            # The sums are short: a few roundings, which the next steps carry on.
            tolerance = 32 * np.finfo(dtype).eps * np.max(np.abs(other[key]))
            np.testing.assert_allclose(value, other[key], rtol=0, atol=tolerance, err_msg=key)


def test_a_kernel_takes_slices_of_wider_arrays(device, rng):
    """As np.split makes them of the code's gradient, and .T of a product's."""
    wide = rng.standard_normal((5, 9))
    probs = rng.dirichlet(np.ones(4), 5)
    there, probs_there = (memory.put(x, "gpu") for x in (wide, probs))
    narrow = there[:, 5:], probs_there, there[:, :4]
    tall = memory.put(np.ascontiguousarray(wide.T), "gpu")
    for found, expected in [
        (cuda.softmax_backward(*narrow[:2]), layers.softmax_backward(wide[:, 5:], probs)),
        (
            cuda.reparameterize_backward(*narrow)[1],
            distributions.reparameterize_backward(wide[:, 5:], probs, wide[:, :4])[1],
        ),
        (cuda.softmax_forward(tall.T), layers.softmax_forward(wide)),
        (
            cuda.gaussian_kl_forward(narrow[2], narrow[1]),
            distributions.gaussian_kl_forward(wide[:, :4], probs),
        ),
    ]:
        close(found, expected, ROUNDINGS)


@pytest.fixture(scope="session")
def nvrtc():
    """NVIDIA's compiler and CuPy's headers; neither needs a GPU."""
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
    """With CuPy's own headers, its arrays as it passes them, float and double."""
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
