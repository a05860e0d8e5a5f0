"""The version, as the package index, the User-Agent and `context.library` name it."""

__version__ = "0.1.0"
