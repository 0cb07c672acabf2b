"""The seam: the functions that a model calls, as one namespace for each device and dtype.

`ops = pick(device, dtype)` is the one line through which the lesson gets faster functions. They
come from one of three files: readable.py has the lesson's own functions; cpu.py and cuda.py have
everything in readable.py, with faster versions of some functions under the same names.
"""

import contextlib
import contextvars
import importlib
import os
from functools import partial
from types import FunctionType, SimpleNamespace

import numpy as np

from ..errors import ConfigError
from . import find, memory

_replaced: contextvars.ContextVar[dict | None] = contextvars.ContextVar("replaced", default=None)


def pick(device="cpu", dtype="float32"):
    """The functions for this device and dtype, such as ops.linear_forward; also

    ops.device, "cpu" or "gpu"; ops.name, the file that they come from; ops.put and ops.put_images,
    which move arrays to the device; ops.get, which brings them back; ops.freed_memory_kept.

    The environment variable MINIVAE_OPS=readable selects the lesson's own functions. Complex
    numbers always use them. Raises ConfigError and DeviceError, as find.find.
    """
    device = find.find(device)
    name = _name(device, np.dtype(dtype))
    # Imported here, and not above: the lesson's files, which these modules import, import this one.
    module = vars(importlib.import_module(f".{name}", __package__))
    functions = {key: value for key, value in module.items() if isinstance(value, FunctionType)}
    return SimpleNamespace(
        **(functions | (_replaced.get() or {})),
        name=name,
        device=device,
        put=partial(memory.put, device=device),
        put_images=partial(memory.put_images, device=device),
        get=memory.get,
        freed_memory_kept=memory.freed_memory_kept,
    )


def pick_for(array):
    """As pick, for the device and the dtype of an array."""
    return pick(memory.device_of(array), array.dtype)


def _name(device, dtype):
    asked = os.environ.get("MINIVAE_OPS", "")
    if asked not in ("", "readable"):
        raise ConfigError(f"MINIVAE_OPS={asked}: readable, or leave it unset")
    if asked == "readable" or dtype.kind != "f":
        return "readable"
    return "cpu" if device == "cpu" else "cuda"


@contextlib.contextmanager
def replaced(**functions):
    """While this context lasts, `pick` gives these functions instead of those with the same names.

    Models that were made before keep their functions; a copy of a model picks them anew. The tracer
    records calls through it, and the bug zoo plants mistakes. Raises ConfigError.
    """
    for name in functions.keys() - vars(importlib.import_module(".readable", __package__)).keys():
        raise ConfigError(f"{name}: there is no function of this name")
    token = _replaced.set((_replaced.get() or {}) | functions)
    try:
        yield
    finally:
        _replaced.reset(token)
