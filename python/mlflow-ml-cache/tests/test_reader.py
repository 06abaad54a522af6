"""Tests of reading what the program `ml-cache` wrote, by the standard library alone.

ML_CACHE=/path/to/ml-cache python -m unittest discover -s tests -t .

With `AWS_ENDPOINT_URL` and boto3, the same is read out of a bucket, too.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stored
from mlflow_ml_cache.documents import (
    AddressError,
    DamagedError,
    MlCacheError,
    NotFoundError,
    encode,
    parse_manifest,
    parse_uri,
    shorten,
)
from mlflow_ml_cache.reader import StoredModel
from mlflow_ml_cache.stores import bucket_key, open_store

HEX = "0" * 64


class ReaderTest(unittest.TestCase):
    """A store in a directory, of which each test has a copy."""

    original: Path
    files: dict[str, bytes]
    saved: dict[str, Any]

    @classmethod
    def setUpClass(cls) -> None:
        if not stored.PROGRAM:
            raise unittest.SkipTest("set ML_CACHE to the program")
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.original = Path(directory.name)
        cls.files = stored.make_tree(cls.original / "workspace")
        cls.saved = stored.save(cls.original / "workspace", (cls.original / "store").as_uri())

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.work = Path(directory.name)
        shutil.copytree(self.original, self.work, symlinks=True, dirs_exist_ok=True)
        self.workspace, self.store = self.work / "workspace", self.work / "store"
        self.destination = self.work / "destination"
        self.destination.mkdir()
        self.pointer = self.saved

    def model(self, uri: str | None = None) -> StoredModel:
        store = open_store({"ML_CACHE_STORE": self.store.as_uri()})
        return StoredModel(uri or stored.uri_of(self.pointer), store)

    def assert_refused(self, kind: type[MlCacheError], text: str, uri: str | None = None) -> None:
        """Expects an error that says so, and a destination that is as it was."""
        before = stored.everything(self.destination)
        with self.assertRaises(kind) as caught:
            self.model(uri).download(None, self.destination)
        self.assertIn(text, str(caught.exception))
        self.assertEqual(stored.everything(self.destination), before)

    def objects(self, kind: str) -> list[Path]:
        found = [path for path in (self.store / "v1" / kind).rglob("*") if path.is_file()]
        self.assertTrue(found)
        return found

    def replace_manifest(self, good: bytes, change: Callable[[dict[str, Any]], None]) -> Path:
        """Lets the pointer stand for another manifest, as a faulty writer might."""
        content = json.loads(good)
        change(content)
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        digest = hashlib.sha256(text).hexdigest()
        path = self.store / f"v1/manifests/{digest}.json"
        path.write_bytes(text)
        self.pointer = self.pointer | {
            "manifest": {"digest": f"sha256:{digest}", "size": len(text)}
        }
        self.write_pointer(self.pointer)
        return path

    def write_pointer(self, pointer: dict[str, Any]) -> None:
        [path] = self.store.rglob("pointers/*.json")
        path.write_text(json.dumps(pointer))

    def test_every_entry_comes_as_it_was_saved(self) -> None:
        place = self.model().download(None, self.destination)
        self.assertEqual(place, self.destination)
        for name, content in self.files.items():
            self.assertEqual((place / name).read_bytes(), content, name)
        expected = stored.everything(self.workspace / "models")
        self.assertEqual(stored.everything(place), expected)
        self.assertEqual((place / "latest").readlink(), Path("weights/big.bin"))
        self.assertEqual((place / "cache").stat().st_mode, (place / "weights").stat().st_mode)
        self.assertTrue((place / "run.sh").stat().st_mode & 0o100)
        self.assertFalse((place / "MLmodel").stat().st_mode & 0o111)
        # Again, over what is there.
        (place / "MLmodel").write_text("older")
        self.model().download(None, self.destination)
        self.assertEqual((place / "MLmodel").read_bytes(), self.files["MLmodel"])

    def test_parts_of_a_model(self) -> None:
        self.assertEqual(
            self.model().listing(None),
            {"MLmodel": 12, "cache": None, "empty": 0, "latest": 0, "run.sh": 10, "weights": None},
        )
        self.assertEqual(
            list(self.model().listing("weights")), ["weights/big.bin", "weights/résumé.json"]
        )
        self.assertEqual(self.model().listing("MLmodel"), {})
        place = self.model().download("weights/résumé.json", self.destination)
        self.assertEqual(place, self.destination / "weights/résumé.json")
        self.assertEqual(stored.everything(self.destination), {"weights", "weights/résumé.json"})
        whole = self.model(stored.uri_of(self.pointer, path=""))
        self.assertEqual(list(whole.listing(None)), ["models"])

    def test_one_wrong_byte_is_an_error_and_nothing_lies_there(self) -> None:
        for blob in self.objects("blobs"):
            good = blob.read_bytes()
            blob.chmod(0o644)
            for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-1], good + b"x"):
                blob.write_bytes(bad)
                self.assert_refused(DamagedError, blob.name)
            blob.unlink()
            self.assert_refused(DamagedError, "No such file")
            blob.write_bytes(good)
        [manifest] = self.objects("manifests")
        manifest.chmod(0o644)
        manifest.write_bytes(manifest.read_bytes().replace(b'"644"', b'"755"', 1))
        self.assert_refused(DamagedError, "other bytes")

    def test_a_second_name_stands_for_an_occupied_one(self) -> None:
        home = self.store / "v1/trusted/acme/fraud%20detection/fraud-detector"
        for path in self.objects("blobs") + self.objects("manifests"):
            second = home / path.relative_to(self.store / "v1")
            second.parent.mkdir(parents=True, exist_ok=True)
            path.rename(second)
            path.write_bytes(b"something else")
        place = self.model().download(None, self.destination)
        self.assertEqual((place / "MLmodel").read_bytes(), self.files["MLmodel"])

    def test_what_no_trusted_run_committed_is_not_loaded(self) -> None:
        # The manifest of another model lies in the same store, under a name that all share.
        (self.workspace / "models/MLmodel").write_text("loader_module: evil\n")
        other = stored.save(self.workspace, self.store.as_uri(), model="another")
        digest = other["manifest"]["digest"].removeprefix("sha256:")
        planted = stored.uri_of(self.pointer, manifest=digest)
        self.assert_refused(NotFoundError, "and not for", planted)
        self.assert_refused(NotFoundError, "no pointer", planted.replace("fraud-detector", "third"))

    def test_an_earlier_generation_can_be_read(self) -> None:
        first = stored.uri_of(self.pointer)
        (self.workspace / "models/MLmodel").write_text("flavors: {a: {}}\n")
        again = stored.save(self.workspace, self.store.as_uri(), "--force-retrain", "true")
        self.assertEqual(again["generation"], 2)
        self.model(first).download(None, self.destination)
        self.assertEqual((self.destination / "MLmodel").read_bytes(), self.files["MLmodel"])
        self.model(stored.uri_of(again)).download(None, self.destination)
        self.assertEqual((self.destination / "MLmodel").read_text(), "flavors: {a: {}}\n")

    def test_a_pointer_must_be_the_one_that_was_asked_for(self) -> None:
        for change, text in (
            ({"model": "another"}, "the model 'another'"),
            ({"scope": "pr/8"}, "the scope 'pr/8'"),
            ({"fingerprint": f"sha256:{HEX}"}, "the fingerprint"),
            ({"schema": "ml-cache/pointer/v9"}, "install a newer"),
            ({"more": 1}, "exactly the fields"),
            ({"producer": {"event": "pull_request"}}, "'pull_request', which writes no trusted"),
            ({"manifest": {"digest": self.pointer["manifest"]["digest"], "size": 1.5}}, "1.5"),
            ({"nonce": "x" * 66_000}, "65536 bytes"),
        ):
            self.write_pointer(self.pointer | change)
            self.assert_refused(DamagedError, text)
        [path] = self.store.rglob("pointers/*.json")
        path.write_text(json.dumps(self.pointer)[:-1] + ',"scope":"trusted"}')
        self.assert_refused(DamagedError, "twice")

    def test_no_manifest_leads_out_of_the_directory(self) -> None:
        def first(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
            return lambda content: content["files"][0].update({name: value})

        def link(target: str) -> Callable[[dict[str, Any]], None]:
            return lambda content: content["links"][0].update(target=target)

        [manifest] = self.objects("manifests")
        good = manifest.read_bytes()
        for change, text in (
            (first("path", "/etc/passwd"), "plain relative path"),
            (first("path", "models/../../x"), "plain relative path"),
            (first("path", "a\\../x\0"), "no path"),
            (first("path", ".git/hooks/x"), "touches .git"),
            (lambda content: content["links"][0].update(path="models/weights"), "no directory"),
            (first("size", 11), "its parts have others"),
            (first("mode", "4755"), "mode"),
            (first("more", 1), "exactly the fields"),
            (link("/etc"), "absolute"),
            (link("../../x"), "leads out"),
            (link("weights/../../x"), "leads out"),
            # Within the tree, and outside of what the address names.
            (link("../x"), "leads out"),
            (lambda content: content["files"].reverse(), "not in order"),
            (lambda content: content.update(schema="ml-cache/manifest/v2"), "unknown form"),
        ):
            with self.subTest(text):
                manifest.unlink()
                manifest = self.replace_manifest(good, change)
                self.assert_refused(DamagedError, text)

    def test_nothing_is_written_through_a_link(self) -> None:
        (self.work / "elsewhere").mkdir()
        (self.destination / "weights").symlink_to(self.work / "elsewhere")
        self.assert_refused(MlCacheError, "in the way")
        self.assertEqual(stored.everything(self.work / "elsewhere"), set())

    def test_a_store_with_links_is_not_followed(self) -> None:
        blobs = self.store / "v1/blobs"
        blobs.rename(self.work / "blobs")
        blobs.symlink_to(self.work / "blobs")
        self.assert_refused(DamagedError, "cannot read")

    @unittest.skipUnless(importlib.util.find_spec("zstandard"), "without zstandard")
    def test_a_compressed_manifest(self) -> None:
        deep = self.workspace / "models" / "/".join(["d" * 250] * 3)
        deep.mkdir(parents=True)
        for number in range(1300):
            (deep / f"{number:04}").touch()
        large = stored.save(self.workspace, self.store.as_uri(), model="large")
        self.assertTrue(list((self.store / "v1/manifests").glob("*.zst")))
        place = self.model(stored.uri_of(large)).download(None, self.destination)
        self.assertEqual(stored.everything(place), stored.everything(self.workspace / "models"))
        [packed] = (self.store / "v1/manifests").glob("*.zst")
        packed.chmod(0o644)
        packed.write_bytes(packed.read_bytes()[:-9])
        self.assert_refused(DamagedError, "manifest", stored.uri_of(large))

    @unittest.skipUnless(os.environ.get("AWS_ENDPOINT_URL"), "without a server")
    @unittest.skipUnless(importlib.util.find_spec("boto3"), "without boto3")
    def test_a_store_in_a_bucket(self) -> None:
        import boto3  # type: ignore[import-not-found, import-untyped, unused-ignore]

        client, bucket = boto3.client("s3"), f"mlflow-{os.getpid()}"
        client.create_bucket(Bucket=bucket)
        store = f"s3://{bucket}/some/prefix"
        pointer = stored.save(self.workspace, store)
        environment = {**os.environ, "ML_CACHE_STORE": store}
        model = StoredModel(stored.uri_of(pointer), open_store(environment))
        place = model.download(None, self.destination)
        self.assertEqual((place / "weights/big.bin").read_bytes(), self.files["weights/big.bin"])
        blobs = client.list_objects_v2(Bucket=bucket, Prefix="some/prefix/v1/blobs/")["Contents"]
        client.put_object(Bucket=bucket, Key=blobs[0]["Key"], Body=b"x" * blobs[0]["Size"])
        other = self.work / "other"
        other.mkdir()
        with self.assertRaisesRegex(DamagedError, "other bytes"):
            model.download(None, other)
        self.assertEqual(stored.everything(other), set())


class AddressTest(unittest.TestCase):
    """The addresses, and the keys that they lead to."""

    def test_an_address(self) -> None:
        address = parse_uri(f"ml-cache://v1/trusted/acme/my%20repo/m%C3%BC/{HEX}/{HEX}/models/a")
        self.assertEqual(address.namespace, "acme/my repo")
        self.assertEqual((address.model, address.path), ("mü", "models/a"))
        self.assertEqual(
            address.pointer_key, f"v1/trusted/acme/my%20repo/m%C3%BC/pointers/{HEX}.json"
        )

    def test_what_is_no_address(self) -> None:
        good = f"ml-cache://v1/trusted/acme/repo/model/{HEX}/{HEX}"
        parse_uri(good)
        for uri, text in (
            (f"ml-cache://acme/repo/model@sha256:{HEX}", "another version"),
            (good.replace("v1", "v2"), "newer"),
            (good.replace("trusted", "untrusted"), "scope"),
            (good[:-1], "no digests"),
            (f"{good}?a=b", "query"),
            (f"{good}/a/../b", "not encoded"),
            (f"{good}/a%2Fb", "not encoded"),
            (f"{good}/a%2fb", "not encoded"),
            (f"{good}/%2E%2E/b", "plain relative path"),
            (good.replace("/repo", "/re%70o"), "not encoded"),
            (good.replace("/repo", "/"), ""),
        ):
            with self.subTest(uri), self.assertRaises(AddressError) as caught:
                parse_uri(uri)
            self.assertIn(text, str(caught.exception))

    def test_the_examples_of_the_format(self) -> None:
        for text, component in (
            ("fraud-detector", "fraud-detector"),
            ("branch/feature/ü", "branch%2Ffeature%2F%C3%BC"),
            ("100%", "100%25"),
            ("..", "%2E%2E"),
            ("..x", "..x"),
            ("n" * 250, "n" * 250),
        ):
            self.assertEqual(encode(text), component)
        self.assertRegex(encode("n" * 251), r"^n{184}%-64091ef0")
        self.assertRegex(encode("ü" * 42), r"^(%C3%BC){30}%C3%-08cee1c9")
        long = bucket_key("p" * 900, f"v1/trusted/{'o' * 100}/pointers/{HEX}.json")
        self.assertEqual(
            long, f"{'p' * 900}v1/trusted/{shorten('o' * 100, 96)}/pointers/{HEX}.json"
        )
        example = (
            b'{"schema":"ml-cache/manifest/v1","files":[{"path":"models/empty","size":0,"mode":"644",'
            b'"parts":[]}],"links":[],"dirs":["models/cache"]}'
        )
        manifest = parse_manifest(example, hashlib.sha256(example).hexdigest())
        self.assertEqual(list(manifest.paths()), ["models/empty", "models/cache"])

    def test_a_store_must_be_named(self) -> None:
        for text in ("", "http://x", "file://host/x", "s3://", "/var/models"):
            with self.assertRaisesRegex(AddressError, "ML_CACHE_STORE"):
                open_store({"ML_CACHE_STORE": text})


if __name__ == "__main__":
    unittest.main()
