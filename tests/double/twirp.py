"""The messages of the results service: their fields, read as strictly as GitHub reads them."""

import datetime
import json
import re

MALFORMED = "the json request could not be decoded"
STATUS = {
    "malformed": 400,
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "bad_route": 404,
    "already_exists": 409,
    "failed_precondition": 412,
}
IDS = {"workflow_run_backend_id": "string", "workflow_job_run_backend_id": "string"}
METHODS = {
    "CreateArtifact": {**IDS, "name": "string", "expires_at": "timestamp", "version": "int32", "mime_type": "string"},
    "FinalizeArtifact": {**IDS, "name": "string", "size": "int64", "hash": "string"},
    "ListArtifacts": {**IDS, "name_filter": "string", "id_filter": "int64"},
    "GetSignedArtifactURL": {**IDS, "name": "string"},
    "DeleteArtifact": {**IDS, "name": "string"},
}


class TwirpError(Exception):
    """A refusal in Twirp's words."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def timestamp(text: str) -> float:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text):
        raise ValueError(text)
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


def decode(fields: dict[str, str], body: bytes) -> dict:
    """A request message. Names as in the schema or in camel case; an int64 is a string; nothing unknown."""
    try:
        document = json.loads(body)
    except ValueError:
        raise TwirpError("malformed", MALFORMED) from None
    if not isinstance(document, dict):
        raise TwirpError("malformed", MALFORMED)
    names = {**{camel(name): name for name in fields}, **{name: name for name in fields}}
    message: dict = {}
    for key, value in document.items():
        name = names.get(key)
        if name is None or name in message:
            raise TwirpError("malformed", f'{MALFORMED}: unknown or repeated field "{key}"')
        if value is not None:
            message[name] = convert(fields[name], key, value)
    for name in [*IDS, "name"]:
        if name in fields and not message.get(name):
            raise TwirpError("invalid_argument", f"{name} is required")
    return message


def convert(kind: str, key: str, value):
    try:
        if kind == "string" and isinstance(value, str):
            return value
        if kind == "int32" and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind == "int64" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            return int(value)
        if kind == "timestamp" and isinstance(value, str):
            return timestamp(value)
    except ValueError:
        pass
    raise TwirpError("malformed", f'{MALFORMED}: field "{key}" is no {kind}')
