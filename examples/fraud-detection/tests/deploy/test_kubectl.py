"""What scripts/deploy does to a cluster, shown by a stand-in for kubectl that remembers it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from api_server import known_fields
from deployment import Deployment
from example import EXAMPLE, make_pointer, pointer_text
from rights import Request, allowed, grants, proxied, roles

STABLE = "fraud-detector-production/fraud-detector-stable"
CANARY = "fraud-detector-production/fraud-detector-canary"
STAGING = "fraud-detector-staging/fraud-detector"
NAMESPACES = ["fraud-detector-production", "fraud-detector-staging"]


def make_cluster(directory: Path) -> Deployment:
    """Returns a deployment to the cluster that the directory holds, which may be empty."""
    tools = directory / "bin"
    tools.mkdir(exist_ok=True)
    # Through a wrapper, because the stand-in needs this Python's packages.
    kubectl = tools / "kubectl"
    kubectl.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{EXAMPLE}/tests/support/kubectl" "$@"\n'
    )
    kubectl.chmod(0o755)
    (directory / "roles.json").write_text(json.dumps(roles()))
    (directory / "fields.json").write_text(json.dumps(known_fields()))
    (directory / "namespaces.json").write_text(json.dumps(NAMESPACES))
    return Deployment(
        {
            "DEPLOY_TARGET": "kubectl",
            "DEPLOY_STATE": str(directory / "state"),
            "FAKE_CLUSTER": str(directory),
            "IMAGE": "registry/serving:1",
            "ML_CACHE_STORE": "s3://theirs/cache",
            "AWS_REGION": "eu-west-1",
            "GITHUB_OUTPUT": str(directory / "output"),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "KUBECONFIG": "/dev/null",
        }
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Deployment:
    """Returns a deployment to an empty cluster."""
    return make_cluster(tmp_path)


def failing(cluster: Deployment, name: str) -> Deployment:
    return replace(cluster, environment=cluster.environment | {"FAIL_ROLLOUT": name})


def refusing(cluster: Deployment, call: str) -> Deployment:
    """Returns a deployment that is cut off at a call of kubectl, as a cancelled one is."""
    return replace(cluster, environment=cluster.environment | {"FAIL_CALL": call})


def served(cluster: Deployment) -> dict[str, str]:
    """Returns the digit of the model that each Deployment serves."""
    path = Path(cluster.environment["FAKE_CLUSTER"]) / "deployments.json"
    found = {}
    for name, revisions in json.loads(path.read_text()).items():
        template = revisions[-1]["spec"]["template"]
        pointer = json.loads(template["metadata"]["annotations"]["ml-cache/pointer"])
        assert template["spec"]["containers"][0]["image"] == "registry/serving:1"
        found[name] = pointer["manifest"]["digest"][-1]
    return found


def written(cluster: Deployment, name: str) -> list[str]:
    path = Path(cluster.environment["FAKE_CLUSTER"]) / name
    return path.read_text().splitlines()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of a cluster that serves the model `a`."""
    directory = tmp_path_factory.mktemp("cluster")
    cluster = make_cluster(directory)
    cluster("canary", "--pointer", pointer_text("a"))
    assert served(cluster) == {CANARY: "a"}, "the first version begins as a canary"
    cluster("promote")
    assert served(cluster) == {STABLE: "a"}
    return directory


@pytest.fixture
def production(deployed: Path, tmp_path: Path) -> Deployment:
    """Returns a deployment to a cluster of its own that serves the model `a`."""
    shutil.copytree(deployed, tmp_path, dirs_exist_ok=True)
    return make_cluster(tmp_path)


def test_credentials_are_for_a_call_alone(production: Deployment, tmp_path: Path) -> None:
    secret = "apiVersion: v1\nusers: [{token: 'a $b `c`'}]"
    given = production.given(DEPLOY_CREDENTIALS=secret, TMPDIR=str(tmp_path), KUBECONFIG="")
    program = "import os; print(sorted({'DEPLOY_CREDENTIALS', 'KUBECONFIG'} & os.environ.keys()))"
    assert given.run("production", "-c", program).stdout == "[]\n"
    seen = set(written(production, "kubeconfigs"))
    assert json.dumps([secret, "0o600"]) in seen
    assert secret not in [left.read_text() for left in tmp_path.glob("tmp.*")]


def test_without_a_cluster_nothing_is_asked(cluster: Deployment, tmp_path: Path) -> None:
    ended = cluster.given(KUBECONFIG="", HOME=str(tmp_path)).call("status")
    assert ended.returncode == 1
    assert "no cluster is known: set DEPLOY_CREDENTIALS" in ended.stderr
    assert not (tmp_path / "calls").exists()


def test_what_is_served_is_told(production: Deployment) -> None:
    assert json.loads(production("pointer", "production")) == make_pointer("a")
    assert production("pointer", "staging") == ""


def test_staging_is_applied_and_waited_for(cluster: Deployment, tmp_path: Path) -> None:
    pointer = tmp_path / "pointer.json"
    pointer.write_text(json.dumps(make_pointer("a"), indent=2))
    cluster("staging", "--pointer", str(pointer))
    assert served(cluster) == {STAGING: "a"}
    apply, rollout = written(cluster, "calls")[-2:]
    assert "apply -f" in apply
    assert "rollout status deployment/fraud-detector" in rollout


def test_staging_that_fails_goes_back(cluster: Deployment) -> None:
    cluster("staging", "--pointer", pointer_text("a"))
    ended = failing(cluster, "fraud-detector").call("staging", "--pointer", pointer_text("b"))
    assert ended.returncode == 1
    assert served(cluster) == {STAGING: "a"}


def test_a_canary_leaves_the_stable_version_alone(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    assert served(production) == {STABLE: "a", CANARY: "b"}
    production("rollback")
    assert served(production) == {STABLE: "a"}


def test_a_canary_that_fails_is_removed(production: Deployment) -> None:
    bad = failing(production, "fraud-detector-canary")
    assert bad.call("canary", "--pointer", pointer_text("b")).returncode == 1
    assert served(production) == {STABLE: "a"}


def test_promotion_and_the_way_back(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    production("promote")
    assert served(production) == {STABLE: "b"}
    production("rollback")
    assert served(production) == {STABLE: "a"}


def test_a_promotion_that_fails_goes_back(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    ended = failing(production, "fraud-detector-stable").call("promote")
    assert ended.returncode == 1
    assert served(production) == {STABLE: "a"}


def test_a_rollback_after_a_promotion_that_failed_changes_nothing(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    assert failing(production, "fraud-detector-stable").call("promote").returncode == 1
    for _ in range(2):
        production("rollback")
        assert served(production) == {STABLE: "a"}


def test_a_promotion_that_was_cancelled_is_taken_back(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    cut = refusing(production, "delete deployment/fraud-detector-canary")
    assert cut.call("promote").returncode == 1
    assert served(production) == {STABLE: "b", CANARY: "b"}
    production("rollback")
    assert served(production) == {STABLE: "a"}


def test_a_rollback_after_a_promotion_of_the_same_model_stays(production: Deployment) -> None:
    for digit in ("b", "b"):
        production("canary", "--pointer", pointer_text(digit))
        production("promote")
    production("rollback")
    assert served(production) == {STABLE: "b"}


def test_a_second_rollback_changes_nothing(production: Deployment) -> None:
    for digit in ("b", "c"):
        production("canary", "--pointer", pointer_text(digit))
        production("promote")
    for _ in range(3):
        production("rollback")
        assert served(production) == {STABLE: "b"}


def test_staging_that_already_failed_does_not_go_further_back(cluster: Deployment) -> None:
    for digit in ("a", "b"):
        cluster("staging", "--pointer", pointer_text(digit))
    ended = failing(cluster, "fraud-detector").call("staging", "--pointer", pointer_text("b"))
    assert ended.returncode == 1
    assert served(cluster) == {STAGING: "b"}


def test_the_canary_gets_a_larger_share(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    production("share", "50")
    assert pods(production) == {STABLE: 9, CANARY: 9}
    production("promote")
    assert pods(production) == {STABLE: 9}
    ended = production.call("share", "50")
    assert ended.returncode == 1
    assert "there is no canary" in ended.stderr


def pods(cluster: Deployment) -> dict[str, int]:
    path = Path(cluster.environment["FAKE_CLUSTER"]) / "deployments.json"
    found = json.loads(path.read_text())
    return {name: revisions[-1]["spec"]["replicas"] for name, revisions in found.items()}


def test_after_the_rollout_the_version_before_is_compared_with(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    production("share", "50")
    production("promote")
    program = "import os; print(*(len(os.environ[v].split()) for v in NAMES))"
    names = ("STABLE_METRICS", "STABLE_SINCE", "CANARY_METRICS", "CANARY_SINCE")
    told = production.run("production", "-c", program.replace("NAMES", str(names))).stdout
    assert told == "9 9 9 0\n", "its own pods have begun anew"


def test_production_goes_back_to_the_model_that_was_deployed_before(production: Deployment) -> None:
    for number, digit in enumerate("bcc", 20):
        run = production.given(DEPLOY_ORDER=str(number))
        run("canary", "--pointer", pointer_text(digit))
        run("promote", "--reason", f"the model {digit}")
    # It was trained, and never deployed.
    production("canary", "--pointer", pointer_text("d"))
    production("back", "--reason", "c is slow")
    assert served(production) == {STABLE: "b"}
    production("rollback")
    assert served(production) == {STABLE: "b"}, "no later rollback takes it away"
    production("back", "--reason", "b as well")
    assert served(production) == {STABLE: "a"}
    ended = production.call("back", "--reason", "more")
    assert ended.returncode == 1
    assert "no other model was deployed before" in ended.stderr
    rows = production("history").splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["rollback"] * 2 + ["deploy"] * 4
    assert rows[1].endswith("| 20 | c is slow |")
    assert rows[2].endswith("| 22 | the model c |")
    assert production.call("back").returncode == 1


def test_production_goes_back_to_a_run(production: Deployment) -> None:
    for number, digit in enumerate("bc", 20):
        production.given(DEPLOY_ORDER=str(number))("canary", "--pointer", pointer_text(digit))
        production("promote")
    ended = production.call("back", "--to", "19", "--reason", "no")
    assert "`19` was not deployed before" in ended.stderr
    production("back", "--to", "20", "--reason", "yes")
    assert served(production) == {STABLE: "b"}


def test_what_fails_is_not_gone_back_to(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    production("promote")
    production("rollback")
    assert served(production) == {STABLE: "a"}
    assert production.call("back", "--reason", "again").returncode == 1
    assert "the deployment failed" in production("history")


@pytest.mark.parametrize("call", ["get replicasets", "annotate", "get --raw", "apply"])
def test_a_canary_that_never_began_leaves_nothing_to_take_back(
    production: Deployment, call: str
) -> None:
    production("canary", "--pointer", pointer_text("b"))
    production("promote")
    ended = refusing(production, call).call("canary", "--pointer", pointer_text("c"))
    assert ended.returncode == 1
    production("rollback")
    assert served(production) == {STABLE: "b"}, "not what was there before the promotion"


def test_a_canary_that_was_cancelled_is_removed(production: Deployment) -> None:
    cut = refusing(production, "deployment/fraud-detector-canary")
    assert cut.call("canary", "--pointer", pointer_text("b")).returncode == 1
    assert served(production) == {STABLE: "a", CANARY: "b"}
    production("canary", "--pointer", pointer_text("c"))
    assert served(production) == {STABLE: "a", CANARY: "c"}
    for _ in range(2):
        production("rollback")
        assert served(production) == {STABLE: "a"}


def test_a_rollback_of_nothing_is_no_error(cluster: Deployment) -> None:
    for _ in range(2):
        assert cluster.rollback() == (0, "production serves nothing: there is no earlier version")
        assert cluster.step_output() == "serves=false"


def test_the_first_canary_is_taken_back(cluster: Deployment) -> None:
    cluster("canary", "--pointer", pointer_text("a"))
    assert cluster.rollback() == (0, "production serves nothing: there is no earlier version")
    assert cluster.step_output() == "serves=false"
    assert served(cluster) == {}


def test_the_first_version_stays(production: Deployment) -> None:
    for _ in range(2):
        code, message = production.rollback()
        assert code == 1
        assert message == "error: there is no earlier version; production keeps the first one"
        assert served(production) == {STABLE: "a"}
    production("canary", "--pointer", pointer_text("b"))
    for _ in range(2):
        production("rollback")
        assert production.step_output() == "serves=true"
        assert served(production) == {STABLE: "a"}


def test_a_first_version_that_fails_is_not_in_the_way(cluster: Deployment) -> None:
    cluster("canary", "--pointer", pointer_text("a"))
    ended = failing(cluster, "fraud-detector-stable").call("promote")
    assert ended.returncode == 1
    assert "production serves nothing" in ended.stderr
    assert served(cluster) == {}


@pytest.mark.parametrize("lost", [{"FAIL_CALL": "get pods"}, {"NO_PODS": "stable"}])
def test_pods_that_cannot_be_found_are_not_a_first_version(
    production: Deployment, lost: dict[str, str]
) -> None:
    production("canary", "--pointer", pointer_text("b"))
    blind = replace(production, environment=production.environment | lost)
    assert blind.run("production", "-c", "").returncode == 1
    assert blind.call("canary", "--pointer", pointer_text("c")).returncode == 1


def test_a_canary_that_was_started_again_does_not_go_on(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    ended = production.given(RESTARTS="0 10").call("promote")
    assert ended.returncode == 1
    assert "was started again" in ended.stderr
    assert served(production) == {STABLE: "a", CANARY: "b"}
    production.given(RESTARTS="0 0")("promote")
    assert served(production) == {STABLE: "b"}


def test_without_a_canary_nothing_is_promoted(production: Deployment) -> None:
    ended = production.call("promote")
    assert ended.returncode == 1
    assert "there is no canary" in ended.stderr
    assert served(production) == {STABLE: "a"}


def test_an_older_run_does_not_replace_a_newer_one(cluster: Deployment) -> None:
    def run(number: str) -> Deployment:
        return cluster.given(DEPLOY_ORDER=number)

    for digit, number in (("a", "8"), ("b", "10")):
        run(number)("staging", "--pointer", pointer_text(digit))
        run(number)("canary", "--pointer", pointer_text(digit))
        # By hand, without a number: what the canary was counts.
        cluster("promote")
    for command in ("staging", "canary"):
        ended = run("9").call(command, "--pointer", pointer_text("c"))
        assert ended.returncode == 1
        assert "the newer run 10 deployed, and this is run 9" in ended.stderr
        assert "start the workflow anew" in ended.stderr
    run("9")("rollback")
    assert served(cluster) == {STAGING: "b", STABLE: "b"}, "it never began"

    for command in ("staging", "canary"):
        run("10")(command, "--pointer", pointer_text("c"))
    assert served(cluster) == {STAGING: "c", STABLE: "b", CANARY: "c"}, "the same run, once more"


def test_after_a_rollback_the_number_of_what_serves_counts(cluster: Deployment) -> None:
    for digit, number in (("a", "8"), ("b", "10")):
        cluster.given(DEPLOY_ORDER=number)("canary", "--pointer", pointer_text(digit))
        cluster.given(DEPLOY_ORDER=number)("promote")
    cluster("rollback")
    cluster.given(DEPLOY_ORDER="9")("canary", "--pointer", pointer_text("c"))
    assert served(cluster) == {STABLE: "a", CANARY: "c"}


@pytest.mark.parametrize("number", ["", "seven"])
def test_without_a_number_nothing_is_compared(cluster: Deployment, number: str) -> None:
    cluster.given(DEPLOY_ORDER="8")("staging", "--pointer", pointer_text("a"))
    cluster.given(DEPLOY_ORDER=number)("staging", "--pointer", pointer_text("b"))
    cluster.given(DEPLOY_ORDER="7")("staging", "--pointer", pointer_text("c"))
    assert served(cluster) == {STAGING: "c"}


def test_a_canary_tells_what_was_there_before(cluster: Deployment) -> None:
    cluster("canary", "--pointer", pointer_text("a"))
    assert cluster.step_output() == "before="
    cluster("promote")
    cluster("canary", "--pointer", pointer_text("b"))
    assert cluster.step_output() == "before=sha256:" + "a" * 64


def test_pods_get_no_store_that_is_not_aws(cluster: Deployment) -> None:
    elsewhere = cluster.given(S3_ENDPOINT_URL="http://store.invalid")
    for command in ("staging", "canary"):
        ended = elsewhere.call(command, "--pointer", pointer_text("a"))
        assert ended.returncode == 1
        assert "http://store.invalid, not at AWS" in ended.stderr


def test_commands_are_told_where_the_pods_are(production: Deployment) -> None:
    production("canary", "--pointer", pointer_text("b"))
    variables = ("BASE_URL", "STABLE_METRICS", "CANARY_METRICS", "STABLE_SINCE")
    program = f"import json, os; print(json.dumps([os.environ[v] for v in {variables}]))"
    found = json.loads(production.run("production", "-c", program).stdout)
    api = "http://127.0.0.1:4711/api/v1/namespaces/fraud-detector-production"
    base_url, stable, canary, since = found
    assert base_url == f"{api}/services/fraud-detector:http/proxy"
    assert stable.split() == [f"{api}/pods/stable-{n}:8080/proxy/metrics" for n in range(9)]
    assert canary.split() == [f"{api}/pods/canary-0:8080/proxy/metrics"]
    assert len(since.split()) == 9, "what the stable pods had counted when the canary came"


def test_the_deployer_may_do_what_it_does_and_no_more(cluster: Deployment) -> None:
    # The stand-in refuses what the Role does not allow.
    for digit in ("a", "b"):
        cluster("staging", "--pointer", pointer_text(digit))
    cluster("canary", "--pointer", pointer_text("a"))
    assert failing(cluster, "fraud-detector-stable").call("promote").returncode == 1
    for digit in ("a", "b"):
        cluster("canary", "--pointer", pointer_text(digit))
        cluster("promote")
    cluster("canary", "--pointer", pointer_text("a"))
    cluster("share", "50")
    cluster("rollback")
    cluster("back", "--reason", "a test")
    cluster("status")

    used = [Request(*json.loads(line)) for line in written(cluster, "requests")]
    # What commands ask for through `kubectl proxy`, which has no address of its own here.
    for environment in ("staging", "production"):
        for verb in ("get", "create"):
            used.append(proxied(verb, base_path(cluster, environment)))
    assert all(allowed(request) for request in used)
    for namespace, rules in roles().items():
        asked = [request for request in used if request.namespace == namespace]
        for rule in rules:
            names = [{"resourceNames": [name]} for name in rule.get("resourceNames", [])] or [{}]
            for verb, resource, name in product(rule["verbs"], rule["resources"], names):
                narrow = {**rule, "verbs": [verb], "resources": [resource], **name}
                assert any(grants(narrow, each) for each in asked), f"needless: {narrow}"

        for verb in ("get", "list", "create"):
            for resource in ("secrets", "configmaps", "pods/exec", "rolebindings"):
                assert not allowed(Request(namespace, verb, resource))
        assert not allowed(Request(namespace, "delete", "services", "fraud-detector"))
        assert not allowed(Request(namespace, "patch", "deployments", "another"))
    assert not allowed(Request("default", "list", "pods"))


def base_path(cluster: Deployment, environment: str) -> str:
    """Returns the path by which commands reach the service."""
    program = "import os; print(os.environ['BASE_URL'].partition('4711')[2])"
    return cluster.run(environment, "-c", program).stdout.strip()


@pytest.mark.parametrize("missing", ["IMAGE", "--pointer", "ML_CACHE_STORE", "AWS_REGION"])
def test_what_is_missing_is_told(cluster: Deployment, missing: str) -> None:
    arguments = ["staging", "--pointer", pointer_text("a")]
    if missing in cluster.environment:
        cluster = replace(cluster, environment=cluster.environment | {missing: ""})
    else:
        arguments = arguments[:1]
    ended = cluster.call(*arguments)
    assert ended.returncode == 1
    assert missing in ended.stderr


def kubectl(cluster: Deployment, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Calls the stand-in as scripts/deploy does."""
    return subprocess.run(
        ["kubectl", *arguments],
        env=os.environ | cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stand_in_refuses_what_an_api_server_refuses(
    production: Deployment, tmp_path: Path
) -> None:
    state = Path(production.environment["FAKE_CLUSTER"]) / "deployments.json"
    before = state.read_text()
    applied = json.loads(before)[STABLE][-1]
    del applied["revision"]

    def refused(change: str, *path: str | int, where: str = STABLE.partition("/")[0]) -> str:
        manifest = json.loads(json.dumps(applied))
        inner = manifest
        for part in path:
            inner = inner[part]
        inner |= json.loads(change)
        manifest["metadata"]["namespace"] = where
        file = tmp_path / "changed.yaml"
        file.write_text(json.dumps(manifest))
        ended = kubectl(production, "--namespace", where, "apply", "-f", str(file))
        assert ended.returncode == 1
        assert state.read_text() == before
        return ended.stderr

    container = ("spec", "template", "spec", "containers", 0)
    assert 'unknown field "spec.template.spec.containers[0].imagee"' in refused(
        '{"imagee": "x"}', *container
    )
    assert 'unknown field "spec.replica"' in refused('{"replica": 1}', "spec")
    labels = ("spec", "selector", "matchLabels")
    assert "does not match template" in refused('{"track": "other"}', *labels)
    assert "the object has been modified" in refused('{"resourceVersion": "99"}', "metadata")
    # A namespace that the administrator did not make; the rights are those of everywhere.
    (tmp_path / "namespaces.json").write_text("[]")
    assert 'namespaces "fraud-detector-production" not found' in refused("{}")


def test_the_stand_in_refuses_a_change_of_what_changed_meanwhile(production: Deployment) -> None:
    namespace, name = STABLE.split("/")

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return kubectl(production, "--namespace", namespace, *arguments)

    def version() -> str:
        return call(
            *("get", "deployments", name, "--ignore-not-found"),
            *("--output", "jsonpath={.metadata.resourceVersion}"),
        ).stdout.strip()

    annotate = ("annotate", f"deployment/{name}", "--overwrite", "ml-cache/before=x")
    known = version()
    assert call(*annotate, f"--resource-version={known}").returncode == 0
    assert version() != known
    late = call(*annotate, f"--resource-version={known}")
    assert (late.returncode, "the object has been modified" in late.stderr) == (1, True)
    missing = call("annotate", "deployment/fraud-detector-canary", "--overwrite", "a=b")
    assert missing.returncode == 1
    assert '(NotFound): deployments.apps "fraud-detector-canary" not found' in missing.stderr
