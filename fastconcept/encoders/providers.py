"""ONNX files, opened on exactly the execution providers that were asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BundleError, DeviceError
from ..kernels.threads import check_num_threads
from . import session

if TYPE_CHECKING:
    Provider = str | tuple[str, Mapping[str, Any]]

# What an encoder spends its time in. ONNX Runtime keeps arithmetic on shapes on the CPU, on purpose; none of this.
_WORK = {"Attention", "BiasGelu", "Conv", "Einsum", "Erf", "FastGelu", "FusedMatMul", "Gelu", "Gemm", "MatMul"}
_WORK |= {"LayerNormalization", "MultiHeadAttention", "QuickGelu", "ReduceMean", "SkipLayerNormalization", "Softmax"}


def device_providers(device: str) -> list[Provider]:
    """ONNX Runtime's ``providers=[...]`` for a device name.

    Parameters
    ----------
    device : str
        "cpu", "cuda" or "cuda:N".

    Raises
    ------
    DeviceError
        If it is none of these.

    Examples
    --------
    >>> device_providers("cuda:1")
    [('CUDAExecutionProvider', {'device_id': 1})]
    """
    kind, _, index = device.partition(":")
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if kind == "cuda" and (index.isdecimal() or device == "cuda"):
        return [("CUDAExecutionProvider", {"device_id": int(index or 0)})]
    raise DeviceError(f"unknown device {device!r}; use cpu, cuda or cuda:N, or give providers=[...]")


def create_session(
    path: str | os.PathLike[str], providers: Sequence[Provider] | None = None, num_threads: int | None = None
) -> Any:
    """Open an ONNX file on exactly the execution providers asked for.

    Parameters
    ----------
    path : str or Path
        The model; its external data, if any, lies beside it.
    providers : sequence, optional
        As ``onnxruntime.InferenceSession`` takes them: names, or (name, options). Default: the CPU.
    num_threads : int, optional
        Threads inside one operator on the CPU. Default: :func:`fastconcept.kernels.threads.default_num_threads`.

    Returns
    -------
    onnxruntime.InferenceSession

    Raises
    ------
    DeviceError
        If a provider is not available in this installation, could not start, or leaves work to the CPU.
    BundleError
        If the file is not a model that ONNX Runtime can load.
    MissingDependencyError
        If onnxruntime is not installed.
    """
    onnxruntime = session.onnxruntime()
    chosen: list[Provider] = list(providers) if providers else ["CPUExecutionProvider"]
    names = [provider if isinstance(provider, str) else provider[0] for provider in chosen]
    available = onnxruntime.get_available_providers()
    for name in names:
        if name not in available:
            raise DeviceError(
                f"the execution provider {name!r} is not available; this onnxruntime has: {', '.join(available)}"
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = check_num_threads(num_threads)
    options.log_severity_level = 3
    # Threads that spin between runs take the cores from our own kernels, which run in turn with the encoder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    elsewhere = "CPUExecutionProvider" not in names
    if elsewhere:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        opened = onnxruntime.InferenceSession(os.fspath(path), options, providers=chosen, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        failed = f"{os.fspath(path)} cannot be loaded: {first_line(error)}"
        if elsewhere:
            raise DeviceError(f"{failed}; if the libraries of {names[0]} are there, export the model again") from None
        raise BundleError(f"{failed}; export the model again") from None
    if opened.get_providers()[: len(names)] != names:
        raise DeviceError(
            f"{', '.join(names)} did not start (running: {', '.join(opened.get_providers())}); "
            "its libraries or its device are missing. There is no silent fallback: ask for a device that is there"
        )
    if elsewhere and (left := work_on_cpu(opened)):
        raise DeviceError(
            f"{names[0]} leaves {', '.join(left)} of {os.fspath(path)} to the CPU. There is no silent fallback: "
            "export the model in a type this provider knows, or add CPUExecutionProvider to the providers"
        )
    return opened


def work_on_cpu(opened: Any) -> list[str]:
    """Operators that ONNX Runtime placed on the CPU, without those that reckon with shapes.

    Parameters
    ----------
    opened : onnxruntime.InferenceSession
        Opened with ``session.record_ep_graph_assignment_info``.
    """
    placed = {
        node.op_type
        for part in opened.get_provider_graph_assignment_info()
        if part.ep_name == "CPUExecutionProvider"
        for node in part.get_nodes()
    }
    return sorted(placed & _WORK)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
