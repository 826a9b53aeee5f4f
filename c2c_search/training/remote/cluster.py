"""A Ray cluster as a study uses it: who connects, and what a worker needs of a node."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError


if TYPE_CHECKING:
    from c2c_search.training.remote.node import NodeWorker

NAMESPACE = "c2c-search"
USAGE = "RAY_USAGE_STATS_ENABLED"
AUTHENTICATION = "RAY_AUTH_MODE"

Bundle = dict[str, float]
"""What a worker takes of one node, by Ray's names of resources."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is alive.

    Args:
        cpus: Cores that Ray may give away.
        gpus: Devices.
    """

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Args:
        nodes: Those with cores or devices, when the study started.
        disconnect: Leaves it; one that was started for this process ends.
    """

    nodes: tuple[Node, ...]
    disconnect: Callable[[], None]

    def workers(self, devices: int) -> int:
        """How many workers pay: one for so many GPUs, or one a node where there are none."""
        if any(node.gpus for node in self.nodes):
            return max(1, sum(int(node.gpus) // devices for node in self.nodes))
        return max(1, len(self.nodes))

    def bundle(self, workers: int, devices: int) -> Bundle:
        """What each of so many workers takes of a node, so that all find a place.

        Raises:
            ConfigError: There is no node with so many devices.
        """
        fit = [node for node in self.nodes if node.gpus >= devices]
        if with_gpus := [node for node in self.nodes if node.gpus]:
            if not fit:
                raise ConfigError(
                    "A trial's devices must be on one node.",
                    value=f"{devices} devices a trial; the largest node has "
                    f"{max(int(node.gpus) for node in with_gpus)}",
                )
            cores = min(node.cpus / (node.gpus // devices) for node in fit)
            beside = -(-workers // sum(int(node.gpus) // devices for node in fit))
            return {"GPU": devices / beside, "CPU": max(1.0, cores // beside)}
        beside = -(-workers // max(1, len(self.nodes)))
        return {"CPU": max(1.0, min((n.cpus for n in self.nodes), default=1.0) // beside)}


def cores_or_gpus(bundle: Bundle) -> str:
    """What a worker computes on, in words."""
    if gpus := bundle.get("GPU", 0.0):
        return f"{gpus:.2g} GPU of a node"
    return f"{bundle['CPU']:g} CPU of a node"


def connect(address: str | None) -> Cluster:
    """Connect to a cluster, or start one on this machine.

    Ray reports no usage unless the environment says so. A cluster that is started here asks for a
    token, so that no other user of the machine runs anything in it.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto``; None for what ``RAY_ADDRESS`` says, and
            without that for a cluster of this machine alone.

    Raises:
        ConfigError: Ray is not installed.
        StoreError: There is no cluster at that address, or it wants another token or version.
    """
    os.environ.setdefault(USAGE, "0")
    if address is None and not os.environ.get("RAY_ADDRESS"):
        _ask_for_token()
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--engine ray needs Ray.", hint="pip install 'c2c-search[ray]', on every node."
        ) from error
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=None if address or os.environ.get("RAY_ADDRESS") else False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StoreError(
            "There must be a Ray cluster at that address, of this Ray and with this token.",
            value=address or os.environ.get("RAY_ADDRESS", "local"),
            hint=f"{str(error).strip().splitlines()[0]} See docs/clusters.md.",
        ) from error
    finally:  # Ray would leave the process at SIGTERM; a study ends in order
        for number, handler in before.items():
            _restore(number, handler)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = [Node(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    return Cluster(tuple(n for n in found if n.cpus or n.gpus), ray.shutdown)


def _restore(number: signal.Signals, handler: Any) -> None:
    try:
        signal.signal(number, handler)
    except ValueError:  # not the main thread, in which Ray sets none either
        return


def _ask_for_token() -> None:
    """Have a cluster that is about to be started here ask for a token of its own."""
    import secrets

    if AUTHENTICATION not in os.environ:
        os.environ[AUTHENTICATION] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


class Place:
    """A worker's place on a node, as long as the node lives.

    Args:
        bundle: What it takes; a placement group keeps all of it on one node.
        seconds: How long to wait for one.

    Raises:
        NoPlaceError: There is none.
    """

    def __init__(self, bundle: Bundle, seconds: float) -> None:
        from ray.util.placement_group import placement_group
        from ray.util.placement_group import remove_placement_group

        self._remove = remove_placement_group
        self._group = placement_group([bundle], strategy="STRICT_PACK")
        self._bundle = bundle
        if not self._group.wait(seconds):
            self.leave()
            raise NoPlaceError(f"no node has {_words(bundle)} free for {seconds:.0f} s")

    def start(self, worker: type[NodeWorker], *arguments: object) -> Any:
        """Start an actor here; its threads are one that trains, and some that hear the driver."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return (
            ray.remote(worker)
            .options(
                num_cpus=self._bundle["CPU"],
                num_gpus=self._bundle.get("GPU", 0.0),
                max_concurrency=4,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group),
            )
            .remote(*arguments)
        )

    def leave(self) -> None:
        """Give the place to others; what still runs there is ended."""
        self._remove(self._group)


class NoPlaceError(Exception):
    """No node has room for a worker."""


def _words(bundle: Bundle) -> str:
    names = {"CPU": "cores", "GPU": "GPUs"}
    return " and ".join(f"{amount:g} {names[name]}" for name, amount in bundle.items())
