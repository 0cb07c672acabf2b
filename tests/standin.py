"""A stand-in for CuPy: on a CPU it shows that code for the GPU is right and never leaves it.

Its arrays compute with NumPy and refuse what CuPy 14 refuses: implicit conversion, operands on the
host, arguments that CuPy's functions do not have. Reductions stay 0-d arrays, integer indices out
of range wrap, and everything that takes time on a real GPU is counted: launches, waits of the host
for the device, uploads. The text of a kernel is compiled by g++ and computes on the CPU.
"""

import ctypes
import functools
import importlib.machinery
import math
import subprocess
import types

import numpy as np

# NumPy's functions that minivae calls on the device, and the keywords that CuPy accepts. A test
# compares both lists with the real CuPy.
UFUNCS = (
    "add subtract multiply divide negative power sqrt exp log log1p tanh maximum floor isfinite "
    "equal not_equal less_equal greater matmul"
).split()
COMPARISONS = "equal not_equal less less_equal greater greater_equal".split()
FUNCTIONS = {
    "all": ["axis"],
    "argmax": ["axis"],
    "concatenate": ["axis", "dtype"],
    "empty_like": ["dtype"],
    "full_like": ["dtype"],
    "max": ["axis", "keepdims"],
    "mean": ["axis", "dtype", "keepdims"],
    "ones_like": ["dtype"],
    "repeat": ["axis"],
    "split": ["axis"],
    "stack": ["axis", "dtype"],
    "sum": ["axis", "dtype", "out", "keepdims"],
    "where": [],
    "zeros_like": ["dtype"],
}
FREE = {"empty_like", "split"}  # no launch: nothing is written, or views are made
SCALARS = (bool, int, float, complex, np.generic)
FLOATS = "float32", "float64"
LANES = 512
C_TYPES = {"float32": "float", "float64": "double", "int32": "int"}


class Costs:
    """What was asked of the device since `reset`; launches at least, for some functions do more."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.launches = 0
        self.waits = []  # the method that waited
        self.uploads = []  # (dtype, shape)


def on_host(x):
    """What an array, or arrays in a list, hold; an array of NumPy is refused."""
    if isinstance(x, (list, tuple)):
        return type(x)(on_host(part) for part in x)
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return x.held if isinstance(x, ndarray) else x


def on_device(x):
    if isinstance(x, (list, tuple)):
        return [on_device(part) for part in x]
    return ndarray(np.asarray(x))


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device; `held` is what it holds, and no code under test looks at it."""

    __array_priority__ = 100
    costs = Costs()

    def __init__(self, held):
        self.held = held

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        name = ufunc.__name__
        if method != "__call__" or name not in UFUNCS:
            return NotImplemented
        if set(kwargs) - {"dtype"}:
            raise TypeError(f"Wrong arguments {kwargs}")
        if name in COMPARISONS:  # CuPy takes 0-d arrays of NumPy here and only here
            inputs = [x.item() if isinstance(x, np.ndarray) and not x.shape else x for x in inputs]
        if not all(isinstance(x, (ndarray, np.ndarray, *SCALARS)) for x in inputs):
            return NotImplemented
        plain = [on_host(x) for x in inputs]
        if out is not None:
            kwargs["out"] = on_host(out)
            if name == "matmul" and any(np.shares_memory(x, kwargs["out"][0]) for x in plain):
                raise ValueError("matmul's out is one of its operands")
        self.costs.launches += 1
        with np.errstate(all="ignore"):
            result = ufunc(*plain, **kwargs)
        return on_device(result) if out is None else out[0]

    def __array_function__(self, function, kinds, args, kwargs):
        name = function.__name__
        if function.__module__ != "numpy" or name not in FUNCTIONS:
            return NotImplemented
        if not set(kinds) <= {ndarray, np.ndarray}:
            return NotImplemented
        if set(kwargs) - set(FUNCTIONS[name]):
            raise TypeError(f"cupy.{name} has no {', '.join(set(kwargs) - set(FUNCTIONS[name]))}")
        out = kwargs.get("out")
        kwargs = {key: on_host(value) for key, value in kwargs.items()}
        # CuPy copies the parts of a concatenation one by one.
        parts = len(args[0]) if name in ("concatenate", "stack") else 1
        self.costs.launches += 0 if name in FREE else parts
        with np.errstate(all="ignore"):
            result = function(*on_host(args), **kwargs)
        return on_device(result) if out is None else out

    # What needs the numbers on the host waits for all that was launched before.

    def get(self, why="get"):
        self.costs.waits.append(why)
        return self.held.copy(order="C")

    def item(self):
        return self.get("item").item()

    def tolist(self):
        return self.get("tolist").tolist()

    def tobytes(self):
        return self.get("tobytes").tobytes()

    def __bool__(self):
        return bool(self.get("bool"))

    def __float__(self):
        return float(self.get("float"))

    def __int__(self):
        return int(self.get("int"))

    def __complex__(self):
        return complex(self.get("complex"))

    def __repr__(self):
        return repr(self.get("repr"))

    def __str__(self):
        return str(self.get("str"))

    def __format__(self, how):
        return format(self.get("format"), how)

    # What is known without them.

    shape = property(lambda self: self.held.shape)
    dtype = property(lambda self: self.held.dtype)
    ndim = property(lambda self: self.held.ndim)
    size = property(lambda self: self.held.size)
    itemsize = property(lambda self: self.held.itemsize)
    nbytes = property(lambda self: self.held.nbytes)
    T = property(lambda self: ndarray(self.held.T))
    real = property(lambda self: self if self.dtype.kind != "c" else ndarray(self.held.real))

    def __len__(self):
        return len(self.held)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __deepcopy__(self, memo):
        return self.copy()

    def copy(self):
        self.costs.launches += 1
        return ndarray(self.held.copy())

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        self.costs.launches += 1
        return ndarray(self.held.astype(dtype))

    def reshape(self, *shape):
        shaped = self.held.reshape(*shape)
        self.costs.launches += not np.may_share_memory(shaped, self.held)
        return ndarray(shaped)

    def fill(self, value):
        """Of CuPy, also where an array of NumPy is assigned: it never uploads."""
        if isinstance(value, np.ndarray) and value.shape:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self.costs.launches += 1
        self.held[...] = value

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return np.sum(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def max(self, axis=None, out=None, keepdims=False):
        return np.max(self, axis=axis, keepdims=keepdims)

    def _key(self, key):
        """An index as NumPy takes it: an array of integers wrapped, and none of booleans."""
        if isinstance(key, (list, np.ndarray)):
            key = asarray(np.asarray(key))
        if not isinstance(key, ndarray):
            parts = key if isinstance(key, tuple) else (key,)
            if any(hasattr(part, "dtype") or isinstance(part, (list, bool)) for part in parts):
                raise NotImplementedError("an index of several arrays")
            return key
        if key.dtype.kind not in "iu":
            raise NotImplementedError(f"an index of {key.dtype}")
        self.costs.launches += 1
        return key.held % len(self)

    def __getitem__(self, key):
        return ndarray(np.asarray(self.held[self._key(key)]))

    def __setitem__(self, key, value):
        if isinstance(value, ndarray):
            self.costs.launches += 1
            self.held[self._key(key)] = value.held
        else:
            self[key].fill(value)


def asarray(x):
    """On the device: what lies on the host is uploaded."""
    if isinstance(x, ndarray):
        return x
    x = np.array(x)
    ndarray.costs.uploads.append((x.dtype.name, x.shape))
    return ndarray(x)


class Parameter:
    """One of a kernel's parameters, written "raw T logits"."""

    def __init__(self, text):
        *raw, self.type, self.name = text.split()
        if raw not in ([], ["raw"]) or self.name == "i":
            raise ValueError(f"no parameter of a kernel: {text!r}")
        self.raw = bool(raw)

    def dtype(self, T):
        return T if self.type == "T" else np.dtype(self.type)


class Kernel:
    """What both kinds have in common: the parameters, and the rules for what is given for them."""

    def __init__(self, compiler, inputs, outputs, name):
        self.compiler, self.name = compiler, name
        self.inputs = [Parameter(text) for text in inputs.split(",")]
        self.outputs = [Parameter(text) for text in outputs.split(",")]
        self.parameters = self.inputs + self.outputs
        self.texts = {np.dtype(T): self.host_text(np.dtype(T), "NAME") for T in FLOATS}
        compiler.kernels[self.texts[np.dtype("float32")]] = self

    def checked(self, args):
        """-> T, by the arrays alone, and the shape that those which are not raw broadcast to."""
        if len(args) not in (len(self.inputs), len(self.parameters)):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}")
        arrays = [(p, x) for p, x in zip(self.parameters, args) if isinstance(x, ndarray)]
        if any(not isinstance(x, (ndarray, *SCALARS)) for x in args):
            raise TypeError(f"Unsupported type among {[type(x) for x in args]}")
        if any(not isinstance(x, ndarray) for x in args[len(self.inputs) :]):
            raise TypeError("Output arguments must be cupy.ndarray")
        kinds = {x.dtype for p, x in arrays if p.type == "T"}
        if len(kinds) != 1 or any(x.dtype != p.dtype(x.dtype) for p, x in arrays):
            raise TypeError(f"Type is mismatched. {[(p.name, x.dtype) for p, x in arrays]}")
        shapes = [x.shape for p, x in arrays if not p.raw]
        return kinds.pop(), np.broadcast_shapes(*shapes) if shapes else None

    def launch(self, T, shape, width, args, outputs):
        """Arrays that are not raw are spread over the shape; the outputs are what they were."""
        held = [np.asarray(on_host(x), p.dtype(T)) for p, x in zip(self.inputs, args)]
        held = [x if p.raw else np.broadcast_to(x, shape) for p, x in zip(self.inputs, held)]
        given = [np.ascontiguousarray(x) for x in [*held, *map(on_host, outputs)]]
        pointers = [ctypes.c_void_p(x.ctypes.data) for x in given]
        sizes = ctypes.c_ssize_t(math.prod(shape) // width), ctypes.c_ssize_t(width)
        ndarray.costs.launches += 1
        self.compiler.function(self.texts[T])(*sizes, *pointers)
        for x, result in zip(outputs, given[len(self.inputs) :]):
            x.held[...] = result.reshape(x.shape)

    def host_text(self, T, name):
        """The C++ function of all elements, or rows, for one T."""
        pointers = "".join(
            f", {'const ' if p in self.inputs else ''}"
            f"{C_TYPES[p.dtype(T).name]} *{p.name if p.raw else '_raw_' + p.name}"
            for p in self.parameters
        )
        body = self.text("i", "i * _width + _j", "i")
        return (
            f'extern "C" void {name}(ptrdiff_t _size, ptrdiff_t _width{pointers}) {{\n'
            f"typedef {C_TYPES[T.name]} T;\n"
            f"for (ptrdiff_t i = 0; i < _size; ++i) {{ {body} }} }}\n"
        )

    def cuda_text(self, T, name, contiguous):
        """The kernel as CuPy writes it, with its own classes for arrays."""
        arrays = ", ".join(
            f"{'const ' if p in self.inputs else ''}CArray<{p.type}, 2, {contiguous:d}, 1> "
            f"{p.name if p.raw else '_raw_' + p.name}"
            if p.type == "T"
            else f"const {C_TYPES[p.type]} {p.name}"
            for p in self.parameters
        )
        body = self.text("_ind.get()", "_in_ind.get()", "_ind.get()", ("T",))
        return (
            f"namespace {name} {{ typedef {C_TYPES[T.name]} T;\n"
            f'extern "C" __global__ void {name}({arrays}, ptrdiff_t _width, CIndexer<2, 1> _in_ind,'
            f" CIndexer<2, 1> _ind) {{\nCUPY_FOR(i, _ind.size()) {{ _ind.set(i); {body} }} }} }}\n"
        )

    def elements(self, parameters, index, types=("T", "int32")):
        """References to the elements that an index names, under the parameters' names."""
        return "".join(
            f"{'const ' if p in self.inputs else ''}{C_TYPES.get(p.type, p.type)} &{p.name} = "
            f"_raw_{p.name}[{index}];\n"
            for p in parameters
            if not p.raw and p.type in types
        )


class ElementwiseKernel(Kernel):
    def __init__(self, compiler, inputs, outputs, body, name="kernel"):
        self.body = body
        super().__init__(compiler, inputs, outputs, name)

    def text(self, here, column, row, types=("T", "int32")):
        return self.elements(self.parameters, here, types) + self.body + ";"

    def __call__(self, *args, size=None):
        if self.compiler.dry:
            return None
        T, shape = self.checked(args)
        if (shape is None) == (size is None):
            raise ValueError("size is given if and only if every array is raw")
        shape = (size,) if shape is None else shape
        outputs = args[len(self.inputs) :]
        if not outputs:
            if any(p.raw for p in self.outputs):
                raise ValueError("Output array size is undecided")
            outputs = [ndarray(np.full(shape, np.nan, p.dtype(T))) for p in self.outputs]
        if any(not p.raw and x.shape != shape for p, x in zip(self.outputs, outputs)):
            raise ValueError("Out shape is mismatched")
        self.launch(T, shape, 1, args, outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class ReductionKernel(Kernel):
    """Over the last axis, as CuPy's blocks do: many sums, then these two by two."""

    def __init__(self, compiler, inputs, outputs, term, reduce, after, identity, name="kernel"):
        self.term, self.reduce, self.after, self.identity = term, reduce, after, identity
        super().__init__(compiler, inputs, outputs, name)

    def text(self, here, column, row, types=("T", "int32")):
        cuda = "_ind" in here
        lanes = 1 if cuda else LANES  # there CuPy's own frame makes the lanes
        return f"""
        auto _reduce = [](T a, T b) {{ return T({self.reduce}); }};
        T _sums[{lanes}];
        for (int _k = 0; _k < {lanes}; ++_k) _sums[_k] = T({self.identity});
        for (ptrdiff_t _j = 0; _j < _width; ++_j) {{
            {"_in_ind.set(i * _width + _j);" if cuda else ""}
            {self.elements(self.inputs, column, types)}
            _sums[_j % {lanes}] = _reduce(_sums[_j % {lanes}], T({self.term}));
        }}
        for (int _half = {lanes} / 2; _half; _half /= 2)
            for (int _k = 0; _k < _half; ++_k) _sums[_k] = _reduce(_sums[_k], _sums[_k + _half]);
        T a = _sums[0];
        {self.elements(self.outputs, row, types)}
        ({self.after});
        """

    def __call__(self, *args, axis=None):
        if self.compiler.dry:
            return None
        T, shape = self.checked(args)
        if axis not in (-1, len(shape) - 1) or len(args) != len(self.inputs):
            raise NotImplementedError("a reduction of the last axis, to a new array")
        outputs = [ndarray(np.full(shape[:-1], np.nan, T)) for _ in self.outputs]
        self.launch(T, shape, shape[-1], args, outputs)
        return outputs[0]


class Compiler:
    """All kernels that have been made, for float and double, in one run of g++."""

    def __init__(self, folder):
        self.folder = folder
        self.kernels = {}
        self.functions = {}
        self.dry = False  # then calls compute nothing

    def function(self, text):
        if text not in self.functions:
            self.compile()
        return self.functions[text]

    def compile(self):
        texts = [text for kernel in self.kernels.values() for text in kernel.texts.values()]
        new = [text for text in texts if text not in self.functions]
        source = self.folder / f"kernels{len(self.functions)}.cpp"
        library = source.with_suffix(".so")
        header = "".join(f"#include <{name}>\n" for name in ("algorithm", "cmath", "cstddef"))
        named = [text.replace("NAME", f"kernel{n}") for n, text in enumerate(new)]
        source.write_text(header + "using namespace std;\n" + "".join(named))
        command = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
        done = subprocess.run([*command, "-o", library, source], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        loaded = ctypes.CDLL(str(library))
        self.functions |= {text: loaded[f"kernel{n}"] for n, text in enumerate(new)}


def module(compiler=None):
    """A module to stand where Python looks for cupy; without a compiler it has no kernels."""
    cupy = types.ModuleType("cupy", "A stand-in.")
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    cupy.__version__ = "14.2.0"
    cupy.ndarray, cupy.asarray, cupy.costs = ndarray, asarray, ndarray.costs
    cupy.costs.reset()
    if compiler:
        cupy.ElementwiseKernel = functools.partial(ElementwiseKernel, compiler)
        cupy.ReductionKernel = functools.partial(ReductionKernel, compiler)
    stream = types.SimpleNamespace(synchronize=lambda: cupy.costs.waits.append("synchronize"))
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 1,
            getDeviceProperties=lambda device: {"name": b"stand-in"},
            runtimeGetVersion=lambda: 13010,
        ),
        get_current_stream=lambda: stream,
        Device=lambda: types.SimpleNamespace(id=0),
    )
    return cupy
