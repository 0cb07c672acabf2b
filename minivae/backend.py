"""The devices: find a GPU, put arrays there and bring them back.

An array belongs to the library that made it, NumPy on the CPU and CuPy on the GPU, and NumPy's
functions follow it there. So only the lines where an array is born or leaves speak of devices.
"""

import ctypes
import functools
import importlib.util
import platform

import numpy as np

from .errors import ConfigError, DataError, DeviceError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def find(device):
    """"cpu", "gpu" or "auto" -> "cpu" or "gpu"; "auto" is the GPU where there is one to be used.

    Raises DeviceError with the reason and the remedy where "gpu" cannot be had.
    """
    if device not in ("cpu", "gpu", "auto"):
        raise ConfigError(f"device={device!r}: cpu, gpu or auto")
    if device == "auto":
        return "cpu" if fault() else "gpu"
    if device == "gpu":
        prove()
    return device


def choose(device):
    """As find, for a command: prints the GPU, or why "auto" is the CPU."""
    found = find(device)
    if found == "gpu":
        print(describe(found))
    elif device == "auto":
        print(f"{fault()}; so the CPU computes")
    return found


def fault():
    """Why no GPU can be used, and what to do about it; None where one has proved that it can."""
    try:
        prove()
    except DeviceError as error:
        return str(error)
    return None


@functools.cache  # of success alone: a GPU that is full now may be free later
def prove():
    """Have the GPU compute something; raises DeviceError with the reason and the remedy."""
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError(
            'no GPU: CuPy is not installed; pip install "minivae[gpu]" for a driver with CUDA 13, '
            '"minivae[gpu12]" for one with CUDA 12'
        )
    try:
        import cupy
    except Exception as error:
        raise DeviceError(
            f"no GPU: CuPy does not import ({_line(error)}); pip list shows whether two of its "
            "wheels stand side by side: leave one"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        raise DeviceError(
            f"no GPU: the driver does not answer ({_line(error)}); nvidia-smi has to show a device "
            "and the CUDA version that CuPy was built for, or a newer one"
        ) from error
    if count == 0:
        raise DeviceError(
            "no GPU: the driver shows no device; look at CUDA_VISIBLE_DEVICES and at nvidia-smi"
        )
    try:
        a = cupy.asarray(np.arange(4.0).reshape(2, 2)) + 1  # a kernel, compiled here
        found = (a @ a).get().tolist()  # cuBLAS
    except MemoryError as error:
        raise DeviceError(
            f"no GPU: its memory is full ({_line(error)}); nvidia-smi shows who holds it"
        ) from error
    except Exception as error:
        raise DeviceError(
            f"no GPU: {type(error).__name__} at the first product ({_line(error)}); where a CUDA "
            'library is missing, pip install "cupy-cuda13x[ctk]", or 12x, brings them all'
        ) from error
    if found != [[7, 10], [15, 22]]:
        raise DeviceError(f"no GPU: it multiplies wrongly ({found}); try another device")


def put(array, device, name="array"):
    """An array of NumPy, or one that is there already, on the device.

    What lies on the GPU comes back only by `get`: for the CPU it is refused with a DataError.
    """
    if isinstance(array, np.ndarray):
        if device == "cpu":
            return array
        import cupy

        return cupy.asarray(array)
    if device == "cpu":
        raise DataError(f"{name} must lie in the host's memory, not on the GPU; take its .get()")
    return array


def get(array):
    """The array in the host's memory, as NumPy's; waits for the device."""
    return array if isinstance(array, np.ndarray) else array.get()


@functools.cache
def keep_memory():
    """Have this process keep the memory that it frees, for its next step.

    By default glibc gives large arrays back to the system, and every step then takes them anew,
    page by page: from batch 1,000 on that is a seventh to a half of its time.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def synchronize(device):
    """Wait until the device has done all that it was given."""
    if device == "gpu":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def describe(device):
    """What computes there, in a line."""
    if device == "cpu":
        return f"cpu, {platform.processor() or platform.machine()}, NumPy {np.__version__}"
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    version = cupy.cuda.runtime.runtimeGetVersion()
    return f"gpu, {name}, CuPy {cupy.__version__}, CUDA {version // 1000}.{version % 1000 // 10}"


def _line(error):
    return " ".join(str(error).split())[:120]
