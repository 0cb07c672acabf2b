"""Where arrays lie, and what fit does to the allocator of the process."""

import os
import platform
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from minivae import VAE, VAEConfig, errors, fit
from minivae.devices import memory

TINY = VAEConfig(data_dim=4, latent_dim=2, encoder_layers=(), decoder_layers=(), num_classes=0)
IMAGES = np.random.default_rng(0).random((40, 4), dtype=np.float32)
# Of mallopt, in glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEP = [(MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1)]
RESTORE = [(MMAP_MAX, 65536), (MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, 64 << 20), "trim"]


def test_arrays_go_to_the_device_and_back(cupy):
    host = np.arange(6.0).reshape(2, 3)
    there = memory.put(host, "gpu")
    assert isinstance(there, cupy.ndarray) and cupy.costs.uploads == [("float64", (2, 3))]
    assert memory.put(there, "gpu") is there and memory.put(host, "cpu") is host
    assert (memory.device_of(there), memory.device_of(host)) == ("gpu", "cpu")
    assert np.array_equal(memory.get(there), host) and memory.get(host) is host
    assert cupy.costs.waits == ["get"]
    with pytest.raises(errors.DataError, match="^eps must be in the host's memory, .* its .get()"):
        memory.put(there, "cpu", "eps")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_of_grey_levels_are_uploaded_as_uint8(cupy, dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    images = levels / np.dtype(dtype).type(255)
    assert memory.put_images(images, "cpu") is images
    assert np.array_equal(memory.put_images(images, "gpu").get(), levels)
    images[3] += np.finfo(dtype).eps
    found = memory.put_images(images, "gpu")
    assert found.dtype == dtype and np.array_equal(found.get(), images)


@pytest.fixture
def libc(monkeypatch):
    """A C library that records what it is asked for; the user has set nothing."""
    calls = []
    fake = types.SimpleNamespace(
        mallopt=lambda option, value: calls.append((option, value)),
        malloc_trim=lambda pad: calls.append("trim"),
    )
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: fake)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.39"))
    for name in [*os.environ]:
        if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
            monkeypatch.delenv(name)
    return calls


def test_fit_keeps_freed_memory_and_puts_the_allocator_back(libc):
    during = []
    fit(VAE(TINY), (IMAGES, None), epochs=1, on_step=lambda: during.append([*libc]))
    assert during == [KEEP] and libc == KEEP + RESTORE


def test_also_after_an_error(libc):
    with pytest.raises(ZeroDivisionError):
        fit(VAE(TINY), (IMAGES, None), epochs=1, on_step=lambda: 1 / 0)
    assert libc == KEEP + RESTORE
    libc.clear()
    with pytest.raises(errors.DataError):
        fit(VAE(TINY), (IMAGES + 1, None), epochs=1)
    assert libc == KEEP + RESTORE


def test_the_last_of_several_threads_puts_the_allocator_back(libc):
    inside, leave = threading.Barrier(2), threading.Event()

    def other():
        with memory.freed_memory_kept():
            inside.wait(60)
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(60)
    fit(VAE(TINY), (IMAGES, None), epochs=1)
    assert libc == KEEP + KEEP
    leave.set()
    thread.join()
    assert libc == KEEP + KEEP + RESTORE


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(libc, name, monkeypatch):
    monkeypatch.setenv(name, "1")
    fit(VAE(TINY), (IMAGES, None), epochs=1)
    assert libc == []


def test_other_c_libraries_are_left_alone(libc, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    fit(VAE(TINY), (IMAGES, None), epochs=1)
    assert libc == []


def in_a_process_of_its_own(code):
    """What it prints. How much memory is free, and where, depends on all that went before."""
    user = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    user.pop("GLIBC_TUNABLES", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=user)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")


@of_glibc
def test_a_step_of_a_large_batch_takes_no_memory_anew():
    """The page faults of a step, in the first and in the second epoch."""
    code = """
import resource
import numpy as np
from minivae import VAE, fit
faults = []
images = np.random.default_rng(0).random((6000, 784), dtype=np.float32)
count = lambda: faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
fit(VAE(), (images, np.arange(6000) % 10), epochs=2, batch_size=1000, on_step=count)
print(np.median(np.diff(faults[:6])), np.median(np.diff(faults[6:])))
"""
    printed = in_a_process_of_its_own(code)
    assert all(float(count) < 200 for count in printed), printed


@of_glibc
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="of Linux alone")
@pytest.mark.parametrize("how", ["it ends", "it fails"])
def test_after_fit_freed_memory_goes_back_to_the_system(how):
    """An array of 400 MB: one that fit has freed, and one that is made and freed afterwards."""
    code = f"""
import os
import numpy as np
from minivae import VAE, fit

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def on_step():
    np.ones(50_000_000)
    if {how == "it fails"}:
        1 / 0

images = np.random.default_rng(0).random((200, 784), dtype=np.float32)
held = [resident()]
try:
    fit(VAE(), (images, np.arange(200) % 10), epochs=1, on_step=on_step)
except ZeroDivisionError:
    pass
held.append(resident())
array = np.ones(50_000_000)
held.append(resident())
del array
print(*held, resident())
"""
    start, *held = map(float, in_a_process_of_its_own(code))
    after_fit, full, freed = np.array(held) - start
    assert after_fit < 50 and full > 390 and freed < 50, held  # the model itself takes 10 MB
