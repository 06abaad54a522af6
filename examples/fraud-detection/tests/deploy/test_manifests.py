"""The manifests are valid, restricted, and become those of one model when they are rendered."""

import json
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


@pytest.fixture
def rendered(tmp_path: Path) -> list[Path]:
    """Renders production for the model `a`."""
    production = [str(path) for path in FILES if path.parent.name == "production"]
    arguments = ["--pointer", pointer_text("a"), "--image", "registry/serving:1"]
    assert render_manifests.main([*arguments, "--output", str(tmp_path), *production]) == 0
    return sorted(tmp_path.iterdir())


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
            if document["kind"] != "Deployment":
                assert documents(EXAMPLE / "k8s" / "production" / path.name) == [document]
                continue
            template = document["spec"]["template"]
            annotation = template["metadata"]["annotations"]["ml-cache/pointer"]
            assert json.loads(annotation) == make_pointer("a")
            assert template["spec"]["containers"][0]["image"] == "registry/serving:1"
            assert "ml-cache-action" in template["spec"]["initContainers"][0]["image"]


def test_an_unusable_pointer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--pointer", "{}", "--image", "i", "--output", str(tmp_path), str(FILES[0])]
    assert render_manifests.main(arguments) == 1
    assert "not a pointer" in capsys.readouterr().err


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
