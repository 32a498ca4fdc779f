"""How a command ends when it cannot do what was asked: one text, on the stream where upstream writes it."""

from __future__ import annotations


class Failure(Exception):
    """Ends the program with code 1; ``stdout`` says that the text belongs there.

    ``bare`` leaves out the newline at the end.
    """

    def __init__(self, text: object, *, stdout: bool = False, bare: bool = False) -> None:
        super().__init__(str(text))
        self.stdout = stdout
        self.bare = bare
