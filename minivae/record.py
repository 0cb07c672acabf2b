"""A run folder while it is trained: made whole, whole at any moment, continued."""

import contextlib
import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np

from . import checkpoint
from .errors import ConfigError, FileError

OPTIONS = (  # the options that a run keeps for itself when it goes on
    "data", "epochs", "batch_size", "lr", "latent", "hidden", "activation", "likelihood",
    "decoder_std", "decoder_output", "beta", "no_classifier", "cut_label_gradient", "holdout",
    "seed", "dtype",
)


def new_folder(options, vae, state):
    """Make the folder that was asked for, or the first free one of runs/DATA, runs/DATA-2, …

    It appears with the checkpoint of step 0 in it. A run folder that is there is replaced only
    where --overwrite says so, and nothing else that is there ever.
    """
    out = options.resume or options.out
    try:
        if out is None:
            names = (options.data if i == 1 else f"{options.data}-{i}" for i in itertools.count(1))
            return next(path for name in names if _make(path := Path("runs", name), vae, state))
        path = Path(out)
        if options.resume and path.is_dir():
            save(path, vae, state)
        elif path.exists() and not options.overwrite:
            raise FileError(f"{path} is there; --resume goes on with it, --overwrite replaces it")
        elif path.exists() and not (path / checkpoint.FILE_NAME).is_file():
            raise FileError(f"{path} is there and no run folder; it is not replaced")
        elif not _make(path, vae, state, options.overwrite):
            raise FileError(f"{path} has just been made by another process")
        return path
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot make a run folder: {error}") from error


def _make(path, vae, state, overwrite=False):
    """Make it beside its name, then rename it -> whether the name was free."""
    if path.exists() and not overwrite:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in checkpoint.left_behind(path):
        shutil.rmtree(stale)
    temporary = checkpoint.temporary_name(path)
    replaced = checkpoint.temporary_name(path.with_name(f"{path.name}.replaced"))
    temporary.mkdir()
    try:
        checkpoint.save(vae, temporary / checkpoint.FILE_NAME, state)
        if path.exists():
            os.rename(path, replaced)
        os.rename(temporary, path)
    except OSError:
        shutil.rmtree(temporary)
        if replaced.exists():
            os.rename(replaced, path)
        elif path.exists():
            return False
        raise
    checkpoint.sync_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return True


def save(run, vae, state):
    """The checkpoint, and from it the history, a line an epoch: none twice, none missing."""
    checkpoint.save(vae, run / checkpoint.FILE_NAME, state)
    lines = "".join(json.dumps(row) + "\n" for row in state.history)
    checkpoint.write_atomically(run / "history.jsonl", lines.encode())


def add_picture(state, name, images):
    """Keep images in [0, 1], (…, D), in the state, in steps of 1/255."""
    state.pictures[name] = np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)


def open_run(folder, given):
    """The model and the state of a run that is to go on; None of a folder without a checkpoint.

    given: {option: value}, None where it was not typed. One that is not the run's is refused by its
    name, but for more epochs.
    """
    if not Path(folder, checkpoint.FILE_NAME).exists():
        return None
    vae, state = checkpoint.load_training(folder)
    if state is None or set(state.options) != set(OPTIONS):
        raise FileError(f"{folder} holds a model, and no training that could go on")
    saved = state.options
    for name, was in saved.items():
        value = json.loads(json.dumps(given[name]))  # a tuple is a list to the checkpoint
        more = name == "epochs" and value is not None and value > was
        if value not in (None, was) and not more:
            typed = name if name == "data" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{typed} {value}: the run in {folder} has {was}")
    state.options = saved | {"epochs": given["epochs"] or saved["epochs"]}
    return vae, state


@contextlib.contextmanager
def stop_signals():
    """Note the first SIGINT or SIGTERM -> the list where it will stand; a second acts as ever."""
    noted = []

    def note(number, frame):
        noted.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {}
    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, note)
    try:
        yield noted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
