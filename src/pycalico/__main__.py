"""``python -m pycalico``."""

from pycalico.cli import main

if __name__ == "__main__":
    main()
