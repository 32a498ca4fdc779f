"""Running another plugin, as the runtime would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pycalico.cni.errors import CNIError

_PLUGIN_S = 90


def run(
    plugin: str, command: str, config: dict[str, Any], path: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Executes ``plugin`` from ``path`` (a CNI_PATH) and returns its result. Raises CNIError with its message."""
    import shutil  # noqa: PLC0415 (most calls run no other plugin)
    import subprocess  # noqa: PLC0415

    if not plugin:
        raise CNIError("no plugin name provided")
    program = shutil.which(plugin, path=path)
    if program is None:
        raise CNIError(f'failed to find plugin "{plugin}" in path [{path.replace(":", " ")}]')
    try:
        done = subprocess.run(
            [program],
            input=msgspec.json.encode(config),
            env={**environ, "CNI_COMMAND": command},
            capture_output=True,
            timeout=_PLUGIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CNIError(f"failed to run {program}: {error}") from error
    try:
        answer = msgspec.json.decode(done.stdout) if done.stdout.strip() else {}
    except msgspec.DecodeError as error:
        raise CNIError(f"{plugin} answered no JSON: {error}") from error
    if done.returncode != 0:
        message = answer.get("msg") or done.stderr.decode(errors="replace").strip() or "failed"
        raise CNIError(str(message), int(answer.get("code", 999)))
    return dict(answer)
