"""Each mutant is one change of the code as it is."""

import pytest

from tests.mutants.run import ROOT, mutants


def test_there_are_forty():
    assert len(mutants()) == 40


@pytest.mark.parametrize("name", mutants())
def test_a_mutant_changes_one_place(name):
    """Else it breaks nothing, or more than it says."""
    one = mutants()[name]
    assert (ROOT / one["file"]).read_text().count(one["old"]) == 1
    assert one["old"] != one["new"]
