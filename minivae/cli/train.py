"""`minivae train`: train a model, or continue a run, and leave a run folder."""

import contextlib
import dataclasses
import shlex
import signal
import sys
import threading
from pathlib import Path

from .. import datasets, training
from ..devices.find import choose, describe
from ..errors import ConfigError
from ..runs import figures, folder
from ..runs.options import Options, Record
from ..runs.references import card
from ..vae import VAE
from .options import typed_options

PIXELS = "grey levels in [0, 1], steps of 1/255, not binarised"
COLUMNS = [  # of the line that an epoch prints: the key of the history in two parts, the format
    ("", "epoch", ""), ("", "seconds", ".2f"),
    ("train_", "nll", ".2f"), ("train_", "kl", ".2f"), ("train_", "ce", ".3f"),
    ("test_", "nll", ".2f"), ("test_", "kl", ".2f"), ("test_", "ce", ".3f"),
    ("test_", "accuracy", ".4f"), ("test_", "neg_elbo", ".2f"),
]  # fmt: skip


def train_command(given):
    device, typed = choose(given.device), typed_options(given)
    found = folder.resume(given.resume, typed, device) if given.resume else None
    options = found[2].options if found else Options(**typed)
    config, holdout = options.config, options.holdout or 0
    images, labels = datasets.load(options.data, "train", given.data_dir)
    test = datasets.load(options.data, "test", given.data_dir)
    if not 0 <= holdout < len(images):
        raise ConfigError(f"--holdout {holdout}: there are {len(images)} training images")
    if found:
        vae, state, record = found
        run = Path(given.resume)
        folder.save(run, vae, state, record)  # the history may be torn
    else:
        vae = VAE(config, options.seed, options.dtype, device)
        state, record = training.start(vae, options.lr, options.seed), Record(options)
        out, exist_ok = given.resume or given.out, bool(given.resume)
        run = folder.make(out, vae, state, record, given.overwrite, exist_ok)
        if given.resume:
            print(f"{given.resume} has no checkpoint: a run begins there")
    counts = {"train": len(images) - holdout, "validation": holdout, "test": len(test[0])}
    sizes = ", ".join(f"{n:,} for {split}" for split, n in counts.items())
    print(f"images of {options.data}: {sizes}")
    print(f"{vae.theta.size:,} parameters; losses in nats an image")
    print(header(), *map(line, state.history), sep="\n")
    examples = test[0][figures.first_of_each(test[1])]

    def on_step():
        if stopped:
            folder.save(run, vae, state, record)
            again = f"minivae train --resume {shlex.quote(str(run))}"
            print(f"stopped; to continue: {again}", file=sys.stderr)
            sys.exit(128 + stopped[0])

    def on_epoch(row):
        record.pictures |= figures.after_epoch(vae.to("cpu"), row["epoch"], options, examples)
        folder.save(run, vae, state, record)
        print(line(row), flush=True)
        on_step()

    with stop_signals() as stopped:
        history = training.fit(
            vae, (images[holdout:], labels[holdout:]), test, epochs=options.epochs,
            batch_size=options.batch_size, seed=options.seed, progress=True,
            on_step=on_step, on_epoch=on_epoch, state=state,
        )  # fmt: skip
    final = dict(history[-1])
    if holdout:
        validation = training.evaluate(vae, images[:holdout], labels[:holdout], options.seed)
        final |= {f"validation_{name}": value for name, value in validation.items()}
    kept = ("data", "holdout", "epochs", "batch_size", "lr", "seed", "dtype")
    folder.write_summary(run, {
        **{name: getattr(options, name) for name in kept}, "config": dataclasses.asdict(config),
        "images": counts, "pixels": PIXELS, "device": describe(device),
        "training_seconds": sum(row["seconds"] for row in history), "final": final,
    })  # fmt: skip
    print(card(options, history[-1]))
    print(f"run folder: {run}; its pictures:")
    drawn = vae.to("cpu"), history, record.pictures, test
    print(*figures.save_figures(run / "figures", *drawn), sep="\n")


@contextlib.contextmanager
def stop_signals():
    """Note the first SIGINT or SIGTERM in a list -> the list. A second one acts as usual."""
    noted: list[int] = []
    with contextlib.ExitStack() as before:

        def note(number, frame):
            noted.append(number)
            before.close()  # restores the handlers

        main = threading.current_thread() is threading.main_thread()  # no other may set handlers
        for each in (signal.SIGINT, signal.SIGTERM) if main else ():
            if signal.getsignal(each) != signal.SIG_IGN:  # as under nohup
                before.callback(signal.signal, each, signal.signal(each, note))
        yield noted


def header():
    splits, terms, _ = zip(*COLUMNS)
    return in_columns(splits) + "\n" + in_columns(terms)


def line(row):
    """The numbers of an epoch, under the header; a dash for what the model does not have."""
    values = [(row[split + term], form) for split, term, form in COLUMNS]
    return in_columns("-" if value is None else format(value, form) for value, form in values)


def in_columns(texts):
    return " ".join(f"{text:>{max(6, len(term))}}" for text, (_, term, _) in zip(texts, COLUMNS))
