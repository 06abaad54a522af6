"""Tells what a training on a GPU depends on beside its files, as lines of the input `extra-key`.

python src/versions.py --device cuda [--expect LINES]

A driver or a library of another version may end in other bytes. On the CPU, requirements.txt
pins all of it, so there are only the device and XGBoost to tell.
"""

import argparse
import sys
from collections.abc import Sequence

import xgboost

from model.device import DEVICES, DeviceError, choose_device, cuda_of_xgboost, find_gpu
from strict_config import USAGE


def lines(device: str) -> dict[str, str]:
    """Returns names and values for the device."""
    known = {"device": device, "xgboost": xgboost.__version__}
    if device == "cuda":
        gpu = find_gpu()
        known |= {"cuda": cuda_of_xgboost() or "", "driver": gpu.driver, "gpu": gpu.name}
    return known


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Print versions as lines of `extra-key`.")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--expect", metavar="LINES", help="fail if these are not the lines")
    arguments = parser.parse_args(argv)
    try:
        known = lines(choose_device(arguments.device).name)
    except DeviceError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    told = [f"{name}={value}" for name, value in known.items()]
    print("\n".join(told))
    if arguments.expect is None or arguments.expect.splitlines() == told:
        return 0
    print(
        "error: the variable GPU_VERSIONS names other versions: "
        "set it to these lines, and start the workflow again",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
