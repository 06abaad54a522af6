"""Ends a training as a lost runner would: without a word, once three of its candidates are known.

Python imports this at its start, where PYTHONPATH names this directory; any other program goes on undisturbed.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

CHECKPOINT = Path("checkpoints/search.json")


def watch() -> None:
    """Waits for the candidates."""
    while not CHECKPOINT.is_file() or len(json.loads(CHECKPOINT.read_text())["scores"]) < 3:
        time.sleep(0.02)
    os._exit(137)


if any(argument.endswith("src/train.py") for argument in sys.orig_argv):
    threading.Thread(target=watch, daemon=True).start()
