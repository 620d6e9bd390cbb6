"""Each mutant changes the code in one place, and the result is valid."""

import ast

import pytest

from tests.mutants.run import ROOT, mutants


def test_there_are_forty():
    assert len(mutants()) == 40


@pytest.mark.parametrize("name", mutants())
def test_a_mutant_changes_one_place(name):
    """A text that occurs twice, or not at all, would make another mutant of it."""
    one = mutants()[name]
    text = (ROOT / one["file"]).read_text()
    assert text.count(one["old"]) == 1
    assert one["old"] != one["new"]
    if one["file"].endswith(".py"):
        ast.parse(text.replace(one["old"], one["new"]))
