"""Saving and loading: safetensors, replaced atomically, checked before use."""

import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from .backend import find, get, put
from .config import VAEConfig
from .errors import ConfigError, FileError
from .optim import Adam
from .parameters import size
from .vae import VAE

FILE_NAME = "model.safetensors"
FORMAT = 3
LARGEST_HEADER = 1 << 20  # bytes; those of a deep model's names and config are some thousand
PICTURES = "pictures."
DTYPES = {"F32": "float32", "F64": "float64"}
WRONG_CONTENT = ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError


@dataclass
class TrainingState:
    """Where a training stands: with the weights, all that it needs to go on as if never stopped.

    generator is the random generator's state at the start of the epoch that is under way; batches,
    sums and seconds are those of this epoch so far. history has a row for each epoch before it.
    options and pictures are the run's own: what JSON can say, and arrays of uint8 by name.
    """

    adam: Adam
    generator: dict
    batches: int = 0
    sums: Any = field(default_factory=lambda: np.zeros(()))
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)
    options: dict = field(default_factory=dict)
    pictures: dict = field(default_factory=dict)


def save(vae: VAE, path, state: TrainingState | None = None) -> Path:
    """Write every parameter by its name, with the config in the metadata, to the file `path`.

    With a state also what a training needs to go on: Adam's moments and `state`. The bytes go to a
    temporary file beside it, which is flushed to the disk and then takes its place: at any moment
    there is the whole old file or the whole new one. Returns the path.
    """
    if vae.dtype == complex:
        raise ConfigError("a complex128 model is for gradient checks; save its astype('float64')")
    tensors = {name: np.ascontiguousarray(get(W)) for name, W in vae.parameters().items()}
    about = {"format": FORMAT, "config": dataclasses.asdict(vae.config)}
    if state:
        adam = state.adam
        about["training"] = {
            "adam": {key: getattr(adam, key) for key in ("lr", "beta1", "beta2", "eps", "t")},
            "generator": state.generator,
            "batches": state.batches,
            "sums": get(state.sums).tolist(),
            "seconds": state.seconds,
            "options": state.options,
        }
        history = json.dumps(state.history).encode()
        tensors |= {"adam.G": get(adam.G), "adam.S": get(adam.S)}
        tensors["history"] = np.frombuffer(history, np.uint8)
        tensors |= {PICTURES + name: images for name, images in state.pictures.items()}
    about["sha256"] = _digest(about, tensors)
    path = Path(path)
    write_atomically(path, safetensors.numpy.save(tensors, {"minivae": json.dumps(about)}))
    return path


def load(path, device="cpu") -> VAE:
    """The model of a file that `save` wrote, or of a run folder with its model.safetensors.

    Raises FileError for what is missing, damaged, not of minivae, or of another architecture.
    """
    return load_training(path, device)[0]


def load_training(path, device="cpu") -> tuple[VAE, TrainingState | None]:
    """The model, and the state that was saved with it."""
    device = find(device)  # what is wrong with the device is no fault of the file
    path = Path(path)
    try:
        if path.is_dir():
            path = path / FILE_NAME
        if not path.is_file():
            raise FileError(f"{path} is no file; name a run folder or its model.safetensors")
        config, dtype, training, tensors = _read(path)
        vae = VAE(config, dtype=dtype)
        for name, W in vae.parameters().items():
            W[...] = tensors[name]
        vae = vae.to(device)
        return vae, _state(vae, training, tensors) if training else None
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    except (*WRONG_CONTENT, safetensors.SafetensorError) as error:
        raise FileError(f"{path} is no model of minivae; name another: {error!r}") from error


def write_atomically(path, content):
    """Replace the file by these bytes, or leave it as it was and raise FileError.

    What an earlier process left half written, when it was killed, is swept away.
    """
    try:
        temporary = temporary_name(path)
        for stale in left_behind(path):
            remove(stale)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} cannot be written: {reason}") from error


def make_folder(path):
    """Make it where it is not; raises FileError."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be made: {error.strerror}") from error


def temporary_name(path):
    """Beside the path, for this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def left_behind(path):
    """The temporary files or folders for this path of processes that are no more.

    Also those of an earlier process with our number, as containers have: ours are not made yet.
    """
    names = path.parent.glob(f".{glob.escape(path.name)}.*.tmp")
    pids = {stale: stale.name.split(".")[-2] for stale in names}
    return [stale for stale, pid in pids.items() if pid == str(os.getpid()) or not _is_running(pid)]


def remove(path):
    """A file, a link or a folder, if it is there and can be removed."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def sync_folder(folder):
    """Let a new name in a folder outlast a power cut, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_running(pid):
    """Is there a process of this number? What is no number belongs to none of ours: True."""
    try:
        if os.name == "posix":
            os.kill(int(pid), 0)
    except (OSError, ValueError, OverflowError) as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _read(path):
    """Everything in the file, checked: the architecture before its tensors are read."""
    with open(path, "rb") as file:
        header = file.read(8)
    if len(header) < 8 or int.from_bytes(header, "little") > LARGEST_HEADER:
        what = "no model of minivae: it is cut, or no safetensors file"
        raise FileError(f"{path} is {what}; name another")
    with safetensors.safe_open(path, "np") as file:
        about = json.loads(file.metadata()["minivae"])
        if about["format"] != FORMAT:
            raise FileError(
                f"{path} has format {about['format']}; this version of minivae reads {FORMAT}: "
                "take the version that wrote it, or train again"
            )
        config = VAEConfig(**about["config"])
        slices = {name: file.get_slice(name) for name in file.keys()}
        found = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
        dtype = _check_architecture(path, config, found, "training" in about)
        tensors = {name: file.get_tensor(name) for name in found}
    if about.pop("sha256") != _digest(about, tensors):
        raise FileError(
            f"{path} is damaged: its content does not have the SHA-256 it states; take another copy"
        )
    return config, dtype, about.get("training"), tensors


def _check_architecture(path, config, found, training):
    """found: {name: (shape, dtype)} -> the dtype of the weights, or a FileError that lists all."""
    layers = config.encoder_layers + config.decoder_layers
    if config.num_classes:
        layers += config.classifier_layers
    if len(layers) > len(found):
        raise FileError(f"{path} does not fit its config: it has fewer tensors than layers")
    unmade = VAE.__new__(VAE)  # no weights before it is known how many there are
    unmade.config, unmade.device, unmade.dtype = config, "cpu", np.dtype(np.float32)
    shapes = unmade.make_networks()
    dtype = found.get(next(iter(shapes)), (None, "F32"))[1]
    expected = {name: (shape, dtype) for name, shape in shapes.items()}
    record = {name for name in found if name == "history" or name.startswith(PICTURES)}
    if training:
        expected |= dict.fromkeys(("adam.G", "adam.S"), ((size(shapes),), dtype))
        expected |= {name: (found[name][0], "U8") for name in record}
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is unexpected" for name in found if name not in expected]
    faults += [
        f"{name} is {found[name]}, not {expected[name]}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    if faults or dtype not in DTYPES:
        raise FileError(f"{path} does not fit its config: {', '.join(faults) or dtype}")
    return DTYPES[dtype]


def _state(vae, training, tensors):
    np.random.default_rng().bit_generator.state = training["generator"]  # refuses what is none
    adam = Adam(vae.theta, **{key: float(x) for key, x in training["adam"].items() if key != "t"})
    adam.t = int(training["adam"]["t"])
    adam.G[...] = put(tensors["adam.G"], vae.device)
    adam.S[...] = put(tensors["adam.S"], vae.device)
    pictures = {
        name.removeprefix(PICTURES): images
        for name, images in tensors.items()
        if name.startswith(PICTURES)
    }
    history = json.loads(tensors["history"].tobytes())
    if [row["epoch"] for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("its history has not a row for each epoch")
    sums = np.array(training["sums"], float)
    if sums.shape not in ((), (3,), (5,)):
        raise ValueError("its sums are not those of the terms")
    return TrainingState(
        adam,
        training["generator"],
        int(training["batches"]),
        put(sums, vae.device),
        float(training["seconds"]),
        history,
        dict(training["options"]),
        pictures,
    )


def _digest(about, tensors):
    """SHA-256 of all that is saved: the format, the config, and each tensor with its name."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, W in sorted(tensors.items()):
        digest.update(f"{name} {W.dtype} {W.shape}".encode())
        digest.update(W.tobytes())
    return digest.hexdigest()
