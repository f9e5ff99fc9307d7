"""A server in a process of its own, as people run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any


class ServerProcess:
    """``fastconcept serve`` at a free port; its log goes to a file.

    Parameters
    ----------
    log : path
        Where the log is appended.
    options : str
        Further options of the verb.
    """

    def __init__(self, log: Path, *options: str) -> None:
        verb = Path(sys.executable).with_name("fastconcept")
        command = [str(verb), "serve", "--port", "0", "--json", *options]
        self._log: IO[bytes] = log.open("ab")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log)
        self.port = self._started()

    def _started(self) -> int:
        assert self._process.stdout is not None
        text = b""
        while line := self._process.stdout.readline():
            text += line
            if line.startswith(b"}"):
                return int(json.loads(text)["url"].rpartition(":")[2])
        raise RuntimeError(f"the server did not start; its log is {self._log.name}")

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 120) -> int:
        """Wait until it has ended; its exit code."""
        code = self._process.wait(timeout)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        return code

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self.wait()


def requests_of(log: Path) -> dict[str, int]:
    """Status of every request in a log, by its id."""
    found: dict[str, int] = {}
    for line in log.read_text().splitlines():
        if line.startswith("{") and '"message": "request"' in line:
            entry = json.loads(line)
            found[entry["request_id"]] = entry["status"]
    return found
