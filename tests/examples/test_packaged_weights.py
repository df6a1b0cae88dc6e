"""The scripts that train the packaged weights: the parts that are quick to check."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from skface import FaceAligner
from skface._utils.per_process import STORE
from skface.weights import fetch_weights, load_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


@pytest.fixture
def scripts(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "examples" / "packaged_weights"
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name in ("training", "train_mini", "train_detector"):
            del sys.modules[name]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_filters_are_optimized_as_matrices(scripts):
    from training import MatrixMuon

    torch.manual_seed(0)
    convolution = nn.Conv2d(40, 32, 3, bias=False).to(memory_format=torch.channels_last)
    matrix = nn.Parameter(convolution.weight.detach().permute(0, 2, 3, 1).reshape(32, -1).clone())
    ours = MatrixMuon([convolution.weight], 0.1, 0.01)
    plain = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(32, 40, 3, 3)
        convolution.weight.grad = gradient
        matrix.grad = gradient.permute(0, 2, 3, 1).reshape(32, -1)
        ours.step()
        plain.step()
    learned = convolution.weight.detach().permute(0, 2, 3, 1).reshape(32, -1)
    torch.testing.assert_close(learned, matrix.detach())


def test_moved_filters_are_noticed(scripts):
    from training import MatrixMuon

    convolution = nn.Conv2d(40, 32, 3)
    with pytest.raises(ValueError, match="channels_last"):
        MatrixMuon([convolution.weight], 0.1, 0.0)
    convolution.to(memory_format=torch.channels_last)
    optimizer = MatrixMuon([convolution.weight], 0.1, 0.0)
    convolution.weight.data = convolution.weight.data.clone()
    with pytest.raises(RuntimeError, match="moved"):
        optimizer.step()


def test_every_parameter_is_optimized_once(scripts):
    from training import make_optimizers

    network = nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Conv2d(40, 40, 3))
    network.to(memory_format=torch.channels_last)
    muon, adam = make_optimizers(network, 1e-3, 0.0)
    assert [p.shape for p in muon.filters] == [(40, 40, 3, 3)]
    others = [p for name, p in network.named_parameters() if name != "2.weight"]
    assert {id(p) for p in adam.param_groups[0]["params"]} == {id(p) for p in others}


def test_the_learning_rate_rises_holds_and_falls(scripts):
    from training import ramp

    shares = [ramp(progress) for progress in np.linspace(0, 1, 101)]
    assert (shares[0], max(shares), shares[-1]) == (0, 1, 0)
    assert shares[10] == shares[29] == 1
    assert np.all(np.diff(shares[31:]) < 0)


def test_varied_faces_are_pixels_that_the_generator_decides(scripts, generator):
    from train_mini import augment

    faces = torch.randint(0, 256, (6, 3, 128, 128), generator=generator).float()
    first, again = (augment(faces, torch.Generator().manual_seed(1)) for _ in range(2))
    other = augment(faces, torch.Generator().manual_seed(2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == faces.shape and torch.equal(first, first.round().clamp(0, 255))


def test_people_are_held_out_of_all_folders(scripts):
    from train_mini import hold_out

    people = np.array(["ann", "bob", "cleo", "ann", "dan", "dan"])
    folders = np.array([0, 0, 0, 1, 1, 1])
    held_out = hold_out(people, folders, 0.5)
    for person in np.unique(people):
        assert len(set(held_out[people == person])) == 1
    assert 0 < held_out.sum() < 6


def test_faces_are_cut_out_once(scripts, tmp_path, portraits):
    import train_mini

    crops = tmp_path / "crops"
    for path in portraits:
        (crops / Path(path).stem).mkdir(parents=True)
        PIL.Image.open(path).resize((112, 112)).save(crops / Path(path).stem / "1.png")
    args = SimpleNamespace(out=tmp_path, photos=[], crops=[str(crops)], hold_out=0.5, n_jobs=None)
    faces, people, held_out = train_mini.load_crops(args)
    assert faces.shape == (2, 128, 128, 3) and people.tolist() == ["eileen_collins", "grace_hopper"]
    shutil.rmtree(crops)
    for once, again in zip((faces, people, held_out), train_mini.load_crops(args), strict=True):
        np.testing.assert_array_equal(once, again)
    args.crops = ["elsewhere"]
    with pytest.raises(SystemExit, match="delete it"):
        train_mini.load_crops(args)


def test_training_goes_on_where_it_was(scripts, generator, tmp_path, monkeypatch):
    import train_mini

    class Teacher:
        def transform(self, faces):
            vectors = faces.reshape(len(faces), -1)[:, :256].astype(np.float32) + 1
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    class Seen(list):
        def add(self, network, minutes):
            self.append(minutes)

    monkeypatch.setattr(train_mini, "BATCH", 4)
    monkeypatch.setattr(torch, "compile", lambda network: network)
    args = SimpleNamespace(out=tmp_path, start=None, learning_rate=1e-3, minutes=1e-3)
    faces = torch.randint(0, 256, (9, 128, 128, 3), generator=generator, dtype=torch.uint8)
    seen = Seen()
    train_mini.Student(args).train(faces, Teacher(), seen)
    again = train_mini.Student(args)
    assert (again.rounds, again.seconds / 60) == (1, pytest.approx(seen[0]))
    args.minutes = again.seconds / 60 + 1e-3
    again.train(faces, Teacher(), seen)
    assert again.rounds == 2 and seen[1] > seen[0]
    stored = load_state(tmp_path / "skface-mini.safetensors")
    args.out, args.start = tmp_path / "other", tmp_path / "skface-mini.safetensors"
    started = train_mini.Student(args).network.state_dict()
    for name, values in stored.items():
        np.testing.assert_array_equal(started[name].numpy(), values.astype(np.float32))
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    args.start = tmp_path / "other.safetensors"
    with pytest.raises(RuntimeError, match="Missing key"):
        train_mini.Student(args)


def test_scores_of_people_held_out_are_stored(scripts, tmp_path, portraits, monkeypatch):
    import train_mini

    for path in portraits:
        folder = tmp_path / "photos" / Path(path).stem
        folder.mkdir(parents=True)
        for degrees in (-8, 0, 8):
            PIL.Image.open(path).rotate(degrees).save(folder / f"{degrees}.jpg")
    shutil.copy(fetch_weights("skface-mini")[0], tmp_path)
    held_out = np.array(["eileen_collins", "grace_hopper"])
    train_mini.store_scores(tmp_path, tmp_path / "photos", held_out, None)
    with np.load(tmp_path / "skface-mini-scores.npz") as stored:
        scores, same = stored["scores"], stored["same"]
    assert (same.sum(), len(same)) == (6, 15)
    assert scores[same == 1].min() > 0.5 > scores[same == 0].max()


def test_the_detector_is_a_yunet_to_both_runtimes(scripts, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from train_detector import Detector, export

    calls, run = [], onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "run", lambda *args: calls.append(args) or run(*args)
    )

    torch.manual_seed(0)
    network = Detector()
    for head in network.head:
        nn.init.normal_(head.weight, std=0.1)
    export(network, tmp_path / "detector.onnx")
    photo = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    found = []
    for has_onnxruntime in (True, False):
        if not has_onnxruntime:
            monkeypatch.setitem(sys.modules, "onnxruntime", None)
        STORE.clear()
        aligner = FaceAligner(detector=tmp_path / "detector.onnx", min_score=0.01).fit([photo])
        found.append(aligner.detect([photo]))
        if has_onnxruntime:
            n_calls = len(calls)
    assert len(calls) == n_calls > 0
    assert len(found[0].scores[0]) > 0
    for key in ("boxes", "landmarks", "scores"):
        np.testing.assert_allclose(found[0][key][0], found[1][key][0], atol=0.02)


def test_outputs_of_the_teacher_have_no_loss(scripts, generator):
    from train_detector import distillation_loss

    target = torch.rand(2, 15, 4, 4, generator=generator)
    output = target.clone()
    output[:, :1] = target[:, :1].logit()
    assert distillation_loss([output], [target])[0] < 1e-6
    moved = output.clone()
    moved[:, 5:7] += 0.1  # the first point
    loss, (score, box, points) = distillation_loss([moved], [target])
    assert score < 1e-6 and box < 1e-6 and points > 0.001 and loss > 0


def test_canvases_hold_the_photos(scripts):
    from train_detector import SIDE, Scatter

    photos = [np.full((50, 40, 3), 200, np.uint8)]
    canvases = np.stack([Scatter(photos, seed).canvas() for seed in range(5)])
    assert canvases.shape == (5, SIDE, SIDE, 3)
    assert all((canvas == 200).any() for canvas in canvases)
    np.testing.assert_array_equal(canvases[3], Scatter(photos, 3).canvas())
