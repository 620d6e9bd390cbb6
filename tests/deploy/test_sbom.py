"""Laws of the SBOM: it is CycloneDX, and lists what is installed, no more and no less."""

import json
import subprocess

import pytest
from packaging.utils import canonicalize_name

from blofin_agent import __version__
from tests.deploy import lock, shipping

VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
validator = JsonStrictValidator(SchemaVersion.V1_6)
print([validator.validate_str(line) is None for line in sys.stdin])
"""

PERMISSIVE = {
    *("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "PSF-2.0"),
    *(
        "License :: OSI Approved :: BSD License",
        "License :: OSI Approved :: Apache Software License",
    ),
}

OTHERWISE = {
    "certifi": {"MPL-2.0"},
    "psycopg": {"LGPL-3.0-only"},
    "psycopg-binary": {"LGPL-3.0-only"},
}
"""The list of certificate authorities, whose licence asks for changes to its own files alone, and
PostgreSQL's driver, a library that is used as it is, and only by those who ask for it."""


@pytest.fixture(scope="module")
def sbom(shipped):
    return json.loads(shipped.sbom.read_text())


def licences(component):
    """Return the licences of a component, each that an expression names on its own."""
    found = set()
    for one in component["licenses"]:
        if "expression" in one:
            found |= set(one["expression"].replace("(", "").replace(")", "").split())
        else:
            found.add(one["license"].get("id") or one["license"]["name"])
    return found - {"AND", "OR"}


def test_it_is_what_the_schema_of_cyclonedx_asks_for(shipped, sbom):
    """Strictly; and the validator is not one that lets everything pass."""
    lines = "\n".join(map(json.dumps, [sbom, sbom | {"components": [{"name": "x"}]}]))
    python = shipped.tool("python", "-c", VALIDATE)
    assert subprocess.check_output(python, input=lines, text=True) == "[True, False]\n"
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")


def test_it_is_about_the_agent(sbom):
    """Of this version, at the time of its commit, under its licence."""
    agent = sbom["metadata"]["component"]
    assert (agent["name"], agent["version"]) == ("blofin-agent", __version__)
    assert (agent["type"], agent["purl"]) == ("application", f"pkg:pypi/blofin-agent@{__version__}")
    assert licences(agent) == {"MIT"}
    assert sbom["metadata"]["timestamp"] == "2026-09-21T14:13:20+00:00"
    assert shipping.WHEN == 1_790_000_000


def test_its_components_are_the_pinned_packages(sbom):
    """Each with the address by which the world knows it."""
    listed = {canonicalize_name(one["name"]): one for one in sbom["components"]}
    assert len(listed) == len(sbom["components"])
    pinned = lock.installed(lock.RUNTIME)
    assert {name: one["version"] for name, one in listed.items()} == pinned
    assert {name: one["purl"] for name, one in listed.items()} == {
        name: f"pkg:pypi/{name}@{version}" for name, version in pinned.items()
    }


def test_it_says_what_needs_what(sbom):
    """From the agent, every component is reached."""
    needs = {one["ref"]: one.get("dependsOn", []) for one in sbom["dependencies"]}
    reached, todo = set(), [sbom["metadata"]["component"]["bom-ref"]]
    while todo:
        if (one := todo.pop()) not in reached:
            reached.add(one)
            todo += needs[one]
    assert reached == set(needs)
    assert len(reached) == len(sbom["components"]) + 1


def test_every_licence_is_a_permissive_one(sbom):
    """Or stands above, with the reason why it may be there."""
    foreign = {one["name"]: licences(one) - PERMISSIVE for one in sbom["components"]}
    marked = "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)"
    found = {name: some - {marked} for name, some in foreign.items() if some}
    assert found == OTHERWISE
    assert all(licences(one) for one in sbom["components"])


def test_it_names_no_place_of_the_machine_that_made_it(shipped):
    text = shipped.sbom.read_text()
    assert "file:" not in text
    assert str(shipped.tree) not in text
    assert "/tmp" not in text  # noqa: S108 - what must not be there
