"""A run folder while it is trained: made whole, whole at any moment, continued."""

import contextlib
import errno
import itertools
import json
import os
import signal
import threading
from pathlib import Path
from platform import python_version

import numpy as np

from . import __version__, checkpoint
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
    out = options.out if options.resume is None else options.resume
    try:
        if out is None:
            names = (options.data if i == 1 else f"{options.data}-{i}" for i in itertools.count(1))
            return next(path for name in names if _make(path := Path("runs", name), vae, state))
        path = Path(os.path.abspath(out))  # which has a name, also where out is "."
        if options.resume is not None and path.is_dir():
            save(path, vae, state)
        elif path.exists() and not _is_run(path):
            raise FileError(f"{path} is there and no run folder; it is not replaced")
        elif path.exists() and not options.overwrite:
            raise FileError(f"{path} is there; --resume goes on with it, --overwrite replaces it")
        elif not _make(path, vae, state, options.overwrite):
            raise FileError(f"{path} has just been made by another process")
        return Path(out)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"cannot make a run folder: {error}; --out names another") from error


def _is_run(path):
    try:
        return path.is_dir() and bool(load(path))
    except FileError:
        return False


def _make(path, vae, state, overwrite=False):
    """Make it beside its name, then rename it -> whether the name was free."""
    if path.exists() and not overwrite:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = checkpoint.temporary_name(path)
    replaced = checkpoint.temporary_name(path.with_name(f"{path.name}.replaced"))
    for stale in checkpoint.left_behind(path):
        if ".replaced." in stale.name and not path.exists():
            os.rename(stale, path)  # its process was killed between the two renames below
            raise FileError(f"{path} is back: who was to replace it was killed; say it again")
        checkpoint.remove(stale)
    temporary.mkdir()
    try:
        checkpoint.save(vae, temporary / checkpoint.FILE_NAME, state)
        if overwrite and path.exists():
            os.rename(path, replaced)
        os.rename(temporary, path)
    except BaseException as error:
        checkpoint.remove(temporary)
        if os.path.lexists(replaced):
            os.rename(replaced, path)
        elif getattr(error, "errno", None) in (errno.EEXIST, errno.ENOTEMPTY) and not overwrite:
            return False  # another process was quicker
        raise
    checkpoint.sync_folder(path.parent)
    checkpoint.remove(replaced)
    return True


def save(run, vae, state):
    """The checkpoint, and then the history that is in it."""
    checkpoint.save(vae, run / checkpoint.FILE_NAME, state)
    write_history(run, state)


def write_history(run, state):
    """A line an epoch, from the checkpoint: none twice, none missing."""
    lines = "".join(json.dumps(row) + "\n" for row in state.history)
    checkpoint.write_atomically(run / "history.jsonl", lines.encode())


def write_summary(run, summary):
    """What the run was and what it found, with the versions that found it."""
    versions = {"minivae": __version__, "numpy": np.__version__, "python": python_version()}
    content = json.dumps(summary | {"versions": versions}, indent=2)
    checkpoint.write_atomically(run / "summary.json", content.encode())


def add_picture(state, name, images):
    """Keep images in [0, 1], (…, D), in the state, in steps of 1/255."""
    state.pictures[name] = np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)


def open_run(folder, given, device):
    """The model and the state of a run that is to go on; None of a folder without a checkpoint.

    given: {option: value}, None where it was not typed. One that is not the run's is refused by its
    name, but for more epochs.
    """
    if not os.path.lexists(os.path.join(folder, checkpoint.FILE_NAME)):
        return None
    vae, state = load(folder, device)
    saved = state.options
    for name, was in saved.items():
        value = json.loads(json.dumps(given[name]))  # a tuple is a list to the checkpoint
        more = name == "epochs" and value is not None and value > was
        if value not in (None, was) and not more:
            typed = name if name == "data" else f"--{name.replace('_', '-')}"
            value, was = (
                ",".join(map(str, x)) or "none" if isinstance(x, list) else x for x in (value, was)
            )
            raise ConfigError(f"{typed} {value}: the run in {folder} has {was}")
    state.options = saved | {"epochs": given["epochs"] or saved["epochs"]}
    return vae, state


def load(folder, device="cpu"):
    """The model and the state of a run that minivae train has left."""
    vae, state = checkpoint.load_training(folder, device)
    if state is None or state.options.keys() != set(OPTIONS):
        raise FileError(
            f"{folder} holds a model, and no training that could go on: minivae train makes runs"
        )
    return vae, state


@contextlib.contextmanager
def stop_signals():
    """Note the first SIGINT or SIGTERM -> the list where it will stand; a second acts as ever."""
    noted: list[int] = []
    with contextlib.ExitStack() as before:

        def note(number, frame):
            noted.append(number)
            before.close()  # each handler is again what it was

        if threading.current_thread() is threading.main_thread():  # no other may ask for signals
            for each in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(each) != signal.SIG_IGN:  # as under nohup
                    before.callback(signal.signal, each, signal.signal(each, note))
        yield noted
