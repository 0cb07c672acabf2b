"""One training step, minivae beside PyTorch, JAX and the matrix products alone.

    python benchmarks/step.py [--rounds 15] [--devices cpu,gpu] [--quick] [--out FOLDER]
                              [--against CHECKOUT]

Forward, backward and Adam on a fixed batch, with fixed noise, that lie on the device. Three
problems: the article's model, with its classifier, at batch 100; 784-500-500-20, tanh, Bernoulli,
without classes, at 128 and at 4,096. Arms, on each device: minivae; PyTorch eager and torch.compile
(on a GPU in its mode "reduce-overhead"), both with PyTorch's fused Adam; JAX, the whole step in one
jit; and the step's matrix products with nothing between them. The first step of each is held to
minivae in float64, loss and every weight, before the time is taken. An arm that cannot be had is
left out by name. pip install ".[bench]" brings the peers. --against: the folder of another checkout
of minivae, whose step is measured beside this one's, instead of the peers'.
"""

import sys
from dataclasses import asdict

import peers
import timer

from minivae import VAE, VAEConfig
from minivae.devices.memory import freed_memory_kept


def deep(width, latent_dim):
    layers = (width, width)
    return VAEConfig(
        latent_dim=latent_dim,
        encoder_layers=layers,
        decoder_layers=layers,
        activation="tanh",
        likelihood="bernoulli",
        num_classes=0,
    )


PROBLEMS = {
    "article, batch 100": (VAEConfig(), 100),
    "784-500-500-20, batch 128": (deep(500, 20), 128),
    "784-500-500-20, batch 4096": (deep(500, 20), 4096),
}
TINY = {
    "article's, batch 8": (VAEConfig(encoder_layers=(8,), decoder_layers=(8,)), 8),
    "784-8-8-2, batch 8": (deep(8, 2), 8),
}


def made(name, make, vae, batch, left_out):
    """The arm, verified; None, and its reason in left_out, where a peer's library fails."""
    try:
        arm = make()
        loss = arm.step()
        arm.synchronize()
    except Exception as error:
        if name.startswith("minivae"):
            raise
        left_out[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return None
    peers.verify(loss, arm.weights(), vae, batch)
    return arm


def arms_on(device, vae, batch, quick, left_out):
    """{name: Arm} of all that can be had on the device."""
    makers = {f"minivae, {device}": lambda: peers.minivae_arm(vae.to(device), batch)}
    reason = peers.why_not("torch", device)
    for compiled in (False, True):
        name = f"{'torch.compile' if compiled else 'PyTorch'}, {device}"
        if reason or compiled and quick:
            left_out[name] = reason or "compiling takes longer than --quick may"
        else:
            makers[name] = lambda c=compiled: peers.pytorch_arm(vae, batch, device, c)
    name = f"JAX jit, {device}"
    reason = peers.why_not("jax", device)
    if reason:
        left_out[name] = reason
    else:
        makers[name] = lambda: peers.jax_arm(vae, batch, device)
    arms = {name: made(name, make, vae, batch, left_out) for name, make in makers.items()}
    arms = {name: arm for name, arm in arms.items() if arm}
    arms[f"products alone, {device}"] = peers.matrix_products(vae.to(device), len(batch.x))[0]
    return arms


def arms_of_checkouts(device, vae, batch, package):
    """{name: Arm} of this checkout and of another one, whose package is given."""
    ours, theirs = vae.to(device), peers.same_model(vae.to(device), package)
    arms = {
        f"minivae, {device}": peers.minivae_arm(ours, batch),
        f"the other checkout, {device}": peers.minivae_arm(theirs, batch, package),
    }
    for arm in arms.values():
        peers.verify(arm.step(), arm.weights(), vae, batch)
    return arms


def measure(config, B, found, options, left_out):
    vae = VAE(config)
    batch = peers.random_batch(config, B)
    arms = {}
    if "torch" in sys.modules:  # forget what was compiled for the problem before
        sys.modules["torch"].compiler.reset()
    for device in found:
        if options.against:
            arms |= arms_of_checkouts(device, vae, batch, options.against)
        else:
            arms |= arms_on(device, vae, batch, options.quick, left_out)
    with freed_memory_kept():  # as in fit; it holds for the whole process, so for every arm
        seconds = timer.time_arms(
            {name: arm.step for name, arm in arms.items()},
            options,
            {name: arm.synchronize for name, arm in arms.items()},
        )
    results = {}
    for name, values in seconds.items():
        device = name.rpartition(", ")[2]
        results[name] = {
            "seconds": timer.summary(values),
            "minivae_over_it": timer.ratio(seconds, f"minivae, {device}", name),
            "rounds": values,
        }
    if "gpu" in found and "cpu" in found:
        results["minivae, gpu"]["gpu_over_cpu"] = timer.ratio(
            seconds, "minivae, gpu", "minivae, cpu"
        )
    _, flops = peers.matrix_products(vae, 1)
    return {
        "config": asdict(config),
        "batch": B,
        "parameters": vae.theta.size,
        "flops_of_products": B * flops,
        "arms": results,
    }


def main():
    options = timer.parser(__doc__, rounds=15)
    timer.add_devices(options)
    options.add_argument(
        "--against", type=peers.another, metavar="CHECKOUT", help="only this and that checkout"
    )
    options = timer.parse(options)
    left_out, results = {}, {}
    found = timer.devices(options, left_out)
    header = ["ms a step", "median", "quartiles", "minivae / it", "quartiles"]
    for title, (config, B) in (TINY if options.quick else PROBLEMS).items():
        results[title] = measure(config, B, found, options, left_out)
        rows = [
            [name, *timer.spread(arm["seconds"], 1e3), *timer.spread(arm["minivae_over_it"])]
            for name, arm in results[title]["arms"].items()
        ]
        print(f"\n{title}\n\n{timer.table(header, rows)}", flush=True)
        ratio = results[title]["arms"].get("minivae, gpu", {}).get("gpu_over_cpu")
        if ratio:
            print("\nminivae, gpu / cpu: {} ({})".format(*timer.spread(ratio, digits=4)))
    print()
    script = "step-against" if options.against else "step"
    timer.report(options, script, found, results, left_out)


if __name__ == "__main__":
    main()
