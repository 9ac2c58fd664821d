"""The example as its users run it: the demo, which starts a real node and checks every promise."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cv2")

EXAMPLE = Path(__file__).parents[2] / "examples" / "thumbnails"


def demo(example: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(example / "demo.py"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )


def written(output: str, what: str) -> Path:
    """The folder that the demo named on its line `{what}: {folder}`."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{what}: "))
    return Path(line.partition(": ")[2])


def test_every_picture_of_the_example_ends_as_it_should() -> None:
    run = demo(EXAMPLE)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "all workers are gone again" in run.stdout
    pictures = {path.name for path in (EXAMPLE / "images").glob("*.*")} - {"broken.jpg"}
    stored = {folder.name for folder in written(run.stdout, "thumbnails").iterdir()}
    assert stored == pictures | {"fails-twice.webp"}
    kept = {path.name for path in written(run.stdout, "quarantine").iterdir()}
    assert kept == {"broken.jpg", "broken.jpg.json"}
    shutil.rmtree(written(run.stdout, "thumbnails").parent)


def test_a_folder_of_ones_own_is_served_whatever_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "my pictures"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(EXAMPLE / "images" / "cat.webp", folder / "deeper" / "ä cat [1] 100%.webp")
    (folder / "letter.png").write_text("this is no picture")
    (folder / "notes.txt").write_text("not even called one")
    run = demo(EXAMPLE, "--images", str(folder))
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list(written(run.stdout, "thumbnails").iterdir())) == 2
    kept = [path.name for path in written(run.stdout, "quarantine").glob("*.json")]
    assert len(kept) == 2
    assert any("letter.png" in name for name in kept)
    shutil.rmtree(written(run.stdout, "thumbnails").parent)


def test_where_the_node_does_not_start_its_last_words_are_shown(tmp_path: Path) -> None:
    example = tmp_path / "thumbnails"
    shutil.copytree(EXAMPLE, example)
    wiring = example / "wiring.yaml"
    wiring.write_text(wiring.read_text().replace("subscriber:", "subscribr:", 1))
    run = demo(example)
    assert run.returncode == 1
    assert "wiring.yaml" in run.stdout and "subscriber" in run.stdout
    assert "failed:" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_a_folder_that_is_not_there_is_a_clear_mistake() -> None:
    run = demo(EXAMPLE, "--images", "/nowhere")
    assert run.returncode == 2
    assert "/nowhere is no folder" in run.stderr
