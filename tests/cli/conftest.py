"""Commands that read or write the store are tried on both engines."""


def pytest_generate_tests(metafunc):
    """Try each law of a database on both, unless it is one of SQLite's file."""
    if "database" in metafunc.fixturenames:
        of_a_file = metafunc.definition.get_closest_marker("sqlite")
        engines = ["sqlite"] if of_a_file else ["sqlite", "postgresql"]
        metafunc.parametrize("database", engines, indirect=True)
