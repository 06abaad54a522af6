"""What calls of kubectl ask of a cluster's API, and what the Roles of k8s/setup allow.

Which requests a call makes was written down by a server that kubectl 1.32 was pointed at.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

GROUPS = {
    "deployments": "apps",
    "replicasets": "apps",
}


class Request(NamedTuple):
    """A request, as authorization sees it: without a name, it is for all."""

    namespace: str
    verb: str
    resource: str
    name: str = ""


def proxied(verb: str, path: str) -> Request:
    """Returns the request for a path such as /api/v1/namespaces/N/pods/P:8080/proxy/metrics."""
    namespace, kind, name, proxy = path.removeprefix("/api/v1/namespaces/").split("/")[:4]
    assert proxy == "proxy"
    return Request(namespace, verb, f"{kind}/proxy", name)


def requests(
    namespace: str, arguments: list[str], manifests: Iterable[dict[str, Any]]
) -> Iterator[Request]:
    """Yields what a call asks for; `apply` may have to create or to patch each of the manifests."""

    def of(name: str, *verbs: str) -> Iterator[Request]:
        bare = name.removeprefix("deployment/")
        return (Request(namespace, verb, "deployments", bare) for verb in verbs)

    match arguments:
        case ["apply", *_]:
            for manifest in manifests:
                resource = f"{manifest['kind'].lower()}s"
                name = manifest["metadata"]["name"]
                yield Request(namespace, "get", resource, name)
                yield Request(namespace, "create", resource)
                yield Request(namespace, "patch", resource, name)
        case ["rollout", "status", name, *_] | ["wait", name, *_]:
            yield from of(name, "get", "list", "watch")
        case ["rollout", "undo", name, *_]:
            yield Request(namespace, "list", "replicasets")
            yield from of(name, "get", "patch")
        case ["annotate" | "patch", name, *_]:
            yield from of(name, "get", "patch")
        case ["delete", name, *_]:
            yield from of(name, "delete", "get", "list", "watch")
        case ["get", "--raw", path]:
            yield proxied("get", path)
        case ["get", resources, "--selector", *_]:
            for resource in resources.split(","):
                yield Request(namespace, "list", resource)
        case ["get", "deployments", name, *_] | ["get", name, *_]:
            yield from of(name, "get")


# The rules of each namespace.
Rules = dict[str, list[dict[str, Any]]]


@cache
def roles() -> Rules:
    """Returns the rules of each namespace's Role."""
    import yaml  # the stand-in for kubectl is given what this returns, and starts without it

    from example import EXAMPLE

    found = {}
    for path in sorted((EXAMPLE / "k8s" / "setup").glob("*.yaml")):
        for document in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader):
            if document["kind"] == "Role":
                found[document["metadata"]["namespace"]] = document["rules"]
    return found


def grants(rule: dict[str, Any], request: Request) -> bool:
    """Returns whether a rule allows the request."""
    return (
        GROUPS.get(request.resource, "") in rule["apiGroups"]
        and request.resource in rule["resources"]
        and request.verb in rule["verbs"]
        and request.name in rule.get("resourceNames", [request.name])
    )


def allowed(request: Request, rules: Rules | None = None) -> bool:
    """Returns whether the deployer of the request's namespace may do it, by `roles()` or others."""
    known = roles() if rules is None else rules
    return any(grants(rule, request) for rule in known.get(request.namespace, []))
