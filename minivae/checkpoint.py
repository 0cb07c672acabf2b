"""Saving and loading a model: safetensors, replaced atomically, checked before use."""

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from .config import VAEConfig
from .errors import FileError, MinivaeError
from .vae import VAE

FILE_NAME = "model.safetensors"
FORMAT = 1


def save(vae: VAE, path) -> Path:
    """Write every parameter by its name, with the config in the metadata, to the file `path`.

    The bytes go to a temporary file beside it, which is flushed to the disk and then takes its
    place: at any moment there is the whole old file or the whole new one. Returns the path.
    """
    tensors = {name: np.ascontiguousarray(W) for name, W in vae.parameters().items()}
    about = {
        "format": FORMAT,
        "config": dataclasses.asdict(vae.config),
        "sha256": hashlib.sha256(_payload(safetensors.numpy.save(tensors))).hexdigest(),
    }
    content = safetensors.numpy.save(tensors, {"minivae": json.dumps(about)})
    path = Path(path)
    write_atomically(path, content)
    return path


def load(path, device="cpu") -> VAE:
    """The model of a file that `save` wrote, or of a run folder with its model.safetensors.

    Raises FileError for what is missing, damaged, not of minivae, or of another architecture.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    try:
        content = path.read_bytes()
        tensors = safetensors.numpy.load(content)
        about = json.loads(_header(content)["__metadata__"]["minivae"])
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise FileError(f"{path} is no model of minivae: {error!r}") from error
    if about.get("format") != FORMAT:
        raise FileError(f"{path} has format {about.get('format')}; this version reads {FORMAT}")
    if hashlib.sha256(_payload(content)).hexdigest() != about["sha256"]:
        raise FileError(f"{path} is damaged: its weights do not have the SHA-256 that it states")
    try:
        dtype = next(iter(tensors.values())).dtype
        vae = VAE(VAEConfig(**about["config"]), dtype=dtype, device=device)
    except (MinivaeError, TypeError, StopIteration) as error:
        raise FileError(f"{path} describes no model of this version: {error}") from error
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
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}") from error


def _header(content):
    return json.loads(content[8 : 8 + _header_length(content)])


def _payload(content):
    return content[8 + _header_length(content) :]


def _header_length(content):
    return int.from_bytes(content[:8], "little")
