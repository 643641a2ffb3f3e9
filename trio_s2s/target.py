"""What `module:Name` names: a class or an object, imported."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trio_s2s.application import Application
from trio_s2s.forms import show_error
from trio_s2s.table import did_you_mean

__all__ = ["Found", "find_application", "load", "make_application", "name_of"]

Found = Application | type[Application]
"""What may be named where an application is wanted."""


def load(target: object) -> Any:
    """Import what is named; a ValueError says in words why it can't be."""
    where, _, name = target.partition(":") if isinstance(target, str) else [""] * 3
    if not all(part.isidentifier() for part in (*where.split("."), name)):
        raise ValueError(f"must be 'module:Name', not {target!r}")
    try:
        module = importlib.import_module(where)
    except ImportError as error:
        raise ValueError(f"cannot import {where}: {error}") from error
    except Exception as error:
        # It is somebody else's code: the others of the file are told all the same.
        text = f"importing {where} raised {show_error(error)}"
        raise ValueError(text) from error
    if not hasattr(module, name):
        near = did_you_mean(name, vars(module))
        raise ValueError(f"{where} has no {name!r}{near}")
    return getattr(module, name)


def find_application(target: object) -> Found:
    """Import a class of applications, or one that its module has made.

    Raises a ValueError that says in words why it can't be.
    """
    found = load(target)
    if isinstance(found, Application):
        return found
    if isinstance(found, type) and issubclass(found, Application):
        return found
    raise ValueError(f"must be an Application, not {found!r}")


def make_application(
    found: Found, name: str = "", options: Mapping[str, Any] = MappingProxyType({})
) -> Application:
    """Make an application of a class; one that is made already is given as it is.

    Args:
        found: What `find_application` gave.
        name: Of the application; empty: that of its class, or its own.
        options: For the class; an application that is made already takes none.

    Raises a ValueError that says in words why it can't be done.
    """
    if isinstance(found, Application):
        if name and name != found.name:
            raise ValueError(f"is made already, with the name {found.name!r}")
        if options:
            raise ValueError(f"is made already, without {', '.join(options)} from here")
        return found
    try:
        return found(name or found.__name__, **options)
    except Exception as error:
        # It is somebody else's code, and may want what nobody can give here.
        raise ValueError(
            f"cannot be made: {show_error(error)}; an application that its module makes"
            " may be named instead"
        ) from error


def name_of(thing: object) -> str:
    """Give the `module:Name` of a class, or of an object's class."""
    cls = thing if isinstance(thing, type) else type(thing)
    return f"{cls.__module__}:{cls.__qualname__}"
