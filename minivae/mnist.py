"""MNIST's four files: found or fetched, read with care, and verified."""

import gzip
import hashlib
import math
import stat
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from .errors import FileError

# name: (images, labels), each file with the SHA-256 of its raw and of its gzipped content
MNIST = {
    "train": (
        ("train-images-idx3-ubyte",
         "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
         "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte",
         "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
         "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte",
         "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
         "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte",
         "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
         "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
MAX_BYTES = 1 << 26  # of one file's data; MNIST's largest, the training images, has 47 million
CHUNK = 1 << 20


def load(split, folder, files, mirrors):
    """Images (N, 28, 28) and labels (N,) of the split, uint8, from the folder; None: the cache.

    files, mirrors: MNIST and MIRRORS, or what stands for them. Raises FileError for a file that is
    missing, damaged, or another's.
    """
    names = {digest: name for table in files.values() for name, digest, _ in table}
    if folder is None:
        return [_cached(name, digest, names, mirrors) for name, _, digest in files[split]]
    return [_verified(_found(folder, name), name, names) for name, _, _ in files[split]]


def _found(folder, name):
    if not stat.S_ISDIR(_mode(Path(folder))):
        raise FileError(f"{folder} is no folder; name the one that holds MNIST's four files")
    for path in _paths(folder, name):
        if _mode(path):
            return path
    raise FileError(f"{folder} has neither {name} nor {name}.gz; put one of them there")


def _cached(name, digest, names, mirrors):
    """The file's array, from the user's cache or else from a mirror, which fills the cache.

    pooch writes to a temporary file of this process in the cache, holds it against the SHA-256 and
    moves it into its place: of processes that fetch at once each finds a whole file.
    """
    import pooch

    cache, packed = pooch.os_cache("minivae"), f"{name}.gz"
    reasons, outer = [], sys.exception()
    for path in _paths(cache, name):
        try:
            if _mode(path):
                return _verified(path, name, names)
        except FileError as error:
            reasons.append(str(error))
    _check_writable(cache)
    for mirror in mirrors:
        try:
            pooch.retrieve(f"{mirror}{packed}", f"sha256:{digest}", packed, cache)
        except (OSError, ValueError) as error:
            reasons.append(" ".join(f"{mirror}{packed}: {_first_cause(error, outer)}".split()))
        else:
            return _verified(cache / packed, name, names)
    raise FileError(
        f"{packed} cannot be fetched; fetch it by other means, from an address below, and put it "
        f"into {cache}, or name a folder that has it: --data-dir or MINIVAE_DATA. "
        + "; ".join(reasons)
    )


def _check_writable(cache):
    """Else every mirror would be blamed for it."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise FileError(
            f"the cache {cache} cannot be written: {error.strerror}; make it writable, or name a "
            "folder that holds MNIST's four files: --data-dir or MINIVAE_DATA"
        ) from error


def _first_cause(error, outer):
    """What is under the layers of a web library; outer: what the caller was handling."""
    while error.__context__ not in (None, outer):
        error = error.__context__
    return error


def _paths(folder, name):
    return Path(folder, name), Path(folder, f"{name}.gz")


def _mode(path):
    """What kind of thing stands there, as stat tells it; 0 for nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise FileError(f"{path} cannot be seen: {error.strerror}; make it readable") from error


def _verified(path, name, names):
    """The array of the file `name` of MNIST; names: {SHA-256 of the raw content: whose it is}."""
    array, digest = read_idx(path)
    whose = names.get(digest)
    if whose is None:
        found = f"the SHA-256 of its content is {digest}"
        raise FileError(f"{path} is not MNIST's {name}: {found}; fetch it again")
    if whose != name:
        raise FileError(f"{path} has the content of {whose}; give each file its own name again")
    return array


def read_idx(path):
    """An IDX file of bytes, gzipped if its name says so -> uint8 array, SHA-256 of the raw content.

    The header comes first: where it tells of more than MAX_BYTES nothing is unpacked, and
    otherwise no more than it tells of and one byte, in chunks, so that memory is taken for bytes
    that are there. Raises FileError.
    """
    path = Path(path)
    mode = _mode(path)
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file" if mode else "not there"
        raise FileError(f"{path} is {what}; put the file itself in its place")
    try:
        with open(path, "rb") as file:
            start = file.read(100)
            if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                raise FileError(f"{path} is a web page saved by that name; fetch the file itself")
            if not start:
                raise ValueError("is empty")
            file.seek(0)
            if path.suffix != ".gz":
                return _unpack(file)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _unpack(unpacked)
    except FileError:
        raise
    except ValueError as error:
        raise FileError(f"{path} {error}; fetch it again") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(f"{path} is damaged, or no gzip file: {error}; fetch it again") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}; make it readable") from error


def _unpack(file):
    """As read_idx; ValueError for what is wrong with the content."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 3:
        found = f"{magic.hex(' ') or 'nothing'}, not 00 00 08 and 01 to 03"
        raise ValueError(f"is no IDX file of bytes: it begins with {found}")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError("ends within its header")
    # Python's integers do not overflow, however large the sizes are.
    shape = [int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4)]
    length = math.prod(shape)
    if length > MAX_BYTES:
        most = f"no more than {MAX_BYTES:,} are read"
        raise ValueError(f"has a header that tells of {length:,} bytes of data, {shape}; {most}")
    content = bytearray()
    while chunk := file.read(min(CHUNK, length + 1 - len(content))):
        content += chunk
    if len(content) != length:
        found = f"only {len(content):,}" if len(content) < length else "more"
        raise ValueError(f"has {found} bytes of data, and its header tells of {length:,}")
    digest = hashlib.sha256(magic + sizes)
    digest.update(content)
    return np.frombuffer(content, np.uint8).reshape(shape), digest.hexdigest()
