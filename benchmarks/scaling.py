"""A training step of the article's model on the CPU and on the GPU, over its size.

    python benchmarks/scaling.py [--rounds 5] [--devices cpu,gpu] [--quick] [--out FOLDER]

Over the batch size, 32 to 16,384 at hidden width 128, and over the hidden width, 64 to 4,096 at
batch 256: seconds a step, images a second, the share of the device's rate of matrix products, and
where the GPU's line crosses the CPU's. The rate is the best of several large float32 products in
the same run, before and after the steps; a step's flops are those of its matrix products, counted
from their shapes. How the time grows is the exponent of a power law, fitted to the batches from
1,024 on. On a GPU there is also batch 16,384 at width 4,096. Each GPU step is held to minivae in
float64 on the CPU before it is timed. Draws scaling.png.
"""

import time

import numpy as np
import peers
import timer
from matplotlib.figure import Figure

from minivae import VAE, VAEConfig
from minivae.devices.find import synchronize
from minivae.devices.memory import freed_memory_kept, put
from minivae.plots import BLUE, ORANGE

WIDTH, BATCH = 128, 256
BATCHES = [2**k for k in range(5, 15)]
WIDTHS = [2**k for k in range(6, 13)]
SQUARE = {"cpu": 2048, "gpu": 4096}  # the side of the products that give the rate
LINEAR_FROM = 1024
STYLES = {"cpu": ("o-", BLUE, "CPU"), "gpu": ("s--", ORANGE, "GPU")}


def product_rate(device, side, tries=5):
    """Flops a second of the best of several square products."""
    rng = np.random.default_rng(0)
    a, b = (put(rng.random((side, side), dtype=np.float32), device) for _ in range(2))
    out = np.matmul(a, b)
    best = np.inf
    for _ in range(tries):
        synchronize(device)
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def measure(width, B, found, options):
    """One size -> {device: its numbers}; shares are filled in when the rates are known."""
    layers = (width,)
    config = VAEConfig(encoder_layers=layers, decoder_layers=layers, classifier_layers=layers)
    vae = VAE(config)
    batch = peers.random_batch(config, B)
    if "gpu" in found:
        arm = peers.minivae_arm(vae.to("gpu"), batch)
        peers.verify(arm.step(), arm.weights(), vae, batch)
    arms = {device: peers.minivae_arm(vae.to(device), batch) for device in found}
    with freed_memory_kept():  # as in fit
        seconds = timer.time_arms(
            {device: arm.step for device, arm in arms.items()},
            options,
            {device: arm.synchronize for device, arm in arms.items()},
        )
    _, flops = peers.matrix_products(vae, 1)
    return {
        device: {
            "width": width,
            "batch": B,
            "seconds": timer.summary(values),
            "images_a_second": B / timer.summary(values)["median"],
            "flops_of_products": B * flops,
            "rounds": values,
        }
        for device, values in seconds.items()
    }


def medians(sweep, device):
    return np.array([size[device]["seconds"]["median"] for size in sweep])


def crossing(sizes, sweep):
    """The size from which on the GPU is faster, on straight lines in the logarithms; None if the
    lines do not cross."""
    ahead = np.log(medians(sweep, "cpu") / medians(sweep, "gpu"))
    log_sizes = np.log(sizes)
    for k in reversed(range(len(sizes) - 1)):
        if ahead[k] < 0 <= min(ahead[k + 1 :]):
            step = -ahead[k] / (ahead[k + 1] - ahead[k])
            return float(np.exp(log_sizes[k] + step * (log_sizes[k + 1] - log_sizes[k])))
    return None


def verdict(value, sweep):
    if value:
        return f"the GPU is ahead from {value:.0f} on"
    ahead = min(sweep[-1], key=lambda device: sweep[-1][device]["seconds"]["median"])
    return f"the lines do not cross, the {STYLES[ahead][2]} is ahead"


def exponent(sizes, sweep, device):
    """Of seconds ∝ batch^exponent, from LINEAR_FROM on."""
    large = np.array(sizes) >= LINEAR_FROM
    logs = np.log(np.array(sizes)[large]), np.log(medians(sweep, device)[large])
    return float(np.polyfit(*logs, 1)[0])


def draw(sweeps, rates, crossings, machine, path):
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", height_ratios=[3, 2])
    if len(rates) == 1:
        [device] = rates
        other = "no GPU was measured" if device == "cpu" else "the CPU was not measured"
    else:
        other = "CPU and GPU"
    figure.suptitle(f"minivae: a training step of the article's model ({other})")
    titles = {"batch": f"hidden width {WIDTH}", "width": f"batch {BATCH}"}
    labels = {"batch": "batch size, images", "width": "hidden width, units"}
    for column, (axis, (sizes, sweep)) in zip(axes.T, sweeps.items()):
        above, below = column
        for device in rates:
            style, colour, label = STYLES[device]
            shares = [100 * size[device]["share_of_product_rate"] for size in sweep]
            text = f"{label}, {rates[device] / 1e9:,.0f} GFLOP/s"
            above.plot(sizes, medians(sweep, device), style, color=colour, label=label)
            below.plot(sizes, shares, style, color=colour, label=text)
        if crossings.get(axis):
            above.axvline(crossings[axis], color="0.6", linewidth=1, zorder=0)
            text = f" GPU faster\n from {crossings[axis]:,.0f} on"
            place = crossings[axis], 0.02
            above.text(*place, text, transform=above.get_xaxis_transform(), fontsize=8)
        above.set_title(titles[axis], fontsize=10)
        above.set_yscale("log")
        above.set_ylabel("seconds a step")
        below.set_xscale("log", base=2)
        below.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        below.set_ylim(0, max(100, below.get_ylim()[1]))
        below.set_xlabel(labels[axis])
        below.set_ylabel("% of the rate of\nlarge matrix products")
        for ax in column:
            ax.grid(alpha=0.3)
            ax.legend(fontsize=8)
    figure.supxlabel("\n".join(machine), fontsize=7, color="0.3")
    figure.savefig(path, dpi=120)


def main():
    options = timer.parser(__doc__, rounds=5)
    timer.add_devices(options)
    options = timer.parse(options)
    left_out = {}
    found = timer.devices(options, left_out)
    batches = [32, 1024, 2048] if options.quick else BATCHES
    widths = [64, 128] if options.quick else WIDTHS

    def rates_now():
        return [product_rate(device, 256 if options.quick else SQUARE[device]) for device in found]

    before = rates_now()
    sweeps = {
        "batch": (batches, [measure(WIDTH, B, found, options) for B in batches]),
        "width": (widths, [measure(width, BATCH, found, options) for width in widths]),
    }
    largest = None
    if "gpu" in found and not options.quick:
        try:
            largest = measure(WIDTHS[-1], BATCHES[-1], ["gpu"], options)
        except MemoryError as error:
            left_out[f"width {WIDTHS[-1]}, batch {BATCHES[-1]}"] = str(error)
    rates = dict(zip(found, map(max, before, rates_now())))

    sizes_of = [*sweeps["batch"][1], *sweeps["width"][1], *([largest] if largest else [])]
    for size in sizes_of:
        for device, numbers in size.items():
            rate = numbers["flops_of_products"] / numbers["seconds"]["median"]
            numbers["share_of_product_rate"] = rate / rates[device]
    both = len(found) == 2
    crossings = {axis: crossing(*sweep) if both else None for axis, sweep in sweeps.items()}
    exponents = {device: exponent(*sweeps["batch"], device) for device in found}

    header = ["width", "batch", "device", "ms a step", "quartiles", "images/s", "% of products"]
    rows = [
        [
            numbers["width"],
            numbers["batch"],
            device,
            *timer.spread(numbers["seconds"], 1e3),
            f"{numbers['images_a_second']:.0f}",
            f"{100 * numbers['share_of_product_rate']:.1f}",
        ]
        for size in sizes_of
        for device, numbers in size.items()
    ]
    print(timer.table(header, rows), end="\n\n")
    for device in found:
        print(f"{device}: matrix products at {rates[device] / 1e9:.1f} GFLOP/s; from batch "
              f"{LINEAR_FROM} on, seconds ∝ batch^{exponents[device]:.3f}")
    for axis, value in crossings.items():
        if both:
            print(f"over the {axis}: {verdict(value, sweeps[axis][1])}")
    results = {
        "batch": sweeps["batch"][1],
        "width": sweeps["width"][1],
        "largest": largest,
        "product_rate": rates,
        "crossing": crossings,
        "exponent": exponents,
    }
    machine = timer.report(options, "scaling", found, results, left_out)
    path = timer.output(options, "scaling", ".png")
    draw(sweeps, rates, crossings, timer.lines(machine), path)
    print(path)


if __name__ == "__main__":
    main()
