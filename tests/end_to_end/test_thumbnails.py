"""The example as its users run it: the demo, which starts a real node and checks every promise.

The two long runs go side by side: most of their time they wait for idle workers to be gone.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_run import EXAMPLE, Demo

pytest.importorskip("cv2")

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have them."""
    folder = tmp_path_factory.mktemp("home") / "my pictures"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(EXAMPLE / "images" / "cat.webp", folder / "deeper" / "ä cat [1] 100%.webp")
    (folder / "letter.png").write_text("this is no picture")
    (folder / "huge.tiff").write_bytes(bytes(17 << 20))
    (folder / "notes.txt").write_text("not even called one")
    return folder


@pytest.fixture(scope="module")
def demos(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Demo, Demo]]:
    """The demo with its own pictures, and with those of `pictures`."""
    temporary = tmp_path_factory.mktemp("demos")
    running = Demo(temporary), Demo(temporary, "--images", str(pictures))
    yield running
    for demo in running:
        demo.end()


def test_every_picture_of_the_example_ends_as_it_should(demos: tuple[Demo, Demo]) -> None:
    demo, _ = demos
    assert demo.wait() == 0, demo.output + demo.complaints
    assert "all workers are gone again" in demo.output
    own = {path.name for path in (EXAMPLE / "images").glob("*.*")} - {"broken.jpg"}
    stored = {folder.name for folder in demo.folder("thumbnails").iterdir()}
    assert stored == own | {"fails-twice.webp"}
    kept = {path.name for path in demo.folder("quarantine").iterdir()}
    assert kept == {"broken.jpg", "broken.jpg.json"}


def test_a_folder_of_ones_own_is_served_whatever_it_holds(demos: tuple[Demo, Demo]) -> None:
    _, demo = demos
    assert demo.wait() == 0, demo.output + demo.complaints
    assert len(list(demo.folder("thumbnails").iterdir())) == 2
    kept = [path.name for path in demo.folder("quarantine").glob("*.json")]
    assert len(kept) == 2
    assert any("letter.png" in name for name in kept)
    assert "refused as too large" in demo.output


def test_where_the_node_does_not_start_its_last_words_are_shown(tmp_path: Path) -> None:
    example = tmp_path / "thumbnails"
    shutil.copytree(EXAMPLE, example)
    wiring = example / "wiring.yaml"
    wiring.write_text(wiring.read_text().replace("subscriber:", "subscribr:", 1))
    demo = Demo(tmp_path, example=example)
    assert demo.wait() == 1
    assert "wiring.yaml" in demo.output and "subscriber" in demo.output
    assert "failed:" in demo.output
    assert "Traceback" not in demo.output + demo.complaints


def test_a_folder_that_is_not_there_is_a_clear_mistake(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--images", "/nowhere")
    assert demo.wait() == 2
    assert "/nowhere is no folder" in demo.complaints
