"""Server-to-server links for Trio, in the style of Photon Server."""

__version__ = "0.1.0"
