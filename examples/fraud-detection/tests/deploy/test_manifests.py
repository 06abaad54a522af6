"""The manifests are valid, restricted, and become those of one model when they are rendered."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import render_manifests
from example import EXAMPLE, make_pointer, pointer_text

FILES = sorted((EXAMPLE / "k8s").glob("*/*.yaml"))
VERSIONS = ("1.32", "1.37")  # the oldest that is meant, and the newest with a schema here


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def deployments() -> list[dict[str, Any]]:
    found = [document for path in FILES for document in documents(path)]
    return [document for document in found if document["kind"] == "Deployment"]


IMAGE = "registry/serving@sha256:" + "1" * 64
PRODUCTION = [str(path) for path in FILES if path.parent.name == "production"]


def render(output: Path, *arguments: str) -> list[Path]:
    """Renders production for the model `a`."""
    given = ["--pointer", pointer_text("a"), "--image", IMAGE, "--output", str(output), *arguments]
    assert render_manifests.main([*given, *PRODUCTION]) == 0
    return sorted(output.iterdir())


@pytest.fixture
def rendered(tmp_path: Path) -> list[Path]:
    return render(tmp_path, "--store", "s3://theirs", "--region", "eu-west-1")


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(rendered: list[Path], version: str) -> None:
    for path in [*FILES, *rendered]:
        for document in documents(path):
            kubernetes_validate.validate(document, version, strict=True)


def test_a_fault_would_be_found() -> None:
    broken = deployments()[0]
    broken["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagee"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_rendering_names_the_model_and_the_image(rendered: list[Path]) -> None:
    for path in rendered:
        for document in documents(path):
            assert document["kind"] == "Deployment", "all else is the administrator's"
            template = document["spec"]["template"]
            annotation = template["metadata"]["annotations"]["ml-cache/pointer"]
            assert json.loads(annotation) == make_pointer("a")
            assert template["spec"]["containers"][0]["image"] == IMAGE
            (restore,) = template["spec"]["initContainers"]
            assert "ml-cache-action" in restore["image"]
            assert {each["name"]: each["value"] for each in restore["env"]} == {
                "ML_CACHE_STORE": "s3://theirs",
                "AWS_REGION": "eu-west-1",
                "MODEL_NAMESPACE": "acme/fraud-detection",
            }


def test_nothing_of_the_examples_is_left(rendered: list[Path]) -> None:
    text = "".join(path.read_text() for path in rendered)
    for example in ("ml-models", "eu-central-1", "ghcr.io/acme"):
        assert example not in text


def test_settings_come_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_CACHE_STORE", "s3://theirs")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    text = "".join(path.read_text() for path in render(tmp_path))
    assert "s3://theirs" in text
    assert "eu-west-1" in text


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("--pointer", "{}", "not a pointer"),
        ("--store", "", "set ML_CACHE_STORE"),
        ("--region", "", "set AWS_REGION"),
        ("--endpoint-url", "http://store", "not at AWS, and the pods of canary.yaml"),
    ],
)
def test_what_cannot_be_rendered_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    value: str,
    message: str,
) -> None:
    good = {"--pointer": pointer_text("a"), "--image": "i", "--store": "s3://a", "--region": "b"}
    given = good | {"--output": str(tmp_path), argument: value}
    arguments = [each for pair in given.items() for each in pair]
    assert render_manifests.main([*arguments, *PRODUCTION]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pods_with_keys_of_their_own_get_the_address_of_another_store(tmp_path: Path) -> None:
    manifest = tmp_path / "staging.yaml"
    variables = """          env:
            - { name: AWS_ENDPOINT_URL, value: "" }
            - name: AWS_ACCESS_KEY_ID
              valueFrom: { secretKeyRef: { name: store, key: id } }
"""
    text = (EXAMPLE / "k8s" / "staging" / "deployment.yaml").read_text(encoding="utf-8")
    comment = " # scripts/deploy sets the values\n"
    manifest.write_text(text.replace(f"          env:{comment}", variables, 1), encoding="utf-8")
    output = tmp_path / "output"
    output.mkdir()
    given = {"--pointer": pointer_text("a"), "--image": "i", "--store": "s3://a", "--region": "b"}
    given |= {"--endpoint-url": "http://store", "--output": str(output), "--order": "7"}
    arguments = [each for pair in given.items() for each in pair]
    assert render_manifests.main([*arguments, str(manifest)]) == 0
    (rendered,) = documents(output / "staging.yaml")
    (restore,) = rendered["spec"]["template"]["spec"]["initContainers"]
    found = {each["name"]: each for each in restore["env"]}
    assert found["AWS_ENDPOINT_URL"]["value"] == "http://store"
    assert "value" not in found["AWS_ACCESS_KEY_ID"]
    assert found["MODEL_NAMESPACE"]["value"] == "acme/fraud-detection"
    assert rendered["metadata"]["annotations"] == {"ml-cache/order": "7"}


def test_stable_and_canary_differ_in_track_and_share_alone() -> None:
    production = EXAMPLE / "k8s" / "production"
    (stable,) = documents(production / "stable.yaml")
    (canary,) = documents(production / "canary.yaml")
    assert (stable["spec"]["replicas"], canary["spec"]["replicas"]) == (9, 1)
    del stable["spec"]["template"]["spec"]["topologySpreadConstraints"]
    text = yaml.safe_dump(stable).replace("replicas: 9", "replicas: 1")
    assert yaml.safe_load(text.replace("stable", "canary")) == canary


def test_containers_may_do_as_little_as_possible() -> None:
    for deployment in deployments():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod["initContainers"], *pod["containers"]]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_a_rollout_that_stands_still_fails_before_the_wait_for_it_ends() -> None:
    script = (EXAMPLE / "scripts" / "deploy.d" / "kubectl.sh").read_text(encoding="utf-8")
    (wait,) = re.findall(r"^wait_for=(\d+)s$", script, re.MULTILINE)
    for deployment in deployments():
        spec = deployment["spec"]
        probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
        starts = probe["periodSeconds"] * probe["failureThreshold"]
        assert starts < spec["progressDeadlineSeconds"] < int(wait)


def test_the_deployer_is_bound_to_its_role_in_namespaces_of_restricted_pods() -> None:
    namespaces = {deployment["metadata"]["namespace"] for deployment in deployments()}
    setup = [each for path in FILES if path.parent.name == "setup" for each in documents(path)]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for each in setup:
        meta = each["metadata"]
        if meta["name"] != "fraud-detector":
            found.setdefault(meta.get("namespace", meta["name"]), {})[each["kind"]] = each
    assert found.keys() == namespaces
    for namespace, each in found.items():
        labels = each["Namespace"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        binding = each["RoleBinding"]
        assert binding["roleRef"]["name"] == each["Role"]["metadata"]["name"]
        account = {"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}
        assert binding["subjects"] == [account]
        assert each["ServiceAccount"]["metadata"]["name"] == "deployer"


def test_the_pods_have_their_account() -> None:
    found = [document for path in FILES for document in documents(path)]
    accounts = {
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in found
        if each["kind"] == "ServiceAccount"
    }
    for deployment in deployments():
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        assert (deployment["metadata"]["namespace"], account) in accounts


def test_services_and_policies_select_the_pods() -> None:
    for path in FILES:
        for document in documents(path):
            if document["kind"] == "Service":
                selector = document["spec"]["selector"]
            elif document["kind"] == "NetworkPolicy":
                selector = document["spec"]["podSelector"]["matchLabels"]
            else:
                continue
            for deployment in deployments():
                if deployment["metadata"]["namespace"] == document["metadata"]["namespace"]:
                    labels = deployment["spec"]["template"]["metadata"]["labels"]
                    assert selector.items() <= labels.items()
