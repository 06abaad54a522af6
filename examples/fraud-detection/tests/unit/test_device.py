"""Tests of the device: CUDA is taken where it is, and refused where it is not, before any work."""

from pathlib import Path

import numpy as np
import pytest
import xgboost

import train
import versions
from example import SMALL_CONFIG
from model.classifier import fit_booster
from model.config import ModelConfig
from model.device import DeviceError, choose_device


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes XGBoost say that it is built with CUDA."""
    about = {"USE_CUDA": True, "CUDA_VERSION": [12, 9]}
    monkeypatch.setattr(xgboost, "build_info", lambda: about)


def nvidia_smi(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


@pytest.mark.parametrize("command", [train.main, versions.main])
def test_cuda_without_a_build_for_it_ends_before_anything_is_loaded(
    command: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if xgboost.build_info()["USE_CUDA"]:
        pytest.skip("this XGBoost has CUDA")
    monkeypatch.chdir(tmp_path)  # without any data
    given = ["--config", str(SMALL_CONFIG)] if command is train.main else []
    assert command([*given, "--device", "cuda"]) == 2  # type: ignore[operator]
    captured = capsys.readouterr()
    assert "install requirements-gpu.txt in place of requirements.txt" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'no devices were found'; exit 6", "nvidia-smi ended with 6: no devices were found"),
        ("exit 0", "nvidia-smi ended with 0"),
    ],
)
def test_cuda_without_a_gpu_is_refused(
    cuda: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    nvidia_smi(tmp_path, script, monkeypatch)
    with pytest.raises(DeviceError, match=message):
        choose_device("cuda")
    found = choose_device("auto")
    assert found.name == "cpu"
    assert message in found.reason


def test_cuda_without_the_driver_is_refused(
    cuda: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"there is no GPU: nvidia-smi: .*No such file"):
        choose_device("cuda")


def test_a_gpu_is_taken_and_its_versions_are_told(
    cuda: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nvidia_smi(tmp_path, "echo 'NVIDIA H100, 80GB, 580.95.05'", monkeypatch)
    assert choose_device("auto") == ("cuda", "NVIDIA H100, 80GB, driver 580.95.05")
    assert versions.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "device=cuda",
        f"xgboost={xgboost.__version__}",
        "cuda=12.9",
        "driver=580.95.05",
        "gpu=NVIDIA H100, 80GB",
    ]
    assert versions.main(["--expect", "\n".join(lines) + "\n"]) == 0
    assert versions.main(["--expect", "\n".join(lines[:-1])]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == lines * 2
    assert captured.err.startswith("error: the variable GPU_VERSIONS names other versions: ")


def test_on_the_cpu_there_is_no_driver_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.main(["--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"device=cpu\nxgboost={xgboost.__version__}\n"


@pytest.mark.filterwarnings("ignore:.*from GPU to CPU")
def test_a_fit_that_xgboost_moves_to_the_cpu_is_an_error() -> None:
    if xgboost.build_info()["USE_CUDA"]:
        pytest.skip("this XGBoost has CUDA")
    config = ModelConfig(num_boost_round=1, max_bin=8, subsample=1.0, colsample_bytree=1.0)
    matrix, labels = np.zeros((4, 1), np.float32), np.array([0, 1, 0, 1], np.int8)
    with pytest.raises(DeviceError, match="was to train on `cuda` and took `cpu`"):
        fit_booster(matrix, labels, ["x"], config, {}, seed=1, device="cuda")
