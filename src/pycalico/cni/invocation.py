"""One call of a plugin, and where its datastore comes from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from pycalico.cni import hostlock, netconf
from pycalico.cni.errors import CNIError
from pycalico.cni.netconf import Arguments, NetConf
from pycalico.datastore.client import Client
from pycalico.datastore.config import from_environment
from pycalico.datastore.errors import Invalid
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import kubernetes_access, open_client
from pycalico.ipam.allocator import Allocator

#: Among a call's variables: an agent took the call and was lost with it. The launcher says so.
LOST = "PYCALICO_CNI_AGENT_LOST"


@runtime_checkable
class HasRest(Protocol):
    """A client of the Kubernetes datastore; other kinds of client have no such connection."""

    @property
    def rest(self) -> Rest: ...


class Stores(Protocol):
    """Where clients come from. Both raise CNIError when the configuration leads nowhere."""

    def client(self, call: Invocation) -> Client: ...

    def forget(self, call: Invocation) -> None:
        """The next client of such a call is a new one."""

    def kubernetes(self, call: Invocation) -> Rest: ...

    def allocator(self, call: Invocation) -> Allocator: ...

    def host_lock(self, path: str) -> AbstractContextManager[None]:
        """Held around IPAM's work: spares the plugins of this node lost races."""


class Invocation:
    """What a call says. ``netns`` is the way to the pod's namespace: the path of CNI_NETNS unless given otherwise."""

    def __init__(
        self,
        config: NetConf,
        arguments: Arguments,
        raw: dict[str, Any],
        environ: Mapping[str, str],
        stores: Stores,
        netns: str = "",
    ) -> None:
        self.config, self.arguments, self.raw = config, arguments, raw
        self.environ, self.stores = environ, stores
        self.netns = netns or arguments.netns
        self._client: Client | None = None

    @property
    def is_repeated(self) -> bool:
        """Whether an agent took this call and died of it, or nearly: what it did is not known."""
        return LOST in self.environ

    @property
    def client(self) -> Client:
        """Raises CNIError."""
        if self._client is None:
            self._client = self.stores.client(self)
        return self._client

    def renew(self) -> None:
        """What the datastore is reached with is read again."""
        self.stores.forget(self)
        self._client = None

    @property
    def allocator(self) -> Allocator:
        """Raises CNIError."""
        return self.stores.allocator(self)


class OneCall:
    """The stores of a process that lives for one call: nothing is kept."""

    def forget(self, call: Invocation) -> None:
        pass

    def allocator(self, call: Invocation) -> Allocator:
        return Allocator(call.client)

    def host_lock(self, path: str) -> AbstractContextManager[None]:
        return hostlock.held(path)

    def client(self, call: Invocation) -> Client:
        environ = netconf.environment_of(call.config, call.environ)
        try:
            return open_client(from_environment(environ), environ)
        except Invalid as error:
            raise CNIError(str(error)) from error

    def kubernetes(self, call: Invocation, environ: Mapping[str, str] | None = None) -> Rest:
        """``environ``: what the configuration makes of the call's, with paths as this process sees them."""
        environ = environ or netconf.environment_of(call.config, call.environ)
        try:
            return Rest(kubernetes_access(netconf.kubernetes_of(call.config, environ), environ))
        except Invalid as error:
            raise CNIError(f"error creating Kubernetes client: {error}") from error
