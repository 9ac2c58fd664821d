"""What the example promises of its pictures, crops and files: `pytest` in this folder."""

import base64
import json
from io import BytesIO
from pathlib import Path

import app
import numpy as np
import pytest
from focus import Box, Crop, FaceDetector, choose_crop, crop_around, crop_of_most_energy
from folder import file_name, write_whole
from picture import MAX_PIXELS, SIZES, Unreadable, make_thumbnail, open_picture
from PIL import Image

from eventing import CloudEvent, Context, Reject, Retry

IMAGES = Path(__file__).parent / "images"
WHOLE = sorted(p for p in IMAGES.glob("*.*") if p.stem != "broken")


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_every_picture_becomes_a_square_webp_of_each_size(
    path: Path, detector: FaceDetector
) -> None:
    picture = open_picture(path.read_bytes())
    crop = choose_crop(picture, detector)
    assert 0 <= crop.left <= picture.width - crop.side
    assert 0 <= crop.top <= picture.height - crop.side
    for size in SIZES:
        with Image.open(BytesIO(make_thumbnail(picture, crop, size))) as small:
            assert (small.format, small.size) == ("WEBP", (size, size))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("astronaut.jpg", "face"),
        ("hopper-sideways.jpg", "face"),
        ("cat.webp", "energy"),
        ("coffee.tiff", "energy"),
        ("galaxies-cmyk.jpg", "energy"),
        ("rocket-palette.png", "energy"),
    ],
)
def test_faces_are_found_where_there_are_any(name: str, found: str, detector: FaceDetector) -> None:
    assert choose_crop(open_picture((IMAGES / name).read_bytes()), detector).found == found


def test_a_crop_for_faces_holds_all_of_them() -> None:
    faces = [Box(100, 50, 60, 60), Box(300, 80, 60, 60)]
    crop = crop_around(faces, 1000, 800)
    for face in faces:
        assert crop.left <= face.left and face.left + face.width <= crop.left + crop.side
        assert crop.top <= face.top and face.top + face.height <= crop.top + crop.side


def test_a_crop_for_a_small_face_stays_half_as_large_as_the_picture() -> None:
    assert crop_around([Box(10, 10, 20, 20)], 800, 600) == Crop(0, 0, 300, "face")


@pytest.mark.parametrize("turned", [False, True])
def test_without_faces_the_square_moves_to_the_detail(turned: bool) -> None:
    gray = np.full((100, 300), 128, np.uint8)
    gray[30:70:4, 220:260] = 255
    if turned:
        crop = crop_of_most_energy(gray.T.copy(), 200, 600)
        assert (crop.left, crop.side) == (0, 200)
        start = crop.top
    else:
        crop = crop_of_most_energy(gray, 600, 200)
        assert (crop.top, crop.side) == (0, 200)
        start = crop.left
    assert start <= 440 and start + 200 >= 520


def test_of_a_plain_picture_the_middle_is_shown() -> None:
    crop = crop_of_most_energy(np.full((100, 300), 77, np.uint8), 300, 100)
    assert crop == Crop(100, 0, 100, "energy")


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 2)])
def test_tiny_and_thin_pictures_are_no_trouble(
    size: tuple[int, int], detector: FaceDetector
) -> None:
    picture = open_picture(encoded(Image.new("RGB", size, "red"), "PNG"))
    crop = choose_crop(picture, detector)
    assert crop.side == min(size)
    assert make_thumbnail(picture, crop, 64)


def test_exif_orientation_is_honoured() -> None:
    with Image.open(IMAGES / "hopper-sideways.jpg") as stored:
        lying = stored.size
    assert open_picture((IMAGES / "hopper-sideways.jpg").read_bytes()).size == lying[::-1]


def test_transparency_is_kept() -> None:
    picture = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 50, 100))
    thumbnail = make_thumbnail(open_picture(encoded(picture, "PNG")), Crop(0, 0, 100, "energy"), 64)
    alpha = Image.open(BytesIO(thumbnail)).getchannel("A")
    assert (alpha.getpixel((5, 32)), alpha.getpixel((60, 32))) == (255, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_way_to_hold_colours_ends_as_rgb(mode: str) -> None:
    gradient = Image.linear_gradient("L").convert("F" if mode == "F" else "L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(gradient).astype(np.uint16) * 257)
    else:
        picture = gradient.convert(mode)
    format = "PNG" if mode in ("LA", "P", "RGBA") else "TIFF"
    opened = open_picture(encoded(picture, format))
    assert opened.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")
    top, bottom = opened.convert("L").getpixel((128, 0)), opened.convert("L").getpixel((128, 255))
    assert (top, bottom) == (0, 255)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(data).convert("RGB").getpixel((10, 10)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "carries no bytes"),
        (b"hello", "no image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known format"),
        ((IMAGES / "broken.jpg").read_bytes(), "broken JPEG: image file is truncated"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        open_picture(data)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_file_cut_short_is_refused_or_shown_never_worse(path: Path, share: float) -> None:
    data = path.read_bytes()
    try:
        assert open_picture(data[: int(len(data) * share)]).mode in ("RGB", "RGBA")
    except Unreadable as error:
        assert str(error)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    data = encoded(Image.new("1", (side, side)), "PNG")
    assert len(data) < 100_000
    with pytest.raises(Unreadable, match="at most 50,000,000"):
        open_picture(data)


@pytest.mark.parametrize("name", ["cat.webp", "ein Bild.png", "été.jpg", "日本.gif"])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "a/../b",
        "a\0b",
        ".hidden",
        "C:\\x",
        "x" * 999,
        "é" * 200,
        "~/x",
        "\udcff",
        "trailing.",
        "\n",
    ],
)
def test_no_name_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / "folder" / file_name(name), b"here")
    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert written.parent == tmp_path / "folder"
    assert not written.name.startswith(".")


def test_different_names_stay_different() -> None:
    names = ["a/b", "a_b", "a\\b", "../a_b", "a/b/", "x" * 200, "x" * 201]
    assert len({file_name(name) for name in names}) == len(names)


def test_writing_twice_leaves_one_file_with_the_last_bytes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_whole(path, b"first, and longer")
    write_whole(path, b"second")
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"second"


def uploaded(name: str, **extensions: str) -> CloudEvent:
    attributes = {"id": "1", "source": "/test", "type": "com.example.image.uploaded"}
    attributes |= {"subject": name, "datacontenttype": "image/any", **extensions}
    return CloudEvent(attributes, (IMAGES / name).read_bytes())


def test_thumbnail_answers_with_one_event_a_size() -> None:
    app.load_detector()
    replies = app.thumbnail(uploaded("astronaut.jpg"), Context(function="thumbnail"))
    assert [reply.get_extension("size") for reply in replies] == list(SIZES)
    assert len({reply.get_id() for reply in replies}) == len(SIZES)
    for reply in replies:
        assert reply.get_type() == "com.example.image.thumbnail"
        assert reply.get_subject() == "astronaut.jpg"
        assert reply.get_extension("found") == "face"
        assert (reply.get_extension("width"), reply.get_extension("height")) == (512, 512)


def test_a_broken_picture_is_rejected_with_the_reason() -> None:
    with pytest.raises(Reject, match="broken JPEG"):
        app.thumbnail(uploaded("broken.jpg"), Context())


def test_flaky_fails_as_often_as_it_is_asked_to() -> None:
    app.load_detector()
    event = uploaded("cat.webp", failtimes="2")
    for attempt in (1, 2):
        with pytest.raises(Retry):
            app.flaky(event, Context(attempt=attempt))
    assert len(app.flaky(event, Context(attempt=3))) == len(SIZES)


@pytest.mark.parametrize("failtimes", ["often", "-1", "", "1.5"])
def test_flaky_rejects_what_is_no_number_of_failures(failtimes: str) -> None:
    with pytest.raises(Reject, match="failtimes"):
        app.flaky(uploaded("cat.webp", failtimes=failtimes), Context())


def test_store_writes_each_thumbnail_once_however_often_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THUMBNAILS_DIR", str(tmp_path))
    app.load_detector()
    replies = app.thumbnail(uploaded("cat.webp"), Context())
    for reply in (*replies, *replies):
        app.store(reply)
    written = sorted(path.name for path in (tmp_path / "cat.webp").iterdir())
    assert written == ["160.webp", "320.webp", "64.webp"]


def test_store_rejects_a_size_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBNAILS_DIR", str(tmp_path))
    with pytest.raises(Reject, match="size"):
        app.store(uploaded("cat.webp", size="../../x"))
    assert not list(tmp_path.iterdir())


def test_quarantine_keeps_the_bytes_and_why_they_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARANTINE_DIR", str(tmp_path))
    reason = base64.b64encode(b"broken JPEG").decode()
    app.quarantine(uploaded("broken.jpg", knativeerrorcode="400", knativeerrordata=reason))
    assert (tmp_path / "broken.jpg").read_bytes() == (IMAGES / "broken.jpg").read_bytes()
    about = json.loads((tmp_path / "broken.jpg.json").read_text())
    assert about["attributes"]["knativeerrorcode"] == "400"
    assert about["reason"] == "broken JPEG"
