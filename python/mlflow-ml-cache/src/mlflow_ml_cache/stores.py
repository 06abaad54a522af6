"""Where objects are read from: a directory, or a bucket of S3."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from mlflow_ml_cache.documents import AddressError, MlCacheError, shorten

VARIABLE = "ML_CACHE_STORE"
FORMS = "s3://bucket/prefix or file:///directory"


class MissingError(MlCacheError):
    """The store has no such object, or refuses to give it."""


class Store(Protocol):
    """Reads objects."""

    def read(self, key: str, limit: int) -> bytes:
        """Returns an object, or its first `limit` + 1 bytes if it is larger.

        Raises `MissingError` if there is none.
        """


def open_store(environment: Mapping[str, str]) -> Store:
    """Opens the store that `ML_CACHE_STORE` names. Raises `AddressError` if it names none."""
    text = environment.get(VARIABLE, "").strip()
    if not text:
        raise AddressError(
            f"the variable {VARIABLE} is not set: an address names a model and no store."
            f" Set it to the store, as in {FORMS}"
        )
    parsed = urlsplit(text)
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost") and parsed.path != "":
        return Directory(Path(unquote(parsed.path)))
    if parsed.scheme == "s3" and parsed.netloc and not parsed.query:
        return Bucket(parsed.netloc, parsed.path.strip("/"), environment)
    raise AddressError(f"{VARIABLE} is {text!r}, and not as in {FORMS}")


class Directory:
    """A store in a directory. Below it, no link is followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str, limit: int) -> bytes:
        """Returns an object, or its first `limit` + 1 bytes if it is larger."""
        *above, name = key.split("/")
        opened: list[int] = []
        try:
            opened.append(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            for component in above:
                opened.append(os.open(component, flags | os.O_DIRECTORY, dir_fd=opened[-1]))
            # Not waiting, should it be a pipe.
            file = os.open(name, flags | os.O_NONBLOCK, dir_fd=opened[-1])
            with os.fdopen(file, "rb") as stream:
                return stream.read(limit + 1)
        except OSError as error:
            raise MissingError(f"cannot read `{key}` in {self.root}: {error.strerror}") from None
        finally:
            for descriptor in opened:
                os.close(descriptor)


class Bucket:
    """A store in a bucket; boto3 finds credentials, region and endpoint, as it does elsewhere."""

    ATTEMPTS = 4

    def __init__(self, bucket: str, prefix: str, environment: Mapping[str, str]) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise MlCacheError(
                "a store in S3 needs boto3: run `pip install 'mlflow-ml-cache[s3]'`"
            ) from None
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        # As ml-cache does it: services of one's own mostly have no name for each bucket.
        style = "path" if any(environment.get(name) for name in named) else "auto"
        s3: Any = {"addressing_style": style}
        config = Config(s3=s3, retries={"mode": "standard", "max_attempts": 6})
        self.client: Any = boto3.session.Session().client("s3", config=config)

    def read(self, key: str, limit: int) -> bytes:
        """Returns an object, or its first `limit` + 1 bytes if it is larger."""
        from botocore.exceptions import BotoCoreError, ClientError

        full = bucket_key(self.prefix, key)
        for attempt in range(1, self.ATTEMPTS + 1):
            try:
                with self.client.get_object(Bucket=self.bucket, Key=full)["Body"] as body:
                    content: bytes = body.read(limit + 1)
                    return content
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "unknown")
                text = f"cannot read `{full}` in the bucket {self.bucket}: {code}"
                if code in ("NoSuchKey", "404", "AccessDenied", "403", "InvalidObjectState"):
                    raise MissingError(text) from None
                raise MlCacheError(text) from None
            except (BotoCoreError, OSError) as error:
                # An answer that broke off; boto3 itself repeats only what has not begun.
                if attempt == self.ATTEMPTS:
                    text = " ".join(str(error).split())
                    raise MlCacheError(f"cannot read `{full}`: {text}") from None
        raise AssertionError("not reached")


def bucket_key(prefix: str, key: str) -> str:
    """Returns the key in a bucket, where a key of more than 1,024 bytes is shortened."""
    if len((prefix + key).encode()) <= 1024:
        return prefix + key
    tight = (
        shorten(part.removesuffix(".json"), 91) + ".json"
        if part.endswith(".json")
        else shorten(part, 96)
        for part in key.split("/")
    )
    return prefix + "/".join(tight)
