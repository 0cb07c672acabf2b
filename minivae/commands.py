"""What the commands do: each takes the options that cli.py has read."""

import dataclasses
import json
import math
import shlex
import sys
from pathlib import Path

import numpy as np

from . import backend, datasets, gradcheck, lockstep, page, plots, record, runs, trace, training
from .checkpoint import load, write_atomically
from .config import VAEConfig
from .distributions import LIKELIHOODS
from .errors import ConfigError, FileError
from .pairs import PAIRS
from .references import ARTICLE, Protocol, card
from .vae import VAE

PIXELS = "grey levels in [0, 1], steps of 1/255, not binarised"
STYLES = 3  # the random stream of the pictures; see training.EPOCHS
COLUMNS = [  # of the line that an epoch prints: the key of the history in two parts, the format
    ("", "epoch", ""), ("", "seconds", ".2f"),
    ("train_", "nll", ".2f"), ("train_", "kl", ".2f"), ("train_", "ce", ".3f"),
    ("test_", "nll", ".2f"), ("test_", "kl", ".2f"), ("test_", "ce", ".3f"),
    ("test_", "accuracy", ".4f"), ("test_", "neg_elbo", ".2f"),
]  # fmt: skip


def config_of(options, likelihood):
    return VAEConfig(
        latent_dim=options.latent, encoder_layers=options.hidden,
        decoder_layers=options.hidden[::-1], classifier_layers=options.hidden,
        activation=options.activation, likelihood=likelihood, beta=options.beta,
        decoder_std=options.decoder_std, decoder_output=options.decoder_output,
        num_classes=0 if options.no_classifier else 10,
        label_gradient=not options.cut_label_gradient,
    )  # fmt: skip


def protocol_of(options):
    """What the options ask for, but for the seed and where things lie."""
    config = config_of(options, options.likelihood)
    holdout = options.holdout
    if holdout is None:
        holdout = ARTICLE.holdout if options.data == "mnist" else 0
    return Protocol(options.data, holdout, config, options.epochs, options.batch_size, options.lr)


def train_command(options):
    device = backend.choose(options.device)
    found = None
    if options.resume is not None:
        found = record.open_run(options.resume, options.given, device)
        if not found:
            print(f"{options.resume} has no checkpoint: a run begins there")
    if found:
        vae, state = found
        vars(options).update(state.options)
    protocol = protocol_of(options)
    if found and (protocol.config, options.dtype) != (vae.config, vae.dtype):
        raise FileError(f"{options.resume} has options that do not fit its weights; train again")
    options.holdout = holdout = protocol.holdout
    images, labels = datasets.load(options.data, "train", options.data_dir)
    test = datasets.load(options.data, "test", options.data_dir)
    if not 0 <= holdout < len(images):
        raise ConfigError(f"--holdout {holdout}: there are {len(images)} training images")
    if found:
        run = Path(options.resume)
        record.write_history(run, state)
    else:
        vae = VAE(protocol.config, options.seed, options.dtype, device)
        state = training.start(vae, protocol.lr, options.seed)
        state.options = {name: getattr(options, name) for name in record.OPTIONS}
        run = record.new_folder(options, vae, state)
    counts = {"train": len(images) - holdout, "validation": holdout, "test": len(test[0])}
    sizes = ", ".join(f"{n:,} for {split}" for split, n in counts.items())
    print(f"images of {options.data}: {sizes}")
    print(f"{vae.theta.size:,} parameters; losses in nats an image")
    print(header())
    for row in state.history:
        print(line(row))
    first = runs.first_of_each(test[1])

    def on_step():
        if stopped:
            record.save(run, vae, state)
            again = f"minivae train --resume {shlex.quote(str(run))}"
            print(f"stopped; {again} goes on", file=sys.stderr)
            sys.exit(128 + stopped[0])

    def on_epoch(row):
        epoch, host = row["epoch"], vae.to("cpu")
        if epoch in runs.shown(protocol.epochs):
            style = np.random.default_rng([options.seed, STYLES, epoch])
            record.add_picture(state, f"digits.{epoch}", ten_digits(host, style))
        if epoch in (*runs.STAGES, protocol.epochs):
            record.add_picture(state, f"test.{epoch}", host.reconstruct(test[0][first]))
        record.save(run, vae, state)
        print(line(row), flush=True)
        on_step()

    train = images[holdout:], labels[holdout:]
    with record.stop_signals() as stopped:
        history = training.fit(
            vae, train, test, epochs=protocol.epochs, batch_size=protocol.batch_size,
            seed=options.seed, progress=True, on_step=on_step, on_epoch=on_epoch, state=state,
        )  # fmt: skip
    final = dict(history[-1])
    if holdout:
        validation = training.evaluate(vae, images[:holdout], labels[:holdout], options.seed)
        final |= {f"validation_{name}": value for name, value in validation.items()}
    record.write_summary(run, {
        **dataclasses.asdict(protocol),
        "images": counts, "pixels": PIXELS, "seed": options.seed, "dtype": options.dtype,
        "device": backend.describe(device),
        "training_seconds": sum(row["seconds"] for row in history), "final": final,
    })  # fmt: skip
    print(card(protocol, history[-1]))
    print(f"run folder: {run}; its pictures:")
    for path in runs.save_figures(run / "figures", vae.to("cpu"), state, test):
        print(path)


def gradcheck_command(options):
    device = backend.choose(options.device)
    likelihoods = [options.likelihood] if options.likelihood else LIKELIHOODS
    images, labels, _ = datasets.strokes(options.batch_size, options.seed)
    tables = {"pairs": check_pairs(options.seed, options.dtype)}
    how = {"method": "both", "seed": options.seed}
    for likelihood in likelihoods:
        vae = VAE(config_of(options, likelihood), seed=options.seed, device=device)
        problem = gradcheck.problem(vae, images, labels, options.seed, options.dtype)
        loss, theta, dtheta, _ = problem
        every = gradcheck.check_entries(*problem, entries=options.entries, **how)
        whole = gradcheck.check_direction(loss, theta, dtheta, **how)
        title = f"{likelihood}: {vae.theta.size:,} parameters, {options.batch_size} images"
        tables[title] = gradcheck.Report([*every.rows, *whole.rows], "both")
    for title, report in tables.items():
        print(f"{title}\n{report}\n")
    passed = all(report.passed for report in tables.values())
    allowed = gradcheck.TOLERANCES
    if options.dtype == "float32":
        allowed = dict.fromkeys(allowed, gradcheck.TOLERANCE_FLOAT32)
    print(
        f"{'all passed' if passed else 'FAILED'}: gradients in {options.dtype}; allowed "
        f"{allowed['complex']:.0e} by the complex step, {allowed['central']:.0e} by central "
        "differences"
    )
    if options.json:
        rows = {title: [as_json(row) for row in r.rows] for title, r in tables.items()}
        write_atomically(Path(options.json), json.dumps(rows, indent=2).encode())
        print(options.json)
    if options.figure:
        about = f"{likelihood}, P = {len(theta):,} parameters, gradient in {options.dtype}"
        ax = plots.step_sizes(loss, theta, dtheta, plots.new_ax(6.4, 4))
        ax.set_title(f"{ax.get_title()}\n{about}")
        print(plots.save(ax.figure, options.figure))
    if not passed:
        sys.exit(1)


def lockstep_command(options):
    second = options.second or ("gpu:float64" if backend.choose("auto") == "gpu" else "cpu:float32")
    pair = [machine.split(":") for machine in (options.first, second)]
    config = config_of(options, options.likelihood)
    vaes = [VAE(config, options.seed, dtype, device) for device, dtype in pair]
    images, labels, _ = datasets.strokes(10 * options.batch_size, options.seed)
    errors = lockstep.drift(
        vaes[0], vaes[1], images, None if options.no_classifier else labels,
        options.steps, options.batch_size, options.lr, options.seed,
    )  # fmt: skip
    print(" against ".join(f"{backend.describe(device)}, {dtype}" for device, dtype in pair))
    print(lockstep.table(errors))
    exact = all(dtype == "float64" for _, dtype in pair)
    tolerance = options.tolerance or (1e-9 if exact else math.inf)
    found = lockstep.first_out(errors, tolerance)
    if found:
        print("step {}: {} is the first".format(*found), f"to be further apart than {tolerance:g}")
        sys.exit(1)
    print(f"all within {tolerance:g}" if tolerance < math.inf else "no tolerance: reported only")


def trace_command(options):
    config = config_of(options, options.likelihood)
    if options.run and config != VAEConfig():
        raise ConfigError(f"{options.run} has its own model; leave out the options of one")
    vae = load(options.run) if options.run else VAE(config, options.seed)
    images, labels, _ = datasets.strokes(options.batch_size, options.seed)
    traced = trace.trace(vae, images, labels if vae.classifier else None, options.seed)
    print(trace.table(traced))
    if options.out:
        model = f"the model of {options.run}" if options.run else "a model not yet trained"
        about = f"{len(images)} images go through {model}: {len(vae.theta):,} parameters."
        write_atomically(Path(options.out), page.page(traced, about).encode())
        print(options.out)
    if traced.wrong:
        sys.exit(1)


def as_json(row):
    """A row of a report; null for NaN and infinity, which JSON does not have."""
    values = dataclasses.asdict(row)
    infinite = [key for key, x in values.items() if isinstance(x, float) and not math.isfinite(x)]
    return values | dict.fromkeys(infinite)


def check_pairs(seed, dtype):
    """Every pair at random inputs, 5 examples of 7 numbers -> Report, a row an input."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, example in PAIRS.items():
        inputs = [x.astype(dtype) for x in example.inputs(rng, 5, 7)]
        names = [f"{name} d{x}" for x in example.draws]
        given = example.forward, example.backward, inputs, names
        rows += gradcheck.check_pair(*given, method="both", seed=seed).rows
    return gradcheck.Report(rows, "both")


def ten_digits(vae, rng):
    """One style, ten digits; or, of a model without classes, ten samples -> (10, D)."""
    K = vae.config.num_classes
    z = rng.standard_normal((1 if K else 10, vae.config.latent_dim), dtype=np.float32)
    if not K:
        return vae.decode(z)
    return vae.decode(np.repeat(z, K, axis=0), datasets.one_hot(np.arange(K), (K, K), vae.dtype))


def header():
    splits, terms, _ = zip(*COLUMNS)
    return f"{in_columns(splits)}\n{in_columns(terms)}"


def line(row):
    """The numbers of an epoch, under the header; a dash for what the model does not have."""
    values = [(row[split + term], form) for split, term, form in COLUMNS]
    return in_columns("-" if value is None else format(value, form) for value, form in values)


def in_columns(texts):
    return " ".join(f"{text:>{max(6, len(term))}}" for text, (_, term, _) in zip(texts, COLUMNS))
