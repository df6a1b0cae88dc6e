"""Folders of photos, one per person."""

import PIL.Image
import pytest

from skface import load_face_folder


def write_photos(folder, names, value=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        PIL.Image.new("RGB", (250, 250), (value, 100, 50)).save(folder / name)


def test_a_folder_per_person_becomes_paths_and_identities(tmp_path):
    write_photos(tmp_path / "bob", ["2.png", "1.JPG"])
    write_photos(tmp_path / "ann", ["a.bmp"])
    write_photos(tmp_path / ".cache", ["thumbnail.png"])
    (tmp_path / "bob" / ".DS_Store").touch()
    faces = load_face_folder(tmp_path)
    expected = [tmp_path / "ann" / "a.bmp", tmp_path / "bob" / "1.JPG", tmp_path / "bob" / "2.png"]
    assert faces.data.tolist() == list(map(str, expected))
    assert faces.target_names[faces.target].tolist() == ["ann", "bob", "bob"]
    more = load_face_folder(str(tmp_path), min_images_per_identity=2)
    assert more.data.tolist() == list(map(str, expected[1:]))
    assert more.target_names.tolist() == ["bob"]


def test_skipped_files_are_named(tmp_path):
    write_photos(tmp_path / "ann", ["1.png"])
    write_photos(tmp_path, ["nobody.png"])
    (tmp_path / "ann" / "notes.txt").touch()
    (tmp_path / "README.md").touch()
    with pytest.warns(UserWarning, match=r"2 files.*ann/notes\.txt, nobody\.png"):
        assert len(load_face_folder(tmp_path).data) == 1


def test_folders_without_photos_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_face_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"0 folders.*FOLDER/PERSON/PHOTO"):
        load_face_folder(tmp_path)
    write_photos(tmp_path / "ann", ["1.png"])
    with pytest.raises(ValueError, match=r"min_images_per_identity=3.*fullest has 1"):
        load_face_folder(tmp_path, min_images_per_identity=3)
