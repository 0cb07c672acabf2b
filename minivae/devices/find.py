"""Find the device to compute on: the CPU, or a GPU that CuPy can use."""

import contextlib
import functools
import importlib.util
import platform

import numpy as np

from ..errors import ConfigError, DeviceError


def find(device):
    """"cpu", "gpu" or "auto" -> "cpu" or "gpu"; "auto" is the GPU if there is one that works.

    Raises DeviceError, with the reason and the remedy, if "gpu" cannot be used.
    """
    if device not in ("cpu", "gpu", "auto"):
        raise ConfigError(f"device={device!r}: cpu, gpu or auto")
    if device == "auto":
        return "cpu" if fault() else "gpu"
    if device == "gpu":
        prove()
    return device


def choose(device):
    """As find, for a command: prints which GPU it is, or why "auto" is the CPU."""
    found = find(device)
    if found == "gpu":
        print(describe(found))
    elif device == "auto":
        print(f"{fault()}; so the CPU is used")
    return found


def fault():
    """Why no GPU can be used, and what to do about it; None if one has proved that it works."""
    try:
        prove()
    except DeviceError as error:
        return str(error)
    return None


@functools.cache  # only success is remembered: a GPU that is full now may be free later
def prove():
    """Let the GPU compute something; raises DeviceError with the reason and the remedy."""
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError(
            'no GPU: CuPy is not installed; pip install "minivae[gpu]" for a driver with CUDA 13, '
            '"minivae[gpu12]" for one with CUDA 12'
        )
    with _failing("CuPy does not import", "pip list must show a single CuPy wheel"):
        import cupy
    remedy = "nvidia-smi must show a device, and the CUDA version of CuPy's wheel or a newer one"
    with _failing("the driver does not answer", remedy):
        count = cupy.cuda.runtime.getDeviceCount()
    if count == 0:
        remedy = "look at CUDA_VISIBLE_DEVICES and at nvidia-smi"
        raise DeviceError(f"no GPU: the driver shows no device; {remedy}")
    remedy = 'if a CUDA library is missing, pip install "cupy-cuda13x[ctk]", or 12x, adds them'
    with _failing("the first product fails", remedy):
        with _failing("its memory is full", "nvidia-smi shows who uses it", MemoryError):
            a = cupy.asarray(np.arange(4.0).reshape(2, 2)) + 1  # a kernel, compiled here
            found = (a @ a).get().tolist()  # cuBLAS
    if found != [[7, 10], [15, 22]]:
        raise DeviceError(f"no GPU: it multiplies wrongly ({found}); try another device")


@contextlib.contextmanager
def _failing(reason, remedy, kind=Exception):
    try:
        yield
    except DeviceError:
        raise
    except kind as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise DeviceError(f"no GPU: {reason} ({said}); {remedy}") from error


def synchronize(device):
    """Wait until the device has finished its work."""
    if device == "gpu":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def describe(device):
    """The device and the library that computes on it, in one line."""
    if device == "cpu":
        return f"cpu, {platform.processor() or platform.machine()}, NumPy {np.__version__}"
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    version = cupy.cuda.runtime.runtimeGetVersion()
    return f"gpu, {name}, CuPy {cupy.__version__}, CUDA {version // 1000}.{version % 1000 // 10}"
