from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path

import pytest

from banana_delivery.errors import UnreadableCheckpointError, UnsafeModelError, UnsupportedModelError
from banana_delivery.export.archive.known_names import is_allowed
from banana_delivery.export.checkpoint_scan import scan
from examples.train import MODELS
from tests.unit.export.archives import archive, call

SAMPLE = MODELS / "better" / "best.pt"


def test_an_ordinary_checkpoint_is_safe() -> None:
    report = scan(SAMPLE)
    assert "ultralytics.nn.tasks.DetectionModel" in report.imports
    assert report.bytes == SAMPLE.stat().st_size


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "exec"),
        ("posix", "system"),
        ("shutil", "rmtree"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("numpy", "load"),
        ("ultralytics.nn.tasks", "torch_safe_load"),
        ("ultralytics.utils.checks", "check_requirements"),
        ("ultralytics.nn.modules.block", "torch.load"),
        ("some_package_of_theirs", "Model"),
    ],
)
def test_an_import_that_no_detector_needs_is_named_and_never_made(tmp_path: Path, module: str, name: str) -> None:
    with pytest.raises(UnsafeModelError, match=rf"imports {module}\.{name}, which no detector needs"):
        scan(archive(tmp_path / "best.pt", call(module, name, "x")))


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    hostile = call("builtins", "exec", f"open({str(marker)!r}, 'w').close()")
    with pytest.raises(UnsafeModelError):
        scan(archive(tmp_path / "best.pt", hostile))
    assert not marker.exists()
    pickle.loads(hostile)  # it would have: the pickle is no dud
    assert marker.exists()


def test_a_name_put_together_on_the_stack_is_followed(tmp_path: Path) -> None:
    hostile = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
    assert any(op.name == "STACK_GLOBAL" for op, _, _ in pickletools.genops(hostile))
    with pytest.raises(UnsafeModelError, match=r"posix\.system"):
        scan(archive(tmp_path / "best.pt", hostile))


@pytest.mark.parametrize("content", [b"", b"\x80\x02cposix", call("torch", "Size")[:-1], call("torch", "Size") + b"N."])
def test_a_pickle_that_cannot_be_followed_to_its_end_is_not_trusted(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnsafeModelError, match="cannot be followed"):
        scan(archive(tmp_path / "best.pt", content))


def test_a_second_pickle_is_refused_whatever_is_in_it(tmp_path: Path) -> None:
    file = archive(tmp_path / "best.pt", call("collections", "OrderedDict"), {"extra/data.pkl": b"\x80\x02N."})
    with pytest.raises(UnreadableCheckpointError, match=r"best/data\.pkl, best/extra/data\.pkl"):
        scan(file)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path / "best.pt", call("collections", "OrderedDict"))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as again:
        warnings.simplefilter("ignore", UserWarning)
        again.writestr("best/data.pkl", call("posix", "system", "true"))
    with pytest.raises(UnsafeModelError, match="two members of one name"):
        scan(file)


@pytest.mark.parametrize("keep", [0, 1, 1000, SAMPLE.stat().st_size // 2, SAMPLE.stat().st_size - 1])
def test_a_download_that_broke_off_is_one_sentence(tmp_path: Path, keep: int) -> None:
    (tmp_path / "best.pt").write_bytes(SAMPLE.read_bytes()[:keep])
    with pytest.raises(UnreadableCheckpointError, match=r"best\.pt again") as caught:
        scan(tmp_path / "best.pt")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    content = bytearray(SAMPLE.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match="damaged at"):
        scan(tmp_path / "best.pt")


def test_another_kind_of_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_text("epoch,loss\n1,2.31\n")
    with pytest.raises(UnreadableCheckpointError, match="another kind of file"):
        scan(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5242880\n", "run `git lfs pull`"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title></html>", "a page that a server sent"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a page that a server sent"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "what torch wrote before 1.6"),
        (b"\x08\x09\x12\x07pytorch\x1a\x052.8.0:", "an ONNX export"),
        (b'\x60\0\0\0\0\0\0\0{"model.0.weight":{"dtype":"F32"}}', "weights without their network"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "packed into another file"),
        (b"best.pt".ljust(257, b"\0") + b"ustar  \0" + bytes(1000), "packed into another file"),
    ],
)
def test_what_people_hand_in_by_mistake_is_called_what_it_is(tmp_path: Path, content: bytes, sentence: str) -> None:
    """To log the same file again, as for one that was cut short, would not help them."""
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match=r"best\.pt is no checkpoint but ") as caught:
        scan(tmp_path / "best.pt")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "name", "sentence"),
    [
        ("__main__", "WeightedDetectionModel", "bring the model back to ultralytics' own class"),
        ("__mp_main__", "MyModel", "bring the model back to ultralytics' own class"),
        ("torch.nn.parallel.data_parallel", "DataParallel", "save `model.module`"),
        ("torch.nn.parallel.distributed", "DistributedDataParallel", "save `model.module`"),
    ],
)
def test_what_a_training_of_ones_own_leaves_is_no_alarm_about_its_author(
    tmp_path: Path, module: str, name: str, sentence: str
) -> None:
    """The guides of ultralytics show how to weigh classes by a model class of one's own script."""
    with pytest.raises(UnsupportedModelError, match=rf"{module}\.{name}") as caught:
        scan(archive(tmp_path / "best.pt", call(module, name, "x")))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("__main__", "run"),
        ("__main__", "Model.load"),
        ("__main__.os", "System"),
        ("torch.nn.parallel", "replicate"),
        ("torch.nn.parallel.distributed", "os.system"),
    ],
)
def test_what_is_no_class_of_such_a_training_is_an_alarm(tmp_path: Path, module: str, name: str) -> None:
    with pytest.raises(UnsafeModelError, match="find out who made this file"):
        scan(archive(tmp_path / "best.pt", call(module, name, "x")))


@pytest.mark.parametrize("name", ["torch.FloatStorage", "torch.float16", "torch.nn.modules.conv.Conv2d"])
def test_tensors_and_layers_are_allowed(name: str) -> None:
    assert is_allowed(*name.rsplit(".", 1))


@pytest.mark.parametrize("name", ["torch.nn.modules.conv.Conv2d.__init__", "torch.nn.init.normal_", "torch.Size.x"])
def test_what_only_looks_like_a_layer_is_not(name: str) -> None:
    assert not is_allowed(*name.rsplit(".", 1))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ultralytics.nn.modules.block", "MyAttention"),
        ("ultralytics.nn.extra_modules.dcn", "DCNv4"),
        ("ultralytics.nn.modules.head", "Detect_LSCD"),
        ("ultralytics.utils.loss", "WiseIoULoss"),
    ],
)
def test_a_layer_of_a_fork_is_named_without_an_alarm_and_says_what_to_do(
    tmp_path: Path, module: str, name: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"made of {module}\.{name}, which ultralytics .* does not have"):
        scan(archive(tmp_path / "best.pt", call(module, name, "x")))


def test_a_model_of_yolov5s_own_repository_is_told_from_ours(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="repository such as yolov5's"):
        scan(archive(tmp_path / "best.pt", call("models.yolo", "DetectionModel", "x")))


def test_a_layer_beside_a_call_of_code_is_an_alarm(tmp_path: Path) -> None:
    both = call("ultralytics.nn.modules.block", "MyAttention", "x")[:-1] + call("posix", "system", "true")[2:]
    with pytest.raises(UnsafeModelError, match=r"posix\.system"):
        scan(archive(tmp_path / "best.pt", both))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ultralytics.nn.modules.block", "F"),
        ("ultralytics.nn.tasks", "SafeUnpickler"),
        ("ultralytics.nn.modules", "OrderedDict.fromkeys"),
        ("ultralytics.nn./etc/passwd", "Layer"),
        ("ultralytics.nn.modules.block", "my_function"),
    ],
)
def test_what_no_fork_would_call_a_layer_is_an_alarm(tmp_path: Path, module: str, name: str) -> None:
    with pytest.raises(UnsafeModelError):
        scan(archive(tmp_path / "best.pt", call(module, name, "x")))
