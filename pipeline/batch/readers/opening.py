"""Chooses the readers of an input by the content of its files."""

import zlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.batch.input_files import is_array
from pipeline.batch.readers.arrays import ArrayShards
from pipeline.batch.readers.files import FileShards
from pipeline.batch.readers.parquet import ParquetShards
from pipeline.batch.readers.shards import ConcatenatedShards, Shards, fingerprint_of
from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.core.task import ImageForm
from pipeline.pictures.reading import GZIP, NO_FILE, NPY, PARQUET, decompress, is_idx


def open_shards(
    names: Sequence[str | Path],
    files: Sequence[str],
    scratch: Path,
    form: ImageForm,
    *,
    normalise: bool,
) -> Shards:
    """The images of the files found under these names, in this form.

    UserError if a single file cannot be used; among several files, it becomes an image with an
    error. Compressed arrays are decompressed into `scratch`.
    """
    in_folder = len(names) == 1 and Path(names[0]).is_dir()
    if len(files) == 1 and Path(files[0]) == Path(names[0]):
        return _open_file(files[0], scratch, form, normalise=normalise)
    folder = Path(names[0]) if in_folder else Path()
    inputs, pictures, errors = list[Shards](), list[str](), dict[str, str]()

    def add_pictures() -> None:
        if pictures:
            inputs.append(
                FileShards(folder.absolute(), [*pictures], errors, form, normalise=normalise)
            )
            pictures.clear()

    for file in files:
        name = str(Path(file).relative_to(folder)) if in_folder else file
        array = None
        if is_array(name):
            try:
                array = _open_array(
                    folder.absolute() / name, name, scratch, form, normalise=normalise
                )
            except UserError as error:
                errors[name] = str(error)
        if array is None or (array.images == 1 and isinstance(array, ArrayShards)):
            pictures.append(name)
        else:
            add_pictures()
            inputs.append(array)
    add_pictures()
    return ConcatenatedShards(inputs)


def _open_file(name: str, scratch: Path, form: ImageForm, *, normalise: bool) -> Shards:
    path = Path(name).absolute()
    if not path.exists():
        raise UserError(f"{name}: no such file or folder")
    array = _open_array(path, path.name, scratch, form, normalise=normalise)
    if array is None and is_array(path.name):
        raise UserError(f"{name} is not an IDX, .npy or Parquet file")
    return array or FileShards(path.parent, [path.name], {}, form, normalise=normalise)


def _open_array(
    path: Path, name: str, scratch: Path, form: ImageForm, *, normalise: bool
) -> Shards | None:
    """The images of an IDX, .npy or Parquet file, compressed or not; None for another file."""
    try:
        file, fingerprint = path, fingerprint_of([path])
        if not path.is_file():
            raise UserError(f"{path} {NO_FILE}: save it as one first")
        if _beginning(path).startswith(GZIP):
            file = scratch / fingerprint
            if not file.exists():
                _decompress(path, file)
        beginning = _beginning(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if beginning.startswith(PARQUET):
        return ParquetShards(file, name, fingerprint, form, normalise=normalise)
    if beginning.startswith(NPY) or is_idx(beginning):
        return ArrayShards(file, name, fingerprint, form, normalise=normalise)
    return None


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _decompress(path: Path, target: Path) -> None:
    try:
        with (
            replacing(target) as temporary,
            path.open("rb") as compressed,
            temporary.open("wb") as file,
        ):
            file.writelines(decompress(compressed))
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be decompressed: {error}") from error
