import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_ROOMS = ("apiserver", "controllers", "datastore", "golden", "netns", "packets", "unit/syncer")
sys.path[:0] = [str(_ROOT), *(str(_ROOT / "tests" / room) for room in _ROOMS)]
