"""The command line `efiss`."""

__version__ = "1.0.0"
