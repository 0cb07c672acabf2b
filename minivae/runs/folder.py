"""A run folder: it appears with a checkpoint in it, and is whole at any moment."""

import dataclasses
import itertools
import json
import os
from pathlib import Path
from platform import python_version

import numpy as np

from .. import __version__, files
from ..errors import ConfigError, FileError
from . import checkpoint


def make(out, vae, state, record, overwrite=False, exist_ok=False):
    """Make a run folder with the first checkpoint in it -> its path.

    out: its name; None is the first free one of runs/DATA, runs/DATA-2, … If the folder exists,
    exist_ok adds the checkpoint to it, and overwrite replaces a run. Raises FileError.
    """
    if out is None:
        data = record.options.data
        paths = (Path("runs", f"{data}-{i}" if i > 1 else data) for i in itertools.count(1))
        out = next(path for path in paths if not path.exists())
    try:
        path = Path(os.path.abspath(out))  # "." and "a/.." have no name of their own
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.temporary_folder(path.parent) as temporary:
                new = temporary / path.name
                new.mkdir()
                checkpoint.save(vae, new / checkpoint.FILE_NAME, state, record)
                os.rename(new, path)
            return Path(out)
        if not exist_ok:
            load(path)  # what is not a run is not replaced
            if not overwrite:
                raise FileError("it exists; --resume continues this run, --overwrite replaces it")
        # The checkpoint holds all of a run. So whenever a process is killed that replaces one, the
        # folder has the whole old run or the whole new one.
        save(path, vae, state, record)
        for left in [path / "summary.json", *path.glob("figures/*.png")] if overwrite else []:
            left.unlink(missing_ok=True)
        return Path(out)
    except (OSError, ValueError) as error:
        said = f"cannot make the run folder {out}: {error}; --out names another"
        raise FileError(said) from error


def save(path, vae, state, record):
    """Write the checkpoint, and then the history that is in it: one line per epoch, none twice."""
    checkpoint.save(vae, path / checkpoint.FILE_NAME, state, record)
    lines = "".join(json.dumps(row) + "\n" for row in state.history)
    files.write_atomically(path / "history.jsonl", lines.encode())


def write_summary(path, summary):
    """Write what the run was and what it found, and the versions of the software."""
    versions = {"minivae": __version__, "numpy": np.__version__, "python": python_version()}
    content = json.dumps(summary | {"versions": versions}, indent=2)
    files.write_atomically(path / "summary.json", content.encode())


def load(path, device="cpu"):
    """The model, the state and the record of a run that `minivae train` left."""
    vae, state, record = checkpoint.load_training(path, device)
    if state is None or record is None:
        said = "holds a model without a training that could continue; minivae train makes runs"
        raise FileError(f"{path} {said}")
    return vae, state, record


def resume(path, typed, device="cpu"):
    """As load, for a run that is to continue; None if the folder has no checkpoint.

    typed: the options that the user typed. Only `epochs` may differ from the run's, and be more:
    any other is a ConfigError.
    """
    if not os.path.lexists(os.path.join(path, checkpoint.FILE_NAME)):
        return None
    vae, state, record = load(path, device)
    for name, value in typed.items():
        was = getattr(record.options, name)
        if value != was and not (name == "epochs" and value > was):
            option = name if name == "data" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} {_shown(value)}: the run in {path} has {_shown(was)}")
    record.options = dataclasses.replace(record.options, **typed)
    return vae, state, record


def _shown(value):
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else value
