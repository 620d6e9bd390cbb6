"""Laws of the file for node_exporter: always whole, always readable."""

import os

import pytest

from blofin_agent.observability import textfile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "blofin.prom"


def names(path):
    """Return the names of all that is in the file's folder."""
    return [one.name for one in path.parent.iterdir()]


@pytest.mark.parametrize("name", ["blofin.txt", "blofin", "blofin.prom.tmp", "prom", ""])
def test_a_file_that_node_exporter_would_not_read_is_refused(name):
    """It would be written for nobody, and nobody would know."""
    with pytest.raises(ValueError, match=r"must end in \.prom: node_exporter reads no other files"):
        textfile.parse(name)
    assert textfile.parse(f"some where/{name}.prom").name == f"{name}.prom"


def test_the_file_is_replaced_whole(path):
    """The new one is another file, moved into the place of the old one; nothing is left beside."""
    textfile.write(path, b"a 1\n")
    with path.open("rb") as reader:
        textfile.write(path, b"b 2\n")
        assert reader.read() == b"a 1\n"
    assert path.read_bytes() == b"b 2\n"
    assert names(path) == ["blofin.prom"]


def test_every_user_may_read_it_whatever_the_umask(path):
    """A hardened service has 077, and node_exporter is another user."""
    before = os.umask(0o077)
    try:
        textfile.write(path, b"a 1\n")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_no_other(path, monkeypatch):
    """The disk may be full."""

    def full(_number):
        raise OSError(28, "No space left on device")

    textfile.write(path, b"a 1\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        textfile.write(path, b"b 2\n")
    assert path.read_bytes() == b"a 1\n"
    assert names(path) == ["blofin.prom"]


def test_while_it_is_written_it_has_a_name_that_node_exporter_does_not_read(path, monkeypatch):
    """Half a file is no file."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _number: seen.extend(names(path)))
    textfile.write(path, b"a 1\n")
    (name,) = seen
    assert not name.endswith(".prom")


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("blofin_backfill_last_success_timestamp_seconds 1.79e+09\n", 1.79e9),
        ("x 1\nblofin_backfill_last_success_timestamp_seconds 1790000000.5\ny 2\n", 1790000000.5),
        ("# HELP blofin_backfill_last_success_timestamp_seconds 7\n", 0),
        ('blofin_backfill_last_success_timestamp_seconds{a="b"} 7\n', 0),
        ("blofin_backfill_last_success_timestamp_seconds NaN\n", 0),
        ("blofin_backfill_last_success_timestamp_seconds soon\n", 0),
        ("blofin_backfill_last_success_timestamp_seconds", 0),
        ("", 0),
        ("\x00\xff", 0),
    ],
)
def test_the_last_success_is_read_off_the_file(path, text, when):
    """What is no time is none."""
    path.write_text(text)
    assert textfile.last_success(path) == when


def test_without_a_file_there_was_no_success(path):
    """Nor is there one in a folder."""
    assert textfile.last_success(path) == 0
    assert textfile.last_success(path.parent) == 0


def test_what_is_no_file_is_not_replaced(tmp_path):
    """As root a device would be gone."""
    os.mkfifo(tmp_path / "x.prom")
    with pytest.raises(FileExistsError, match="no file"):
        textfile.write(tmp_path / "x.prom", b"")
    assert (tmp_path / "x.prom").is_fifo()
