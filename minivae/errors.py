"""What every refusal of minivae is, beside the built-in exception that fits."""


class MinivaeError(Exception):
    """The parent of all: `except minivae.errors.MinivaeError` catches every refusal."""


class ConfigError(MinivaeError, ValueError):
    """A field of VAEConfig or an option has a value that it cannot have."""


class DataError(MinivaeError, ValueError):
    """Images, labels or noise do not have the shape, type or range that the model needs."""


class FileError(MinivaeError, OSError):
    """A file or a download is missing, damaged, or not what its name says."""


class DivergedError(MinivaeError, FloatingPointError):
    """A loss or a gradient is not finite."""


class OutOfMemoryError(MinivaeError, MemoryError):
    """A step needs more memory than there is."""


class DeviceError(MinivaeError, RuntimeError):
    """The device that was asked for cannot be used."""
