"""Saving and loading a model: safetensors, replaced atomically, checked before use."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from .config import VAEConfig
from .errors import ConfigError, FileError
from .vae import VAE

FILE_NAME = "model.safetensors"
FORMAT = 1


def save(vae: VAE, path) -> Path:
    """Write every parameter by its name, with the config in the metadata, to the file `path`.

    The bytes go to a temporary file beside it, which is flushed to the disk and then takes its
    place: at any moment there is the whole old file or the whole new one. Returns the path.
    """
    if vae.dtype == complex:
        raise ConfigError("a complex128 model is for gradient checks; save its astype('float64')")
    tensors = {name: np.ascontiguousarray(W) for name, W in vae.parameters().items()}
    about = {"format": FORMAT, "config": dataclasses.asdict(vae.config)}
    about["sha256"] = _digest(about, tensors)
    path = Path(path)
    write_atomically(path, safetensors.numpy.save(tensors, {"minivae": json.dumps(about)}))
    return path


def load(path, device="cpu") -> VAE:
    """The model of a file that `save` wrote, or of a run folder with its model.safetensors.

    Raises FileError for what is missing, damaged, not of minivae, or of another architecture.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.exists():
        raise FileError(f"{path} is not there; name a run folder or its model.safetensors")
    try:
        with safetensors.safe_open(path, "np") as file:
            about = json.loads(file.metadata()["minivae"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if about["format"] != FORMAT:
            raise FileError(f"{path} has format {about['format']}; this version reads {FORMAT}")
        if about.pop("sha256") != _digest(about, tensors):
            raise FileError(f"{path} is damaged: its content does not have the SHA-256 it states")
        config = VAEConfig(**about["config"])
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is no model of minivae: {error!r}") from error
    vae = VAE(config, dtype=next(iter(tensors.values())).dtype, device=device)
    expected = {name: W.shape for name, W in vae.parameters().items()}
    found = {name: W.shape for name, W in tensors.items()}
    if found != expected:
        names = sorted(set(found.items()) ^ set(expected.items()))
        raise FileError(f"{path} does not fit its config in {names}")
    for name, W in vae.parameters().items():
        W[...] = tensors[name]
    return vae


def write_atomically(path, content):
    """Replace the file by these bytes, or leave it as it was and raise FileError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}") from error


def _digest(about, tensors):
    """SHA-256 of all that is saved: the format, the config, and each tensor with its name."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, W in sorted(tensors.items()):
        digest.update(f"{name} {W.dtype} {W.shape}".encode())
        digest.update(W.tobytes())
    return digest.hexdigest()
