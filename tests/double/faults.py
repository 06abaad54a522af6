"""Scripted faults of the GitHub double: rules that say which requests go wrong, and how."""

import re
import threading


class BadRule(ValueError):
    """A rule that nothing can follow."""


class Fault:
    """How one request goes wrong.

    {"status": 503, "body": text or JSON, "headers": {…}}   answers so; the service never sees the request.
                                                            `{{bearer}}`, `{{target}}` and `{{form NAME}}` repeat it
    {"reset": true} or "reset"                              reads the request, then resets the connection
    {"drop-reply": true} or "drop-reply"                    does what was asked, then closes without an answer
    {"truncate": N}                                         promises the whole body, sends N bytes of it, closes
    {"delay": seconds}                                      waits first; goes with any of the others
    """

    KEYS = {"status", "body", "headers", "reset", "drop-reply", "truncate", "delay"}

    def __init__(self, action):
        if action in ("reset", "drop-reply"):
            action = {action: True}
        if not isinstance(action, dict) or not action or set(action) - self.KEYS:
            raise BadRule(f"not an action: {action!r}")
        kinds = [key for key in ("status", "reset", "drop-reply", "truncate") if key in action]
        if len(kinds) > 1 or (not kinds and "delay" not in action):
            raise BadRule(f"an action is one of status, reset, drop-reply, truncate, or a delay: {action!r}")
        self.kind: str | None = (kinds or ["delay"])[0]
        self.status: int | None = action.get("status")
        self.body = action.get("body", "")
        self.headers: dict[str, str] = action.get("headers", {})
        self.reset = bool(action.get("reset"))
        self.drop_reply = bool(action.get("drop-reply"))
        self.truncate: int | None = action.get("truncate")
        self.delay = float(action.get("delay", 0))

    @classmethod
    def none(cls) -> "Fault":
        fault = cls({"delay": 0})
        fault.kind = None
        return fault


class Rule:
    """{"method": "PUT", "path": regex, "nth": 2 or [2, 3], "times": 3, "action": …}

    The regex is searched in the path with its query. Without a method it takes all. `nth` names which of the
    matching requests go wrong, counted from one; `times` says how many do, from the first; without both, all do.
    """

    KEYS = {"method", "path", "nth", "times", "action"}

    def __init__(self, document):
        if not isinstance(document, dict) or set(document) - self.KEYS or "action" not in document:
            raise BadRule(f"not a rule: {document!r}")
        if "nth" in document and "times" in document:
            raise BadRule("a rule has `nth` or `times`, not both")
        self.document = document
        self.method = document.get("method")
        try:
            self.path = re.compile(document.get("path", ""))
        except re.error as error:
            raise BadRule(f"not a regular expression: {error}") from error
        nth = document.get("nth")
        self.nth = {nth} if isinstance(nth, int) else set(nth or ())
        self.times = document.get("times")
        self.fault = Fault(document["action"])
        self.seen = 0
        self.struck = 0

    def takes(self, method: str, target: str) -> bool:
        if self.method not in (None, method) or not self.path.search(target):
            return False
        self.seen += 1
        if self.nth:
            return self.seen in self.nth
        return self.times is None or self.seen <= self.times


class Faults:
    """The rules in force. Every rule that matches counts the request; the first that wants it has it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rules: list[Rule] = []

    def replace(self, documents: list):
        rules = [Rule(document) for document in documents]
        with self.lock:
            self.rules = rules

    def strike(self, method: str, target: str) -> Fault | None:
        with self.lock:
            willing = [rule for rule in self.rules if rule.takes(method, target)]
            if not willing:
                return None
            willing[0].struck += 1
            return willing[0].fault

    def snapshot(self) -> list[dict]:
        with self.lock:
            return [{**rule.document, "seen": rule.seen, "struck": rule.struck} for rule in self.rules]
