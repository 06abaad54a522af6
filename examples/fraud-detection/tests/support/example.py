"""Where things are, and a pointer like those that ml-cache gives out."""

import json
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2]
SMALL_CONFIG = Path(__file__).parent / "small_config.yaml"


def make_pointer(digit: str) -> dict[str, Any]:
    """Returns a pointer whose manifest digest consists of the digit alone."""
    return {
        "schema": "ml-cache/pointer/v1",
        "namespace": "acme/fraud-detection",
        "model": "fraud-detector",
        "scope": "trusted",
        "fingerprint": "sha256:" + "f" * 64,
        "generation": 1,
        "manifest": {"digest": "sha256:" + digit * 64, "size": 700},
    }


def pointer_text(digit: str) -> str:
    """Returns the pointer as the action's output has it."""
    return json.dumps(make_pointer(digit), separators=(",", ":"))
