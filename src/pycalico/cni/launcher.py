"""What the container runtime starts for each call: hands it to the node's agent, or becomes the plugin itself.

This file, under the names calico and calico-ipam, is the plugin on a node (``launch`` puts it there, ``hosttree`` where
the node has no Python). It uses what is
built into the interpreter and nothing else, for each import is paid for at every pod (``socket`` 9 ms, ``json`` 8,
``_socket`` 0.4, a bare ``python3 -I -S`` 8-10; measured). It speaks cni/agent/protocol.py.
"""

import posix
import sys

#: Set by ``launch``: where pycalico and its packages are, as in PYTHONPATH, and pycalico's version.
PATH = ""
VERSION = ""
#: Likewise: the file of byte code (see base/bytecode.py), and what goes before the paths in it.
CODE = ""
BASE = ""
SOCKET = b"/var/run/calico/cni-agent.sock"
#: As long as a runtime waits at most; an agent that hangs must not keep it.
PATIENCE_S = 85.0
#: As in cni/invocation.py. Tells the plugin that an agent took the call and was lost: some of the work may be done.
LOST = b"PYCALICO_CNI_AGENT_LOST"
_DECLINED = 255
_CHUNK = 1 << 16


def ask(name: str, given: bytes) -> tuple[int, bytes, bytes] | None:
    """The agent's answer (code, output, remark); None where there is no agent for this call, or none any more."""
    import _socket  # noqa: PLC0415 - not needed where there is nothing to ask

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    try:
        connection.connect(SOCKET)
    except OSError:
        return None
    try:
        variables = b"".join(key + b"=" + value + b"\0" for key, value in posix.environ.items())
        sizes = b"%d %d\n" % (len(variables), len(given))
        call = b"cni 1 " + VERSION.encode() + b" " + name.encode() + b" " + sizes + variables + given
        sent = connection.sendmsg([call], _descriptors(_socket.SOL_SOCKET, _socket.SCM_RIGHTS))
        if sent < len(call):
            # Not for nothing at all: an agent that has answered already has closed its end, which counts as broken.
            connection.sendall(call[sent:])
        answer = b""
        while b"\n" not in answer:
            answer += _more(connection)
        line, _, rest = answer.partition(b"\n")
        code, output, remark = map(int, line.split())
        while len(rest) < output + remark:
            rest += _more(connection)
    except (OSError, ValueError):
        # The plugin is to find this among its variables, which os takes from here.
        posix.environ[LOST] = b"1"
        return None
    return None if code == _DECLINED else (code, rest[:output], rest[output:])


def _descriptors(level: int, kind: int) -> list[tuple[int, int, bytes]]:
    """The pod's network namespace, opened here: the agent may see other paths."""
    try:
        netns = posix.open(posix.environ.get(b"CNI_NETNS", b""), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return []
    return [(level, kind, netns.to_bytes(4, sys.byteorder))]


def _more(connection) -> bytes:  # type: ignore[no-untyped-def] # noqa: ANN001 - its type would be an import
    data: bytes = connection.recv(_CHUNK)
    if not data:
        raise ConnectionResetError
    return data


def become(given: bytes | None) -> None:
    """This process does the call itself; what was read already is its input."""
    give_back(given)
    sys.path[:0] = [place for place in PATH.split(":") if place]
    try:
        # A call ends before there is garbage to look for.
        import gc  # noqa: PLC0415 - with an agent it is not needed

        from pycalico.base import finder  # noqa: PLC0415 - with an agent it is not needed

        gc.disable()
        finder.use(CODE, BASE)
        from pycalico.base import lean  # noqa: PLC0415 - with an agent it is not needed

        lean.load()
        from pycalico.cni.__main__ import main  # noqa: PLC0415 - with an agent it is not needed
    except ImportError as error:
        reason = str(error).replace('"', "'").encode()
        _write(1, b'{"cniVersion": "0.3.1", "code": 5, "msg": "this plugin is not whole: ' + reason + b'"}\n')
        posix._exit(1)  # noqa: SLF001 - its name
    _run(main)


def _run(main) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - its type would be an import
    """Leaves as soon as the answer is out: a usual exit takes the process apart, module by module, for 9 ms."""
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        posix._exit(end.code if isinstance(end.code, int) else int(bool(end.code)))  # noqa: SLF001 - its name


def give_back(given: bytes | None) -> None:
    """Makes what was read from standard input readable there once more."""
    if given is not None:
        memory = posix.memfd_create("cni")
        _write(memory, given)
        posix.lseek(memory, 0, 0)
        posix.dup2(memory, 0)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[posix.write(descriptor, data) :]


def answered() -> bytes | None:
    """Leaves with the agent's answer where there is one; else returns what was read from standard input, if anything."""
    command = posix.environ.get(b"CNI_COMMAND", b"")
    if not command or sys.argv[1:]:
        return None
    given = b""
    while command != b"VERSION" and (more := posix.read(0, 1 << 20)):
        given += more
    answer = ask(sys.argv[0].rpartition("/")[2], given)
    if answer is None:
        return given
    code, output, remark = answer
    _write(2, remark)
    _write(1, output)
    # Nothing is left to flush or to tidy up, and a usual exit would take its time.
    posix._exit(code)  # noqa: SLF001 - its name


if __name__ == "__main__":
    become(answered())
