"""The server on Ray Serve, for more than one machine: the same application; replicas and autoscaling are Ray's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from ..engine import Engine, load
from ..errors import InputError, MissingDependencyError
from . import check_installed
from .limits import Limits

NAME = "fastconcept"


def deployment(
    engine: Callable[[], Engine] = load,
    *,
    limits: Limits = Limits(),
    api_keys: Iterable[str] = (),
    hosts: Iterable[str] | None = None,
    cors_origins: Sequence[str] = (),
    **options: Any,
) -> Any:
    """The application of :func:`fastconcept.serve.make_app` as a deployment of Ray Serve.

    Parameters
    ----------
    engine : callable
        Opens the engine in each replica; ``functools.partial(fastconcept.load, "bundle", num_threads=4)`` chooses a
        bundle, which all nodes must see.
    limits, api_keys, hosts, cors_origins
        As for ``make_app``. ``limits`` hold for each replica.
    **options
        Of ``ray.serve.deployment``: ``num_replicas``, ``autoscaling_config``, ``ray_actor_options``, ... A replica
        takes as many requests at once as may wait in its queues, unless ``max_ongoing_requests`` says otherwise: with
        Ray's own default, 5, few of them could be answered in one batch.

    Returns
    -------
    ray.serve.Application
        For ``ray.serve.run``.

    Raises
    ------
    MissingDependencyError
        If Ray Serve, or a package of the extra ``serve``, is not installed.

    Examples
    --------
    >>> from functools import partial
    >>> from ray import serve  # doctest: +SKIP
    >>> from fastconcept.serve.ray import deployment
    >>> serve.run(deployment(partial(load, num_threads=4), num_replicas=2))  # doctest: +SKIP
    """
    check_installed()
    serve = _ray_serve()
    chosen: dict[str, Any] = {
        "limits": limits,
        "api_keys": tuple(api_keys),
        "hosts": hosts,
        "cors_origins": tuple(cors_origins),
    }

    def build() -> Any:
        from fastconcept.serve.app import make_app

        model = engine()
        model.warmup(images=())
        return make_app(model, **chosen)

    described = {"name": NAME, "max_ongoing_requests": limits.max_waiting} | options
    return serve.deployment(**described)(serve.ingress(build)()).bind()


def application(arguments: dict[str, Any]) -> Any:
    """The deployment as ``serve run fastconcept.serve.ray:application KEY=VALUE ...`` and configuration files start it.

    Parameters
    ----------
    arguments : dict
        Keywords of :func:`fastconcept.load` and fields of :class:`.limits.Limits`; ``api_keys`` is a file of keys, one
        a line. Replicas, autoscaling and resources stand in the configuration file, under ``deployments``.

    Returns
    -------
    ray.serve.Application

    Raises
    ------
    InputError
        If a name is unknown or a value out of range.
    """
    bounds = {field.name: type(field.default) for field in fields(Limits)}
    model = {name: {"num_threads": int, "max_pixels": int}.get(name, str) for name in signature(load).parameters}
    known: Mapping[str, Any] = bounds | model | {"api_keys": str}
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in known or name == "providers":
            raise InputError(f"{name!r} is no argument here; there are {', '.join(sorted(set(known) - {'providers'}))}")
        try:
            given[name] = known[name](value)
        except (TypeError, ValueError):
            raise InputError(f"{name} must be a number, got {value!r}") from None
    check_installed()
    from .guard import read_keys

    keys = read_keys(Path(given.pop("api_keys"))) if "api_keys" in given else []
    limits = Limits(**{name: value for name, value in given.items() if name in bounds})
    return deployment(
        partial(load, **{name: value for name, value in given.items() if name in model}), limits=limits, api_keys=keys
    )


def _ray_serve() -> Any:
    try:
        from ray import serve  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("ray[serve]", "ray") from None
    return serve
