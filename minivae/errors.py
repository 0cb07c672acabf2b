"""The exceptions that minivae raises. Each is also the built-in exception that fits."""


class MinivaeError(Exception):
    """The parent: `except minivae.errors.MinivaeError` catches every error of the package."""


class ConfigError(MinivaeError, ValueError):
    """A field of VAEConfig, an argument or an option has a value that is not allowed."""


class DataError(MinivaeError, ValueError):
    """Images, labels or noise do not have the shape, dtype or range that the model needs."""


class FileError(MinivaeError, OSError):
    """A file or a download is missing, damaged, or not what its name says."""


class DivergedError(MinivaeError, FloatingPointError):
    """A loss, a gradient or a weight is not finite."""


class OutOfMemoryError(MinivaeError, MemoryError):
    """A step needs more memory than there is."""


class DeviceError(MinivaeError, RuntimeError):
    """The requested device cannot be used."""
