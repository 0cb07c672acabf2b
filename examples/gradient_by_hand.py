"""A gradient by hand: softmax with cross-entropy, cut into single operations, then put together.

    python examples/gradient_by_hand.py      1 s

−log p(y) looks harmless, and is nine operations. Backward takes the last first, one derivative at a
time. Every intermediate's gradient stands beside the numeric one, by its name: the first that is
off shows the mistake. Then three steps of algebra make of all the single line that minivae runs.
"""

# %%
import numpy as np

from minivae.distributions import categorical_nll_backward, categorical_nll_forward
from minivae.layers import softmax_backward, softmax_forward

B, K = 4, 3  # examples, classes; y holds one-hot rows
logits = np.random.default_rng(0).standard_normal((B, K))
y = np.eye(K)[[0, 1, 2, 0]]


# %% Forward, one operation a line
def forward(logits, nudge=None):
    """The loss, and every value by its name. nudge = {name: array} is added to that value."""
    values = {}

    def keep(name, value):
        values[name] = value + (nudge or {}).get(name, 0)
        return values[name]

    logits = keep("logits", logits)  # (B, K)
    top = keep("top", np.max(logits, axis=1, keepdims=True))  # (B, 1)
    shifted = keep("shifted", logits - top)  # (B, K): so that exp cannot be too large
    e = keep("e", np.exp(shifted))  # (B, K)
    total = keep("total", np.sum(e, axis=1, keepdims=True))  # (B, 1)
    inverse = keep("inverse", 1 / total)  # (B, 1)
    probs = keep("probs", e * inverse)  # (B, K)
    log_probs = keep("log_probs", np.log(probs))  # (B, K)
    picked = keep("picked", y * log_probs)  # (B, K)
    ce = keep("ce", -np.sum(picked, axis=1))  # (B,)
    return np.mean(ce), values


# %% Backward: the same lines upside down. d… is ∂loss/∂…, and has its shape.
def backward(v, path_by_total=1):
    """The gradient of every value, by its name. path_by_total=0 is the mistake of the last cell."""
    d = {"ce": np.full(B, 1 / B)}
    d["picked"] = -d["ce"][:, None] * np.ones((B, K))
    d["log_probs"] = d["picked"] * y
    d["probs"] = d["log_probs"] / v["probs"]
    d["inverse"] = np.sum(d["probs"] * v["e"], axis=1, keepdims=True)  # one number served K
    d["total"] = -d["inverse"] * v["inverse"] ** 2
    # Two paths lead from e to the loss, straight to probs and by way of total: they add.
    d["e"] = d["probs"] * v["inverse"] + path_by_total * d["total"] * np.ones((B, K))
    d["shifted"] = d["e"] * v["e"]
    d["top"] = -np.sum(d["shifted"], axis=1, keepdims=True)
    largest = v["logits"] == np.max(v["logits"], axis=1, keepdims=True)
    d["logits"] = d["shifted"] + d["top"] * largest
    return d


def numeric(name, shape):
    """∂loss/∂value by its definition, the complex step: one entry is nudged by ih; Im loss / h."""
    slopes = np.empty(shape)
    for i in np.ndindex(shape):
        entry = np.zeros(shape, complex)
        entry[i] = 1e-30j
        slopes[i] = forward(logits, {name: entry})[0].imag / 1e-30
    return slopes


def table(d):
    """Print each gradient beside the numeric one -> {name: largest difference}."""
    off = {}
    print(f"{'':12} {'shape':8} {'by hand [0]':>12} {'numeric [0]':>12} {'largest difference':>19}")
    for name, by_hand in d.items():
        slopes = numeric(name, by_hand.shape)
        off[name] = np.max(np.abs(by_hand - slopes))
        first = f"{by_hand.flat[0]:z12.8f} {slopes.flat[0]:z12.8f}"
        verdict = "  WRONG" if off[name] > 1e-14 else ""
        print(f"d{name:11} {str(by_hand.shape):8} {first} {off[name]:19.1e}{verdict}")
    return off


loss, values = forward(logits)
d = backward(values)
print(f"loss {loss:.8f}; its gradients, the last operation first:")
assert max(table(d).values()) < 1e-14
assert np.isclose(loss, np.mean(categorical_nll_forward(logits, y)), rtol=1e-15)


# %% Put together again. Each step is algebra, and each is compared.
def compare(what, dlogits):
    print(f"{what:64} {np.max(np.abs(dlogits - d['logits'])):8.1e}")
    assert np.allclose(dlogits, d["logits"], rtol=0, atol=1e-15)


print("\nput together, and the largest difference to dlogits above:")
dce, probs, dprobs = d["ce"][:, None], values["probs"], d["probs"]
# 1. dtop = 0, the sum of what follows over k: a row may be shifted, and nothing changes.
compare("1. without dtop: dshifted", d["shifted"])
# 2. dshifted = de · e = e (dp / total − Σ_l dp_l e_l / total²), and e / total = p.
compare("2. p (dp − Σ dp p)", probs * (dprobs - np.sum(dprobs * probs, axis=1, keepdims=True)))
compare("   minivae.layers.softmax_backward", softmax_backward(dprobs, softmax_forward(logits)))
# 3. p dp = −dce y, whose sum is −dce, for a row of y sums to 1. Nothing is divided by p any more.
compare("3. dce (p − y)", dce * (probs - y))
package = categorical_nll_backward(d["ce"], softmax_forward(logits), y)
compare("   minivae.distributions.categorical_nll_backward", package)

# %% Why it matters: a model that is sure and wrong. p = exp(−800) is 0, and the long form divides.
sure = np.array([[0.0, 800.0, 0.0]])
short = categorical_nll_backward(np.ones(1), softmax_forward(sure), y[:1])
with np.errstate(all="ignore"):
    long = softmax_backward(-y[:1] / softmax_forward(sure), softmax_forward(sure))
print(f"\nlogits {sure[0]}, label 0: by 1 and 2 {long[0]}, by 3 {short[0]}")
assert np.all(np.isnan(long)) and np.array_equal(short, [[-1, 1, 0]])

# %% A planted mistake: the path by way of total forgotten
print("\none path of two forgotten: right as far as dtotal, wrong from de on")
wrong = [name for name, off in table(backward(values, path_by_total=0)).items() if off > 1e-14]
assert wrong == ["e", "shifted", "top", "logits"], wrong
