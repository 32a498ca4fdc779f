import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(_TESTS / "packets"), str(_TESTS / "golden"), str(_TESTS / "apiserver")]
