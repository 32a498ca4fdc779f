import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
sys.path[:0] = [
    str(_ROOT),
    *(str(_ROOT / "tests" / room) for room in ("packets", "golden", "apiserver", "netns")),
]
