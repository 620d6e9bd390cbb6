"""Define exit codes, and the errors that a command reports to its user."""

OK, FAILED, WRONG_USE, INCOMPLETE = 0, 1, 2, 3
"""Exit codes: done and complete, failed, wrong use or setting, done but incomplete."""


class Failed(Exception):
    """A command cannot do what it should. The text is a sentence for a person."""

    code = FAILED


class WrongUse(Failed):
    """It was called for something that cannot be."""

    code = WRONG_USE
