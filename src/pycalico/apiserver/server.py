"""The server's process: opens the data directory, serves until SIGTERM or SIGINT, writes the kubeconfig."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import resource
import signal
import ssl
import time
from pathlib import Path

import msgspec

from pycalico.apiserver import audit, auth, kinds, lifecycle, store
from pycalico.apiserver.connection import HEAD_S, Connection
from pycalico.apiserver.registry import Registry
from pycalico.apiserver.router import Router
from pycalico.apiserver.verbs import Options, Verbs
from pycalico.apiserver.watching import Hub

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class ServerError(Exception):
    """The server cannot run; the text is one line for the operator."""


class Settings(msgspec.Struct, frozen=True):
    """``port`` 0 takes a free one. ``kubeconfig`` is written once the server serves. Times in seconds."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 6443
    kubeconfig: Path | None = None
    insecure: bool = False  # plain HTTP; tokens are asked for all the same
    history_s: float = 600.0
    history_max: int = 20_000
    audit_log: Path | None = None


async def serve(settings: Settings) -> None:
    """Serve until a signal asks to stop.

    Raises:
        ServerError: the directory, certificate or address cannot be used.
    """
    # A client is a descriptor; shells start programs with few.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        objects = store.Store(settings.data, settings.history_s, settings.history_max)
    except store.StoreError as e:
        raise ServerError(str(e)) from None
    try:
        await _serve(settings, objects)
    except OSError as e:
        raise ServerError(f"cannot use {e.filename or settings.data}: {e.strerror}") from None
    except store.StoreError as e:
        raise ServerError(str(e)) from None
    finally:
        objects.close()


async def _serve(settings: Settings, objects: store.Store) -> None:
    secrets_dir = settings.data / "pki"
    secrets_dir.mkdir(exist_ok=True, mode=0o700)
    context = None if settings.insecure else _tls(secrets_dir, settings.host)
    admin_token = auth.secret_in(secrets_dir, "admin.token")
    authenticator = auth.Authenticator(objects, admin_token, auth.secret_in(secrets_dir, "tokens.key"))
    registry = Registry()
    for crd in objects.entries(kinds.CRD.id):
        registry.install(crd.obj)
    verbs = Verbs(objects, registry)
    hub = Hub(objects)
    root_ca = "" if context is None else (secrets_dir / "ca.crt").read_text()
    followers = lifecycle.Lifecycle(objects, registry, verbs, root_ca)

    def on_change(change: store.Change) -> None:
        followers.notice(change)
        hub.publish(change)

    objects.on_change = on_change
    router = Router(objects, registry, verbs, hub, authenticator, settings.host)
    recorder = None if settings.audit_log is None else audit.Audit(settings.audit_log)
    handle = router.handle if recorder is None else recorder.around(router.handle)
    alive: set[Connection] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: Connection(handle, alive),
            settings.host,
            settings.port,
            ssl=context,
            backlog=1024,
            reuse_address=True,
            ssl_handshake_timeout=None if context is None else HEAD_S,
            ssl_shutdown_timeout=None if context is None else 1.0,
        )
    except OSError as e:
        raise ServerError(_why_not_bound(settings, e)) from None
    port = server.sockets[0].getsockname()[1]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        _bootstrap(objects, verbs, port)
        followers.resume()
        if settings.kubeconfig is not None:
            _write_kubeconfig(settings, settings.kubeconfig, port, admin_token, root_ca)
        await _until_stopped(settings, context, port, stop, objects, followers, alive)
    finally:
        followers.close()
        server.close()
        for connection in tuple(alive):
            connection.shut()
        if recorder is not None:
            recorder.close()
        await asyncio.sleep(0)


async def _until_stopped(
    settings: Settings,
    context: ssl.SSLContext | None,
    port: int,
    stop: asyncio.Event,
    objects: store.Store,
    followers: lifecycle.Lifecycle,
    alive: set[Connection],
) -> None:
    scheme = "http" if context is None else "https"
    print(f"apiserver: serving on {scheme}://{settings.host}:{port}", flush=True)
    chores = asyncio.create_task(_chores(objects, followers, alive))
    await stop.wait()
    chores.cancel()


def _tls(directory: Path, host: str) -> ssl.SSLContext:
    auth.make_certificates(directory, auth.names_of(host))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    context.load_verify_locations(directory / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why_not_bound(settings: Settings, e: OSError) -> str:
    where = f"{settings.host}:{settings.port}"
    if e.errno == errno.EADDRINUSE:
        return f"{where} is already in use: stop the program that listens there or choose another --port"
    return f"cannot listen on {where}: {os.strerror(e.errno) if e.errno else e}"


def _bootstrap(objects: store.Store, verbs: Verbs, port: int) -> None:
    """Make what every cluster has from the start."""
    quiet = Options()
    for name in _NAMESPACES:
        if objects.get("namespaces", ("", name)) is None:
            verbs.create(kinds.NAMESPACE, "", {"metadata": {"name": name}}, quiet)
    if objects.get("services", ("default", "kubernetes")) is None:
        labels = {"component": "apiserver", "provider": "kubernetes"}
        ports = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}]
        service = {
            "metadata": {"name": "kubernetes", "labels": labels},
            "spec": {"clusterIP": "10.96.0.1", "ports": ports},
        }
        verbs.create(kinds.SERVICE, "default", service, quiet)


async def _chores(objects: store.Store, followers: lifecycle.Lifecycle, alive: set[Connection]) -> None:
    swept = time.monotonic()
    while True:
        await asyncio.sleep(1.0)
        now = time.monotonic()
        for connection in tuple(alive):
            if connection.deadline < now:
                connection.abort()
        objects.compact()
        if now - swept > lifecycle.ORPHAN_SWEEP_S:
            swept = now
            followers.sweep()


def _write_kubeconfig(settings: Settings, path: Path, port: int, token: str, root_ca: str) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    lines = [
        "apiVersion: v1",
        "kind: Config",
        "clusters:",
        "- name: pycalico",
        "  cluster:",
        f"    server: {'https' if root_ca else 'http'}://{host}:{port}",
    ]
    if root_ca:
        lines.append(f"    certificate-authority-data: {base64.b64encode(root_ca.encode()).decode()}")
    lines += [
        "users:",
        "- name: admin",
        "  user:",
        f"    token: {token}",
        "contexts:",
        "- name: pycalico",
        "  context:",
        "    cluster: pycalico",
        "    user: admin",
        "current-context: pycalico",
        "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    auth.write_private(path, "\n".join(lines).encode())


def run(settings: Settings) -> None:
    """Run the event loop around `serve`."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(settings))
