"""A pytest plugin (`-p warm_kernels`): notebook kernels are forked from a process that has imported torch already.

An import of torch, matplotlib and the package costs seven seconds of a processor, which each of the chapters would
spend anew. A forked kernel is a process like any other: its environment, folder and process group are its own.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

if sys.platform == "linux":  # elsewhere threads of the system's own make a fork unsafe
    CONTEXT = multiprocessing.get_context("forkserver")
    CONTEXT.set_forkserver_preload(["warm_imports"])


class Forked:
    """A forked kernel, as `jupyter_client` expects a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: str) -> None:
        ready, told = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_kernel, args=(arguments, environment, folder, told))
        self._process.start()
        ready.recv()  # it has a process group of its own by now, which may be killed
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _kernel(arguments: list[str], environment: dict[str, str], folder: str, ready: Connection) -> None:
    os.setsid()
    ready.send(None)
    ready.close()
    os.environ.clear()
    os.environ.update(environment, JPY_PARENT_PID=str(os.getppid()))  # with whom the kernel ends
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 2)
    tests = Path(__file__).parent
    sys.path[:] = [place for place in sys.path if not place or Path(place).resolve() != tests]  # a reader has none
    sys.argv = ["ipykernel_launcher", *arguments]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


def pytest_configure() -> None:
    if sys.platform != "linux":
        return
    from jupyter_client.provisioning import local_provisioner

    start = local_provisioner.launch_kernel

    def launch(command: list[str], cwd: str | None = None, env: dict[str, str] | None = None, **more):
        if "ipykernel_launcher" not in command:
            return start(command, cwd=cwd, env=env, **more)
        arguments = command[command.index("ipykernel_launcher") + 1 :]
        return Forked(arguments, dict(os.environ if env is None else env), str(cwd or os.getcwd()))

    local_provisioner.launch_kernel = launch


def pytest_unconfigure() -> None:
    if sys.platform == "linux":  # waited for, so that its processor time counts as this command's
        multiprocessing.forkserver._forkserver._stop()
