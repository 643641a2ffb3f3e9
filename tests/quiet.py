"""What many runs have to say is not said."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent() -> Iterator[None]:
    """Let the package log nothing for a block."""
    logger = logging.getLogger("trio_s2s")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
