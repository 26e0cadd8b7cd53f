"""A Ray cluster: parts of a computation sent to its nodes, their answers in order, sent again when a node dies.

What is sent are functions of samespace by their name, and arrays, bytes and plain facts; Ray packs them with pickle, so a
cluster is to be trusted as this process is. A part is a pure function of what it is sent: again gives the same.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from registry import __version__, wire
from registry.errors import InvalidInput, MissingExtra, SamespaceError, Unavailable

__all__ = ["Cluster", "answered", "unpacked"]

_SENT_AGAIN = 4
_PER_CPU = 2
_CONNECT_S = 10.0
_LONGEST_ADDRESS = 500

Part = tuple[Any, ...]


class Cluster:
    """The cluster at `address`, as `ray.init` takes it: `host:port`, `ray://host:port` or `auto`. Reached when it is needed.

    The node that this process reaches it by must stay: with it go the objects that this process gave the others.
    """

    def __init__(self, address: str) -> None:
        if not isinstance(address, str) or not address.strip() or len(address) > _LONGEST_ADDRESS:
            raise InvalidInput(
                f"ray must be the address of a cluster, host:port, ray://host:port or auto, got {address!r:.80}"
            )
        self.address = address
        self._lock = threading.Lock()
        self._ours = False

    def __repr__(self) -> str:
        return f"Cluster({self.address!r})"

    @property
    def ray(self) -> Any:
        """Ray itself, connected; a connection that this process has already is used as it is.

        Raises:
            MissingExtra: it is not installed.
            Unavailable: no cluster answers.
        """
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtra("computing on a cluster needs Ray: pip install 'samespace[ray]'") from error
        with self._lock:
            if not ray.is_initialized():
                try:
                    _knock(self.address)
                    ray.init(self.address, namespace="samespace", log_to_driver=False, logging_level="error")
                except (OSError, RuntimeError, ValueError) as error:
                    first = (str(error).splitlines() or ["no reason given"])[0]
                    raise Unavailable(
                        f"no Ray cluster can be reached at {self.address}: {first:.200}; check that it runs, and --ray"
                    ) from error
                self._ours = True
        return ray

    def close(self) -> None:
        """Leave the cluster, unless this process had been there before."""
        with self._lock:
            if self._ours:
                import ray

                ray.shutdown()
                self._ours = False

    def cpus(self) -> int:
        """How many CPUs its nodes have together. Unavailable if none."""
        found = int(self.ray.cluster_resources().get("CPU", 0))
        if not found:
            raise Unavailable(f"the Ray cluster at {self.address} has no CPU to compute with: add a node")
        return found

    def cpus_of_a_node(self) -> int:
        """How many CPUs each of its nodes has that has any, at least: a task that asks for no more finds a place."""
        self.cpus()
        nodes = [node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"]]
        return int(min(cpus for cpus in nodes if cpus))

    def put(self, value: Any) -> Any:
        """A reference to a value, kept by the node that this process is at, and fetched once by each other that needs it."""
        return self.ray.put(value)

    def end(self, actor: Any) -> None:
        """Let an actor go, unless this process left the cluster since, and all of its actors with it."""
        import ray

        if ray.is_initialized():
            with contextlib.suppress(ray.exceptions.RayError):  # it went with a connection that was given up before
                ray.kill(actor)

    def map(
        self, task: Callable[..., Any], parts: Iterable[Part], *, per_cpu: int = _PER_CPU, cpus: int = 1
    ) -> Iterator[Any]:
        """What `task(*part)` gives of each part, in their order; a few parts per CPU are under way at a time.

        Args:
            task: a function of a module of samespace, pure.
            parts: what it is called with: small values, or references (`put`) to such as several parts share.
            per_cpu: how many parts are sent before the first answer is waited for, for each CPU of the cluster.
            cpus: what each call needs of its node.

        Raises:
            Unavailable: nodes died under a part again and again.
        """
        remote = self.ray.remote(answered).options(num_cpus=cpus, max_retries=0)  # `_answer` sends again
        most = max(1, per_cpu * self.cpus() // cpus)
        under_way: deque[tuple[Part, Any]] = deque()

        def send(part: Part) -> Any:
            return remote.remote(task, __version__, *part)

        try:
            for part in parts:
                under_way.append((part, send(part)))
                if len(under_way) >= most:
                    yield self._answer(*under_way[0], send)
                    under_way.popleft()
            while under_way:
                yield self._answer(*under_way[0], send)
                under_way.popleft()
        finally:
            for _, reference in under_way:
                with contextlib.suppress(self.ray.exceptions.RayError):
                    self.ray.cancel(reference)

    def _answer(self, part: Part, reference: Any, send: Callable[[Part], Any]) -> Any:
        """What a part gave; what a node was computing as it died, or had computed and not sent, is asked for anew."""
        lost = self.ray.exceptions.RayError
        for _ in range(_SENT_AGAIN):
            try:
                return unpacked(self.ray.get(reference))
            except self.ray.exceptions.RayTaskError:
                raise  # a fault of ours, which would come again
            except lost:
                reference = send(part)
        try:
            return unpacked(self.ray.get(reference))
        except lost as error:
            first = (str(error).splitlines() or ["no reason given"])[0]
            raise Unavailable(
                f"the Ray cluster at {self.address} lost a part of the work {_SENT_AGAIN + 1} times ({first:.200}): "
                "nothing was stored, try again"
            ) from error


def _knock(address: str) -> None:
    """Refuse an address where nobody listens: Ray would ask for minutes. OSError if so, or ValueError for a bad port."""
    host, sign, port = address.removeprefix("ray://").rpartition(":")
    if sign:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def answered(task: Callable[..., Any], release: str, *part: Any) -> dict[str, Any]:
    """What a worker answers one of this `release`: {"value": …}, or {"error": …} as `wire.said` tells it."""
    try:
        if release != __version__:
            raise InvalidInput(
                f"a node has samespace {__version__}, {release} asks it: install the same release on every node"
            )
        return {"value": task(*part)}
    except SamespaceError as error:
        return {"error": wire.said(error)}


def unpacked(answer: dict[str, Any]) -> Any:
    """The value of an answer, or its error raised."""
    if "error" in answer:
        raise wire.error_of(answer["error"])
    return answer["value"]
