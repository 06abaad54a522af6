"""MLflow's view of a store, which the entry point `ml-cache` names."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DATA_LOSS,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    NOT_IMPLEMENTED,
    RESOURCE_DOES_NOT_EXIST,
)
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mlflow_ml_cache.documents import AddressError, DamagedError, MlCacheError, NotFoundError
from mlflow_ml_cache.reader import StoredModel
from mlflow_ml_cache.stores import open_store

CODES = {
    DamagedError: DATA_LOSS,
    AddressError: INVALID_PARAMETER_VALUE,
    NotFoundError: RESOURCE_DOES_NOT_EXIST,
}
HOW_TO_WRITE = "a store of ml-cache is written by `ml-cache save` alone, and read here"


class MlCacheArtifactRepository(ArtifactRepository):
    """Reads the models of a store, each byte verified by the manifest; writes nothing."""

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._opened: StoredModel | None = None

    @property
    def _model(self) -> StoredModel:
        """The model, opened by its first use: an object for an address alone needs no store."""
        if self._opened is None:
            self._opened = StoredModel(self.artifact_uri, open_store(os.environ))
        return self._opened

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Returns what lies directly below a directory, or below the address itself."""
        with _mlflow_errors():
            listing = self._model.listing(_plain(path))
        return [FileInfo(name, size is None, size) for name, size in listing.items()]

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Puts a file or a directory below a directory, and returns its place.

        Without a destination, it is a new temporary directory. If a single byte is wrong, nothing
        new lies there.
        """
        made = None if dst_path else tempfile.mkdtemp()
        destination = Path(dst_path or made or "").absolute()
        try:
            with _mlflow_errors():
                return str(self._model.download(_plain(artifact_path), destination))
        except BaseException:
            if made:
                shutil.rmtree(made)
            raise

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        """Puts a single file at a place."""
        place = Path(local_path)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".ml-cache-tmp-") as directory:
            Path(self.download_artifacts(remote_file_path, directory)).replace(place)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Raises an `MlflowException`."""
        raise MlflowException(HOW_TO_WRITE, NOT_IMPLEMENTED)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Raises an `MlflowException`."""
        raise MlflowException(HOW_TO_WRITE, NOT_IMPLEMENTED)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Raises an `MlflowException`."""
        raise MlflowException(HOW_TO_WRITE, NOT_IMPLEMENTED)


def _plain(path: str | None) -> str | None:
    """Returns MLflow's spelling of a path without what only means "here"."""
    return None if path in (None, "", ".", "./") else path.rstrip("/") if path else None


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    """Turns every error of reading into MLflow's own, with the code that fits."""
    try:
        yield
    except MlCacheError as error:
        code: Any = next(
            (c for kind, c in CODES.items() if isinstance(error, kind)), INTERNAL_ERROR
        )
        raise MlflowException(f"ml-cache: {error}", code) from None
    except OSError as error:
        raise MlflowException(
            f"ml-cache: cannot write the model: {error}", INTERNAL_ERROR
        ) from None
