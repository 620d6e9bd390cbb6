"""Export's files: CSV and Parquet, written in parts, whole or not there at all."""

import csv
import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TextIO

from blofin_agent.domain.forward_fill import FilledRow

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")

_CANDLE = tuple(name for name in FilledRow._fields if name != "synthetic")


class FileWriter(Protocol):
    """Where rows go."""

    def write(self, symbol: str, bar: str, rows: Sequence[FilledRow]) -> None:
        """Write rows of one symbol."""

    def close(self, about: Mapping[str, object]) -> None:
        """Write what is left, and what there is to say of the rows."""


def columns(*, fill: bool) -> tuple[str, ...]:
    """Return the names of the columns: those of the table, and `synthetic` where rows are made."""
    return ("symbol", "bar", *_CANDLE, *(("synthetic",) if fill else ()))


class CsvWriter:
    """Comma-separated values with a header. Floats are written so that they read back unchanged."""

    def __init__(self, file: TextIO, *, fill: bool) -> None:
        self._fill = fill
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(columns(fill=fill))

    def write(self, symbol: str, bar: str, rows: Sequence[FilledRow]) -> None:
        """Write rows of one symbol."""
        if self._fill:
            marks = ("false", "true")
            lines = ((symbol, bar, *row[:-1], marks[row.synthetic]) for row in rows)
            self._writer.writerows(lines)
        else:
            self._writer.writerows((symbol, bar, *row[:-1]) for row in rows)

    def close(self, about: Mapping[str, object]) -> None:
        """Say nothing: CSV has no place for it."""


class ParquetWriter:
    """Parquet: a row group a part, compressed; the manifest's entry is in the file's metadata."""

    def __init__(self, file: IO[bytes], *, fill: bool) -> None:
        # Heavy, and no other command needs it.
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._fill = fill
        word = pa.dictionary(pa.int32(), pa.string())
        types = {"symbol": word, "bar": word, "source": word, "open_time": pa.int64()}
        types["synthetic"] = pa.bool_()
        self._schema = pa.schema(
            [
                pa.field(name, types.get(name, pa.float64()), nullable=fill and name == "source")
                for name in columns(fill=fill)
            ]
        )
        self._batch: Any = pa.RecordBatch
        self._array: Any = pa.array
        self._writer: Any = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, symbol: str, bar: str, rows: Sequence[FilledRow]) -> None:
        """Write rows of one symbol as one row group."""
        if not rows:
            return
        data: dict[str, Sequence[object]] = dict(
            zip(FilledRow._fields, zip(*rows, strict=True), strict=True)
        )
        data |= {"symbol": [symbol] * len(rows), "bar": [bar] * len(rows)}
        arrays = [self._array(data[field.name], type=field.type) for field in self._schema]
        self._writer.write_batch(self._batch.from_arrays(arrays, schema=self._schema))

    def close(self, about: Mapping[str, object]) -> None:
        """Write the footer."""
        self._writer.add_key_value_metadata({"blofin-agent": json.dumps(about)})
        self._writer.close()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write; it takes its place under `path` only once the block has ended well.

    Raises OSError, also where something is that is no file: a device must not be replaced.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "there is something that is no file", str(path))
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """Return the digest of a file's bytes, as `sha256sum` shows it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def standard_output() -> TextIO:
    """Return standard output for CSV: its line ends as they are written. Raises OSError."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    sys.stdout.reconfigure(newline="")  # type: ignore[union-attr]
    return sys.stdout


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
