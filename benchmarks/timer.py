"""The timer of all benchmarks, and what a measurement has to tell of its machine.

Arms are functions by name, each a step; a script verifies them before it times them. Two things
would spoil a comparison on one machine. The machine changes with time, by its clock and by other
people's work: so the arms take turns, in blocks of calls, in an order that is reversed every other
round, and two arms are compared within a round. And the threads of a library spin for a while after
its last call, on the cores of the next arm: so a pause before each block lets them fall asleep.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

import minivae
from minivae.devices import find, ops
from minivae.errors import MinivaeError

PAUSE = 0.3  # seconds; OpenMP's threads spin for up to 0.2
LONGEST, MOST = 1.0, 300  # of a block: seconds and calls
PREFIXES = ("OPENBLAS_", "OMP_", "MKL_", "GOMP_", "KMP_", "XLA_FLAGS")
# As they were set: threadpoolctl adds one of its own when it is imported.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES)}


def parser(doc, rounds):
    """The options that all scripts have."""
    options = argparse.ArgumentParser(description=doc.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    options.add_argument("--rounds", type=int, help=f"default: {rounds}, with --quick 1")
    default = Path(__file__).parent / "results"
    options.add_argument("--out", type=Path, default=default, help="folder, default: %(default)s")
    options.set_defaults(full_rounds=rounds)
    return options


def parse(options, arguments=None):
    parsed = options.parse_args(arguments)
    parsed.rounds = parsed.rounds or (1 if parsed.quick else parsed.full_rounds)
    parsed.pause, parsed.calls = (0, 1) if parsed.quick else (PAUSE, None)
    return parsed


def add_devices(options):
    options.add_argument("--devices", help="such as cpu,gpu; default: all there are")


def devices(options, left_out):
    """The devices to measure; one that was named and is not there is an error, with its reason."""
    if options.devices:
        try:
            found = list(dict.fromkeys(map(find.find, options.devices.split(","))))
        except MinivaeError as error:
            raise SystemExit(str(error)) from None
    else:
        found = ["cpu"] if find.fault() else ["cpu", "gpu"]
        if find.fault():
            left_out["minivae, gpu"] = find.fault()
    if "gpu" in found:
        os.environ["CUPY_TF32"] = "0"  # read at CuPy's first product
    return found


def nothing():
    pass


def calls_a_block(call, synchronize=nothing, longest=LONGEST, most=MOST):
    """How many calls fill a block: some hundred, and fewer where they are slow."""
    seconds = [longest]
    for _ in range(4):
        start = time.perf_counter()
        call()
        synchronize()
        seconds.append(time.perf_counter() - start)
        if seconds[-1] > 5 * longest:  # minutes, perhaps; a first call may have to compile
            break
    return min(most, int(longest / min(seconds)))


def time_arms(arms, options, synchronize=None, calls=None):
    """{name: function} -> {name: [seconds a call, of each round]}.

    options, of `parse`: rounds, pause, calls. synchronize {name: function} waits until an arm's
    device has done all that it was given; who is not named there needs none. calls: of a block, for
    all arms alike; None fits it to each.
    """
    calls = calls or options.calls
    waits = {name: (synchronize or {}).get(name, nothing) for name in arms}
    if calls is None:
        blocks = {name: calls_a_block(call, waits[name]) for name, call in arms.items()}
    else:
        blocks = dict.fromkeys(arms, calls)
    seconds = {name: [] for name in arms}
    for number in range(options.rounds + 1):
        for name in list(arms)[:: 1 if number % 2 else -1]:
            time.sleep(options.pause)
            call, synchronized, block = arms[name], waits[name], blocks[name]
            for _ in range(-(-block // 20) if block > 1 else 0):  # wakes this arm's own threads
                call()
            synchronized()
            start = time.perf_counter()
            for _ in range(block):
                call()
            synchronized()
            if number:  # the first round warms up
                seconds[name].append((time.perf_counter() - start) / block)
    return seconds


def summary(values):
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "low": low, "high": high}


def ratio(seconds, ours, theirs):
    """Median and quartiles of the rounds' ratios: what slowed a whole round down cancels."""
    return summary(np.divide(seconds[ours], seconds[theirs]))


def table(header, rows):
    """A table of fixed width, which is Markdown too: the first column left, the others right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for row in cells:
        first, *others = [
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append(f"| {' | '.join([first, *others])} |")
    rule = [f":{'-' * (width - 1)}" if not k else f"{'-' * (width - 1)}:"
            for k, width in enumerate(widths)]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def spread(found, scale=1.0, digits=3):
    """A summary as two cells: the median, and the quartiles."""
    median, low, high = (f"{scale * found[key]:.{digits}f}" for key in ("median", "low", "high"))
    return median, f"{low} to {high}"


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores():
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def blas():
    """The BLAS libraries in this process, NumPy's and others', with their threads."""
    if importlib.util.find_spec("threadpoolctl") is None:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return [{"library": built["name"], "version": built["version"]}]
    from threadpoolctl import threadpool_info

    return [
        {
            "library": f"{pool['internal_api']} of {Path(pool['filepath']).parent.name}",
            "version": pool["version"],
            "architecture": pool.get("architecture"),
            "threads": pool["num_threads"],
        }
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


def describe(measured):
    """What the numbers depend on; call it after the arms are made, when all libraries are in."""
    versions = {"Python": platform.python_version(), "minivae": minivae.__version__}
    names = {"numpy": "NumPy", "cupy": "CuPy", "torch": "PyTorch", "jax": "JAX"}
    imported = {module: sys.modules[module] for module in names if module in sys.modules}
    versions |= {names[module]: found.__version__ for module, found in imported.items()}
    products = {"NumPy": "float32"}
    if "gpu" in measured:
        products["CuPy"] = f"CUPY_TF32={os.environ['CUPY_TF32']}"
    if "torch" in imported:
        products["PyTorch"] = imported["torch"].get_float32_matmul_precision()
        versions["PyTorch's threads"] = imported["torch"].get_num_threads()
    if "jax" in imported:
        products["JAX"] = imported["jax"].config.jax_default_matmul_precision or "default"
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "devices": {device: find.describe(device) for device in measured},
        "functions": {device: ops.pick(device).name for device in measured},
        "blas": blas(),
        "versions": versions,
        "products": products,
        "environment": ENVIRONMENT,
        "date": datetime.date.today().isoformat(),
    }


def lines(machine):
    """The machine in a few lines of text."""
    said = [f"{machine['cpu']}, {machine['cores']} cores; {machine['date']}"]
    said += [text for device, text in machine["devices"].items() if device != "cpu"]
    functions = [f"{name}.py ({device})" for device, name in machine["functions"].items()]
    said.append(f"minivae's functions: {', '.join(functions)}")
    said.append(", ".join(f"{name} {version}" for name, version in machine["versions"].items()))
    for library in machine["blas"]:
        about = f"BLAS: {library['library']} {library['version']}"
        if "threads" in library:
            about += f", {library['architecture']} kernels, {library['threads']} threads"
        said.append(about)
    if "gpu" in machine["devices"]:
        products = ", ".join(f"{name} {value}" for name, value in machine["products"].items())
        said.append(f"products in true float32, no TF32: {products}")
    if machine["environment"]:
        said.append(" ".join(f"{name}={value}" for name, value in machine["environment"].items()))
    return said


def report(options, script, measured, results, left_out):
    """Print what was measured where and what was left out, write the JSON -> the machine."""
    machine = describe(measured)
    print("\n".join(lines(machine)))
    print(f"rounds: {options.rounds}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    path = output(options, f"{script}-{'-'.join(measured)}", ".json")
    found = {
        "script": script,
        "quick": options.quick,
        "rounds": options.rounds,
        "machine": machine,
        "left_out": left_out,
        "results": results,
    }
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(path)
    return machine


def output(options, name, suffix):
    """The file of that name in the folder; a quick run never replaces a full one's."""
    options.out.mkdir(parents=True, exist_ok=True)
    return options.out / f"{name}{'-quick' if options.quick else ''}{suffix}"
