"""Who may do what in the GitHub double's REST API: tokens, permissions, and the limit of requests."""

from http_base import Request
from state import State

ANONYMOUS_LIMIT = 60


class ApiError(Exception):
    """A refusal as GitHub words it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class Access:
    """Decides by the token. A window of the rate limit is an hour, which begins with the token's first request."""

    def __init__(self, state: State):
        self.state = state
        self.windows: dict[str, tuple[int, int]] = {}  # used, reset

    def token(self, request: Request) -> dict | None:
        """The token's description; None without one. A token that is not known is refused even where none is needed."""
        if not request.header("Authorization"):
            return None
        token = self.state.tokens.get(request.bearer() or "")
        if token is None or self.state.now() >= token.get("expires_at", float("inf")):
            raise ApiError(401, "Bad credentials")
        return token

    def count(self, request: Request, token: dict | None) -> dict[str, str]:
        """Counts the request, and says in headers what is left."""
        limit = token.get("rate_limit", self.state.settings["rate_limit"]) if token else ANONYMOUS_LIMIT
        key, now = request.bearer() or "", int(self.state.now())
        used, reset = self.windows.get(key, (0, now + 3600))
        if reset <= now:
            used, reset = 0, now + 3600
        self.windows[key] = (used + 1, reset)
        headers = {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(max(0, limit - used - 1)),
            "x-ratelimit-used": str(min(used + 1, limit)),
            "x-ratelimit-reset": str(reset),
            "x-ratelimit-resource": "core",
        }
        if used >= limit:
            raise ApiError(403, "API rate limit exceeded for installation ID 4711.", headers)
        return headers

    def check(self, repository: dict, token: dict | None, permission: str, level: str, public: bool):
        """`public` says that anyone may do this to a public repository."""
        anyone = public and level == "read" and not repository["private"]
        if token is not None and self.covers(token, repository):
            granted = [token.get("permissions", {}).get(name) for name in permission.split("|")]
            enough = ("read", "write") if level == "read" else ("write",)
            if token.get("kind") == "classic" or permission == "metadata" or anyone or set(granted) & set(enough):
                return
        elif repository["private"]:
            raise ApiError(404, "Not Found")
        elif anyone:
            return
        if token is None:
            raise ApiError(401, "Requires authentication")
        kind = token.get("kind", "installation")
        if kind == "classic":
            raise ApiError(403, "You must have the actions scope to download artifacts.")
        holder = "personal access token" if kind == "fine-grained" else "integration"
        raise ApiError(403, f"Resource not accessible by {holder}")

    @staticmethod
    def login(token: dict | None) -> str:
        """The account that acts for the token: an app's is a bot."""
        kind = (token or {}).get("kind", "installation")
        return (token or {}).get("login", "github-actions[bot]" if kind == "installation" else "octocat")

    def person(self, token: dict | None) -> str:
        """The person of the token. An app's token is nobody's."""
        if token is None:
            raise ApiError(401, "Requires authentication")
        if token.get("kind", "installation") == "installation":
            raise ApiError(403, "Resource not accessible by integration")
        return self.login(token)

    @staticmethod
    def covers(token: dict, repository: dict) -> bool:
        names = token.get("repositories", [])
        return names == "*" or repository["full_name"].lower() in [name.lower() for name in names]
