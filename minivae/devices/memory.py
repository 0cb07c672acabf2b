"""Where arrays lie: move them between the host and the GPU, and keep memory that was freed.

An array belongs to the library that made it, NumPy on the CPU and CuPy on the GPU, and NumPy's
functions follow it there. So only the lines that create an array or move it mention a device.
"""

import contextlib
import ctypes
import os
import platform
import threading

import numpy as np

from ..errors import DataError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # from glibc's malloc.h


def put(array, device, name="array"):
    """The array, NumPy's or already on the device, on the device.

    An array on the GPU is brought to the host only by `get`: for the CPU it is a DataError.
    """
    if isinstance(array, np.ndarray):
        if device == "cpu":
            return array
        import cupy

        return cupy.asarray(array)
    if device == "cpu":
        raise DataError(f"{name} must be in the host's memory, not on the GPU; use its .get()")
    return array


def get(array):
    """The array in the host's memory, as a NumPy array. Waits for the device."""
    return array if isinstance(array, np.ndarray) else array.get()


def device_of(array):
    """"cpu" for a NumPy array, "gpu" for one of CuPy."""
    return "cpu" if isinstance(array, np.ndarray) else "gpu"


def put_images(images, device):
    """As put, for a data set: images that consist of grey levels go to the GPU as uint8, which
    takes a quarter of the memory. VAE.forward scales them back to the same numbers."""
    if device == "cpu":
        return images
    with np.errstate(all="ignore"):  # with an identity output, pixels may be any numbers
        levels = np.rint(255 * images).astype(np.uint8)
    exact = np.array_equal(levels / images.dtype.type(255), images)
    return put(levels if exact else images, device)


_users = 0  # how many threads are inside freed_memory_kept
_lock = threading.Lock()


@contextlib.contextmanager
def freed_memory_kept():
    """While this context lasts, the process keeps the memory that it frees.

    By default glibc returns large arrays to the system, and every training step then gets them
    anew, page by page: from batch size 1,000 on, this is a seventh to a half of its time. At the
    end the thresholds are set to values that glibc itself reaches in a process with large arrays,
    because the old ones cannot be read, and unused memory is returned. Nothing is changed if the
    user has set these thresholds, or if the C library is not glibc.
    """
    global _users
    by_user = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if by_user or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    with _lock:
        _users += 1
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                libc.mallopt(M_MMAP_MAX, 65536)
                libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
                libc.mallopt(M_TRIM_THRESHOLD, 64 << 20)
                libc.malloc_trim(0)
