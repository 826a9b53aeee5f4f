"""The devices and cores of this machine, divided among processes that work side by side."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from c2c_search.host.threads import thread_environment
from c2c_search.host.threads import thread_share


VISIBLE = "CUDA_VISIBLE_DEVICES"
_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")


@dataclass(frozen=True)
class Share:
    """One process's part of a machine.

    Args:
        index: Which part, from 0.
        of: How many parts there are.
        devices: GPUs that a part has.
    """

    index: int = 0
    of: int = 1
    devices: int = 1

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What to add to the process's environment: its device, and threads for its cores.

        A part of several has its GPUs to itself, or shares them where there are more parts than
        GPUs for them. The whole machine is left as the environment has it.
        """
        if self.of == 1:
            return thread_environment(environment)
        threads = thread_share(environment, self.of)
        own = self._own(environment)
        return {**threads, VISIBLE: ",".join(own)} if own else threads

    def told(self, environment: Mapping[str, str]) -> str:
        """What the process computes on, in words: ``GPU 0``, ``GPUs 2,3``, ``CPU``."""
        own = self._own(environment)
        if not own:
            return "CPU"
        return f"GPU{'s' if len(own) > 1 else ''} {','.join(own)}"

    def _own(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Its GPUs; none where there are none."""
        devices = gpus(environment)
        groups = max(1, len(devices) // self.devices)
        first = self.index % groups * self.devices
        return devices[first : first + self.devices]


WHOLE = Share()


def gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The NVIDIA GPUs that a process of this environment sees, as the environment names them.

    Asked of the driver's own library: importing torch would cost seconds.
    """
    if (named := environment.get(VISIBLE)) is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip() not in ("", "-1"))
    return tuple(map(str, range(_count())))


def usual_workers(environment: Mapping[str, str], devices: int) -> int:
    """How many workers pay where nobody says: one for so many GPUs, or one on a CPU.

    On a CPU one process uses all cores.
    """
    return max(1, len(gpus(environment)) // devices)


def _count() -> int:
    for name in _LIBRARIES:
        try:
            cuda = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0
