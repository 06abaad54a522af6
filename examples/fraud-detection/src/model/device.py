"""Where the trees are fitted: on the CPU, or on a GPU with CUDA, and never there by mistake."""

import subprocess
from typing import NamedTuple

import xgboost

DEVICES = ("auto", "cpu", "cuda")


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used."""


class Gpu(NamedTuple):
    """A GPU as `nvidia-smi` tells it."""

    name: str
    driver: str


class Device(NamedTuple):
    """What is used, `cpu` or `cuda`, and why."""

    name: str
    reason: str


def choose_device(wanted: str) -> Device:
    """Returns what to fit on; raises `DeviceError` if CUDA is wanted and is not here."""
    if wanted == "cpu":
        return Device("cpu", "asked for")
    if cuda_of_xgboost() is None:
        lacking = "this XGBoost is built without CUDA"
        remedy = "install requirements-gpu.txt in place of requirements.txt"
    else:
        try:
            gpu = find_gpu()
            return Device("cuda", f"{gpu.name}, driver {gpu.driver}")
        except DeviceError as error:
            lacking, remedy = str(error), "run it on a machine with a GPU of NVIDIA and its driver"
    if wanted == "auto":
        return Device("cpu", lacking)
    raise DeviceError(f"--device cuda: {lacking}; {remedy}, or train with --device cpu")


def cuda_of_xgboost() -> str | None:
    """Returns the version of CUDA that XGBoost is built with."""
    about = xgboost.build_info()
    if not about["USE_CUDA"]:
        return None
    return ".".join(map(str, about["CUDA_VERSION"]))


def find_gpu() -> Gpu:
    """Returns the first GPU of this machine."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"there is no GPU: nvidia-smi: {error}") from None
    lines = ended.stdout.splitlines()
    if ended.returncode != 0 or not lines or "," not in lines[0]:
        said = " ".join((ended.stderr or ended.stdout).split())[:200]
        raise DeviceError(f"there is no GPU: nvidia-smi ended with {ended.returncode}: {said}")
    name, driver = lines[0].rsplit(",", 1)
    return Gpu(name.strip(), driver.strip())
