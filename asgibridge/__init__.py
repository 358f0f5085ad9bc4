"""An application server for ASGI and WSGI behind an exact gate."""

__version__ = "0.1.0"
