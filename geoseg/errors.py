"""Every error geoseg raises on purpose, with the exit code the command line gives it.

::

    GeosegError            1   failed while working
    ├── ReadError          1   a file that opened could not be read to its end
    ├── WriteError         1   an output could not be written
    ├── TrainingError      1   training cannot go on (loss not finite, ...)
    └── InputError         2   wrong use, or input that can never work
        ├── SceneError     2   scene missing, not a raster, too large to be honest, ...
        ├── LabelsError    2   labels missing, empty, elsewhere on Earth, unknown column, ...
        ├── ChipsError     2   a folder that is no chips folder, or a damaged one
        ├── ModelError     2   no model, a damaged one, or one that does not fit the scene
        ├── ConfigError    2   unknown key, value out of range
        └── OutputError    2   output exists, is an input, or has an unknown suffix

A message is one line that says WHAT is wrong, WHERE, and after a semicolon WHAT TO DO.
"""

from __future__ import annotations


class GeosegError(Exception):
    """Base of all errors a user may see as one line; ``exit_code`` is the process exit code."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, of which names of files, keys and classes are a part: one line that can be written."""
        text = super().__str__().replace("\r", "\\r").replace("\n", "\\n")
        return text.encode("utf-8", "backslashreplace").decode()


class ReadError(GeosegError):
    """A file that opened could not be read to its end."""


class WriteError(GeosegError):
    """An output could not be written."""


class TrainingError(GeosegError):
    """Training cannot go on."""


class InputError(GeosegError):
    """Wrong use, or input that can never work."""

    exit_code = 2


class SceneError(InputError):
    """The scene cannot be used."""


class LabelsError(InputError):
    """The labels cannot be used."""


class ChipsError(InputError):
    """The chips folder cannot be used."""


class ModelError(InputError):
    """The model cannot be used, at all or with this scene."""


class ConfigError(InputError):
    """A configuration key or value is wrong."""


class OutputError(InputError):
    """The output path cannot be used."""
