"""SciPy and scikit-learn, imported when they are first needed: they belong to the extra ``evaluate``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingDependencyError

_PACKAGES = {"scipy": "scipy", "sklearn": "scikit-learn"}


def library(module: str) -> Any:
    """A module of SciPy or scikit-learn.

    Parameters
    ----------
    module : str
        Dotted name, such as ``scipy.stats``.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        If the package is not installed.

    Examples
    --------
    >>> library("scipy.stats").false_discovery_control([0.01, 0.04, 0.03, 0.5]).round(4)
    array([0.04  , 0.0533, 0.0533, 0.5   ])
    """
    package = module.partition(".")[0]
    try:
        import_module(package)
        return import_module(module)
    except ImportError:
        raise MissingDependencyError(_PACKAGES[package], "evaluate") from None
