"""Saving and loading: files in the format of safetensors, checked before they are used."""

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ..config import VAEConfig
from ..devices.find import find
from ..devices.memory import get, put
from ..errors import ConfigError, FileError
from ..files import write_atomically
from ..networks import size
from ..optim import Adam
from ..training import TERMS, TrainingState, no_sums
from ..vae import VAE, shapes
from .options import Options, Record

FILE_NAME = "model.safetensors"
FORMAT = 4
MOMENTS = {3: ("adam.G", "adam.S"), 4: ("adam.m", "adam.v")}  # of Adam, for each format
PICTURES = "pictures."


def save(vae: VAE, path, state: TrainingState | None = None, record: Record | None = None) -> Path:
    """Write every parameter by its name, and the config in the metadata, to the file `path`.

    With a state, also everything that the training needs to continue; with a record, also the
    options and pictures of a run. The file is replaced atomically. Returns the path.
    """
    if vae.dtype == complex:
        raise ConfigError("a complex128 model is for gradient checks; save its astype('float64')")
    tensors = {name: np.ascontiguousarray(get(W)) for name, W in vae.parameters().items()}
    about = {"format": FORMAT, "config": dataclasses.asdict(vae.config)}
    if state:
        adam = state.adam
        about["training"] = {
            "adam": {name: getattr(adam, name) for name in ("lr", "beta1", "beta2", "eps", "t")},
            "generator": state.generator,
            "batches": state.batches,
            "sums": dict(zip(TERMS, get(state.sums).tolist())),
            "seconds": state.seconds,
        }
        tensors |= {"adam.m": get(adam.m), "adam.v": get(adam.v)}
        tensors["history"] = np.frombuffer(json.dumps(state.history).encode(), np.uint8)
    if record:
        about["options"] = dataclasses.asdict(record.options)
        tensors |= {PICTURES + name: images for name, images in record.pictures.items()}
    about["sha256"] = _digest(about, tensors)
    return write_atomically(path, safetensors.numpy.save(tensors, {"minivae": json.dumps(about)}))


def load(path, device="cpu") -> VAE:
    """The model of a file that `save` wrote, or of a run folder with its model.safetensors.

    Raises FileError if the file is missing, damaged, not of minivae, or of another architecture.
    """
    return load_training(path, device)[0]


def load_training(path, device="cpu") -> tuple[VAE, TrainingState | None, Record | None]:
    """The model, and the state and the record that were saved with it, or None.

    The architecture is checked before the tensors are read, so that no file makes us take memory
    for what is not in it. The rest of the content is checked by its SHA-256.
    """
    path, device = Path(path), find(device)
    with _file_errors(path):
        if path.is_dir():
            path = path / FILE_NAME
        if not path.is_file():
            raise FileError(f"{path} is not a file: name a run folder or its {FILE_NAME}")
        with safetensors.safe_open(path, "np") as file:
            about = json.loads(file.metadata()["minivae"])
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        if about["format"] not in MOMENTS:
            said = "this version of minivae reads 3 and 4; use the version that wrote it"
            raise FileError(f"{path} has format {about['format']}; {said}")
        config = VAEConfig(**about["config"])
    moments = MOMENTS[about["format"]] if "training" in about else ()
    _check_architecture(path, config, found, moments)
    with _file_errors(path):
        tensors = safetensors.numpy.load_file(path)
        if about.pop("sha256") != _digest(about, tensors):
            raise FileError(f"{path} is damaged: its SHA-256 is wrong; use another copy")
        if about["format"] == 3 and "training" in about:
            _convert_format_3(about, tensors)
        kept = [name for name in tensors if name.startswith(PICTURES)]
        pictures = {name.removeprefix(PICTURES): tensors[name] for name in kept}
        record = Record(Options(**about["options"]), pictures) if "options" in about else None
        dtypes = {tensors[name].dtype.name for name in shapes(config)}
        if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
            raise FileError(f"{path} does not fit its config: its weights are {sorted(dtypes)}")
    vae = VAE(config, dtype=dtypes.pop())
    for name, W in vae.parameters().items():
        W[...] = tensors[name]
    vae = vae.to(device)
    with _file_errors(path):
        state = _state(vae, about["training"], tensors) if "training" in about else None
    return vae, state, record


@contextlib.contextmanager
def _file_errors(path):
    """Errors that the content of a file can cause, as FileError. No model is made in here, so that
    a mistake in the package is not reported as a bad file."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except Exception as error:
        said = f"{path} is not a model of minivae that can be read; name another file: {error!r}"
        raise FileError(said) from error


def _check_architecture(path, config, found, moments):
    """found: {name: shape}. Raises a FileError that lists all that does not fit."""
    layers = config.encoder_layers + config.decoder_layers
    if len(layers + config.classifier_layers * (config.num_classes > 0)) > len(found):
        raise FileError(f"{path} does not fit its config: it has fewer tensors than layers")
    needed = shapes(config)
    needed |= dict.fromkeys(moments, (size(needed),))
    faults = [
        f"{name} is {found.get(name, 'missing')}, not {needed.get(name, 'expected')}"
        for name in needed | found
        if found.get(name) != needed.get(name) and not name.startswith(("history", PICTURES))
    ]
    if faults:
        raise FileError(f"{path} does not fit its config: {', '.join(faults)}")


def _convert_format_3(about, tensors):
    """Change the content of a file of format 3 to what format 4 has, in place.

    Format 3 kept Adam's sums G = m / (1 − β₁) and S = v / (1 − β₂), the sums of the terms as a list
    (at the start of an epoch, as the number 0), and the options among the data of the training.
    """
    training = about["training"]
    adam, options = training["adam"], training.pop("options")
    tensors["adam.m"] = (1 - adam["beta1"]) * tensors.pop("adam.G")
    tensors["adam.v"] = (1 - adam["beta2"]) * tensors.pop("adam.S")
    training["sums"] = dict(zip(TERMS, training["sums"] or []))
    if options:  # otherwise fit was called from Python, and there is no run
        about["options"] = options


def _state(vae, saved, tensors):
    t = saved["adam"].pop("t")
    adam = Adam(vae.theta, **saved.pop("adam"))
    adam.t = t
    adam.m[...] = put(tensors["adam.m"], vae.device)
    adam.v[...] = put(tensors["adam.v"], vae.device)
    sums = list(saved.pop("sums").values())
    sums = put(np.array(sums), vae.device) if sums else no_sums(vae)
    return TrainingState(adam, sums=sums, history=json.loads(tensors["history"].tobytes()), **saved)


def _digest(about, tensors):
    """SHA-256 of all that is saved: the format, the config, and each tensor with its name."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, W in sorted(tensors.items()):
        digest.update(f"{name} {W.dtype} {W.shape}".encode())
        digest.update(W.tobytes())
    return digest.hexdigest()
