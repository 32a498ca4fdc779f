"""Where things are by default."""

from __future__ import annotations

DEFAULT_PATH = "/etc/calico/calicoctl.cfg"
