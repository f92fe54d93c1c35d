from __future__ import annotations

import functools
import importlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from sam2.modeling.sam2_base import SAM2Base

import streamseg.models
from streamseg.errors import ModelError
from streamseg.tracker.sam2.build import TARGETS, build_model, build_reference_model, config_names

SMALL_SAM2 = Path(__file__).parents[1] / "small_sam2.yaml"


@functools.cache
def built() -> SAM2Base:
    return build_model(SMALL_SAM2)


def random_weights() -> dict[str, torch.Tensor]:
    """Those of the small model. The dictionary may be changed, its values may not."""
    return dict(built().state_dict())


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_published_models_have_their_number_of_parameters(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for fill in ("normal_", "uniform_"):  # of hundreds of millions of weights, which takes seconds
        monkeypatch.setattr(torch.Tensor, fill, lambda weight, *_arguments, **_named: weight)
    names = {size: f"{version}_hiera_{size}" for size in ("t", "s", "b+", "l")}
    millions = {size: round(parameters(build_model(name, image_size=128)) / 1e6) for size, name in names.items()}
    assert millions == {"t": 39, "s": 46, "b+": 81, "l": 224}


def test_every_published_config_has_a_name() -> None:
    published = {f"{version}_hiera_{size}" for version in ("sam2", "sam2.1") for size in ("t", "s", "b+", "l")}
    assert published < set(config_names())
    assert "nano" in config_names()


def test_sams_own_spelling_of_a_config() -> None:
    assert build_model("configs/sam2.1/sam2.1_hiera_t.yaml").image_size == 1024


def test_an_evaluated_model_without_gradients() -> None:
    model = build_model("nano")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("image_size", [64, 96, 160, 256])
def test_the_model_is_built_for_any_image_size(image_size: int) -> None:
    model = build_model(SMALL_SAM2, image_size=image_size)
    side = image_size // 16
    assert model.image_size == image_size
    assert model.memory_attention.layers[0].cross_attn_image.freqs_cis.shape[0] == side * side
    levels = model.forward_image(torch.zeros(1, 3, image_size, image_size))["backbone_fpn"]
    assert [level.shape[-1] for level in levels] == [4 * side, 2 * side, side]


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (build_model(SMALL_SAM2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_official_predictor_has_the_same_weights() -> None:
    ours, official = built(), build_reference_model(SMALL_SAM2)
    assert official.fill_hole_area == 0
    weights = official.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in ours.state_dict().items())


def test_hydras_global_state_is_left_alone() -> None:
    state = GlobalHydra.instance().hydra
    build_model(SMALL_SAM2)
    assert GlobalHydra.instance().hydra is state


def save(model: SAM2Base, path: Path) -> Path:
    torch.save({"model": model.state_dict()}, path)
    return path


def test_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    trained = build_model(SMALL_SAM2, seed=7)
    loaded = build_model(SMALL_SAM2, image_size=128, checkpoint=save(trained, tmp_path / "a.pt")).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in trained.state_dict().items())


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    weights = random_weights()
    path = tmp_path / "a.pt"

    def refusal() -> str:
        with pytest.raises(ModelError) as caught:
            build_model(SMALL_SAM2, checkpoint=path)
        return str(caught.value)

    assert "does not exist" in refusal()
    torch.save({"model": {name: value for name, value in weights.items() if name != "no_obj_ptr"}}, path)
    assert "1 missing (such as no_obj_ptr)" in refusal()
    torch.save({"model": {**weights, "extra": torch.zeros(1)}}, path)
    assert "1 not in the model (such as extra)" in refusal()
    torch.save({"model": {**weights, "no_obj_ptr": torch.zeros(1, 9)}}, path)
    assert "1 of another shape (such as no_obj_ptr)" in refusal()
    assert "model.config" in refusal()
    torch.save(weights, path)
    assert "not in the format of sam2" in refusal()
    torch.save({"model": {"a": [1]}}, path)
    assert "not in the format of sam2" in refusal()


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    whole = save(built(), tmp_path / "whole.pt").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "html": b"<html>not found</html>"}.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="damaged, incomplete, or not a checkpoint"):
            build_model(SMALL_SAM2, checkpoint=path)


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    whole, packed = save(built(), tmp_path / "whole.pt"), tmp_path / "packed.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ModelError, match="was compressed after it was saved"):
        build_model(SMALL_SAM2, checkpoint=packed)
    with pytest.raises(ModelError, match="is not a file"):
        build_model(SMALL_SAM2, checkpoint=tmp_path)


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"model": {"weight": Path("x")}}, path)
    with pytest.raises(ModelError, match="contains more than weights"):
        build_model(SMALL_SAM2, checkpoint=path)


def test_configs_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unknown.*sam2\.1_hiera_t"):
        build_model("sam3")
    for size in (32, 100, 0, -64, 32_000):
        with pytest.raises(ModelError, match="multiple of 32"):
            build_model(SMALL_SAM2, image_size=size)
    text = SMALL_SAM2.read_text()
    for fault, broken in {
        "cannot be read": "model: [",
        "no `model:`": "other: 1",
        "does not describe": text.replace("d_model: 64", "d_modell: 64"),
        "is not allowed: expected one of": text.replace("sam2.modeling.memory_encoder.Fuser", "os.system"),
        "soft_no_obj_ptr is True": text + "  soft_no_obj_ptr: true\n",
    }.items():
        path = tmp_path / "config.yaml"
        path.write_text(broken)
        with pytest.raises(ModelError, match=fault):
            build_model(path)


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (
            "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 10}]\n" for i in range(1, 20)),
            "aliases repeat",
        ),
        ("a: &a {x: 1}\n" + "b: {c: &c [*a, *a]}\n" + "d: &d [*c, *d]\n", "aliases repeat"),
        ("# " + "x" * 300_000 + "\n", "has 3[0-9]{5} bytes"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", "nested more than 64 deep"),
    ],
)
def test_a_config_that_becomes_huge_is_refused(tmp_path: Path, head: str, fault: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(head + SMALL_SAM2.read_text())
    with pytest.raises(ModelError, match=fault):
        build_model(path)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("kernel_size: 7", "kernel_size: 60000", "more than 536870912 weights"),
        ("kernel_size: 7", "kernel_size: 6000000000", "kernel_size is too large"),
        ("embed_dim: 32", "embed_dim: 65536", "more than 536870912 weights"),
        ("embed_dim: 64", "embed_dim: .inf", "embed_dim is too large"),
        ("embed_dim: 64", "embed_dim: .nan", "embed_dim is too large"),
        ("stages: [1, 2, 3, 1]", "stages: [1, 2, 3000, 1]", "stages is too large"),
        ("num_layers: 2", "num_layers: 1000", "num_layers is too large"),
        ("num_layers: 2", "num_layers: 1" + "0" * 400, "num_layers is too large"),
    ],
)
def test_a_model_that_would_be_huge_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    text = SMALL_SAM2.read_text()
    assert old in text
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=fault):
        build_model(path)


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "sam2.build_sam.torch.load", "sam2.modeling.sam2_utils.np.load", "streamseg.paths.os.unlink"),
        *("sam2.modeling.memory_encoder.Fuser.forward", "sam2.build_sam.build_sam2", "torch.nn.Linear", ""),
        *("streamseg.tracker.sam2.checkpoint.torch.load", "${oc.env:HOME}", "1", "null", "[sam2]", "{a: 1}"),
    ],
)
@pytest.mark.parametrize("place", ["sam2.modeling.memory_encoder.Fuser", "sam2.modeling.sam2_base.SAM2Base", "added"])
def test_only_the_named_classes_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, place: str
) -> None:
    called: list[object] = []
    monkeypatch.setattr("hydra.utils.instantiate", called.append)
    monkeypatch.setattr("streamseg.tracker.sam2.build.instantiate", called.append)
    text = SMALL_SAM2.read_text()
    path = tmp_path / "config.yaml"
    path.write_text(
        f"{text}\n  extra: [{{deeper: {{_target_: {target}}}}}]\n"
        if place == "added"
        else text.replace(f"_target_: {place}\n", f"_target_: {target}\n", 1)
    )
    with pytest.raises(ModelError, match="is not allowed") as refusal:
        build_model(path)
    assert called == []
    assert str(Path.home()) not in str(refusal.value).replace(str(path), "")


def test_every_allowed_class_exists() -> None:
    for target in TARGETS:
        module, _, name = target.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)


def test_the_old_address_of_the_trunk_still_works(tmp_path: Path) -> None:
    text = (Path(streamseg.models.__file__).with_name("nano.yaml")).read_text()
    old = text.replace("streamseg.tracker.sam2.efficientnet_lite", "streamseg.tracker.efficientnet_lite")
    assert old != text
    (tmp_path / "old.yaml").write_text(old)
    assert parameters(build_model(tmp_path / "old.yaml")) == parameters(build_model("nano"))


def test_a_config_that_reads_files_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        SMALL_SAM2.read_text().replace(
            "_target_: sam2.modeling.backbones.hieradet.Hiera\n",
            "_target_: sam2.modeling.backbones.hieradet.Hiera\n      weights_path: /etc/passwd\n",
        )
    )
    with pytest.raises(ModelError, match=r"trunk\.weights_path is not allowed"):
        build_model(path)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("_args_: [96, 1, 3.0, /etc/passwd]", "trunk._args_"),
        ("_partial_: true", "trunk._partial_"),
        (r'added: "\x5c\x24{oc.create:{_target_:os.system,_args_:[id]}}"', "trunk.added"),
        (r'added: "\x5c\x24{oc.env:HOME}"', "trunk.added"),
    ],
)
def test_nothing_gets_past_the_check_of_a_config(tmp_path: Path, lines: str, place: str) -> None:
    target = "_target_: sam2.modeling.backbones.hieradet.Hiera\n"
    path = tmp_path / "config.yaml"
    path.write_text(SMALL_SAM2.read_text().replace(target, f"{target}      {lines}\n"))
    with pytest.raises(ModelError, match=rf"{place}\b.* is not allowed"):
        build_model(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda value: value.to("meta"), "on the meta device"),
        (lambda value: value.to_sparse(), "is sparse"),
        (lambda value: value.flatten(1).to_sparse_csr(), "is sparse"),
        (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "is quantized"),
        (lambda value: value.to(torch.complex64), "no floating-point numbers"),
        (lambda value: value > 0, "no floating-point numbers"),
        (lambda value: torch.full_like(value, torch.nan), "NaN or infinite"),
        (lambda value: value.index_fill(0, torch.tensor([0]), torch.inf), "NaN or infinite"),
    ],
    ids=["meta", "sparse", "csr", "quantized", "complex", "bool", "nan", "inf"],
)
@pytest.mark.filterwarnings("ignore")  # torch's, of such tensors
def test_weights_that_are_no_plain_numbers(
    tmp_path: Path, spoil: Callable[[torch.Tensor], torch.Tensor], reason: str
) -> None:
    weights = random_weights()
    weights["no_obj_ptr"] = spoil(weights["no_obj_ptr"])
    torch.save({"model": weights}, tmp_path / "a.pt")
    with pytest.raises(
        ModelError, match=rf"1 unusable weights \(such as no_obj_ptr, which .*{reason}.*\): save it again"
    ):
        build_model(SMALL_SAM2, checkpoint=tmp_path / "a.pt")


def test_the_numbers_of_a_weight_of_another_shape_are_not_read(tmp_path: Path) -> None:
    weights = random_weights()
    weights["no_obj_ptr"] = torch.zeros(1).expand(10**6, 10**7)  # 4 bytes in the file
    torch.save({"model": weights}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"1 of another shape \(such as no_obj_ptr\)"):
        build_model(SMALL_SAM2, checkpoint=tmp_path / "a.pt")


def test_the_legacy_format_is_named(tmp_path: Path) -> None:
    state = {"model": random_weights()}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match="legacy format"):
        build_model(SMALL_SAM2, checkpoint=tmp_path / "a.pt")
