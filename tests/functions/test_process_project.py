"""Starting a project: what is found in it, and how its mistakes are told."""

import asyncio
import textwrap

import pytest

from eventing.errors import OperationError, UserError
from functions.process import Project, Spare

NOTHING = """
from eventing import function

@function
def nothing(event): ...
"""


def write(folder, files):
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))


def start(*paths, **options):
    """The functions and third-party modules of a project that is closed again."""

    async def main():
        project = await Project.start(paths, on_log=lambda line: None, **options)
        await project.close()
        return project

    return asyncio.run(main())


def refusal(tmp_path, files, *, error=UserError, **options):
    files = {"app.py": files} if isinstance(files, str) else files
    write(tmp_path, files)
    with pytest.raises(error) as refused:
        start(tmp_path, **options)
    return str(refused.value)


def test_functions_are_found_with_what_their_code_says(tmp_path):
    source = '''
        from datetime import timedelta
        from eventing import function

        @function(name="thumb", timeout=timedelta(minutes=1), concurrency=3, scale=(1, 4),
                  memory="256Mi", env={"A": "b"})
        async def make_thumbnail(event):
            """Make it small."""

        @function
        def store_it(event): ...
    '''
    write(tmp_path, {"app.py": source})
    thumb, store = start(tmp_path).functions
    assert (thumb.name, thumb.handler, thumb.sync) == ("thumb", "app:make_thumbnail", False)
    assert (thumb.timeout, thumb.concurrency, thumb.scale) == (60.0, 3, (1, 4))
    assert (thumb.memory, thumb.env, thumb.doc) == (256 << 20, {"A": "b"}, "Make it small.")
    assert (thumb.file, thumb.line) == (str(tmp_path / "app.py"), 5)
    assert (store.name, store.handler, store.sync) == ("store-it", "app:store_it", True)
    assert (store.timeout, store.concurrency, store.scale, store.memory) == (None,) * 4


def test_functions_are_found_in_packages_and_not_in_tests_or_environments(tmp_path):
    held = NOTHING.replace("nothing", "{}")
    write(
        tmp_path,
        {
            "app.py": held.format("top"),
            "package/__init__.py": "",
            "package/handlers.py": held.format("inner"),
            "script.py": "raise SystemExit('a script without functions is not imported')",
            "sender.py": "from eventing import CloudEvent\nraise SystemExit('nor is this')",
            "test_app.py": held.format("not_me"),
            "conftest.py": held.format("not_me"),
            "tests/__init__.py": "",
            "tests/more.py": held.format("not_me"),
            ".venv/__init__.py": "",
            ".venv/module.py": held.format("not_me"),
            "folder/loose.py": held.format("not_me"),
        },
    )
    assert [f.handler for f in start(tmp_path).functions] == ["app:top", "package.handlers:inner"]


def test_a_file_that_is_given_is_taken_whatever_its_name(tmp_path):
    write(tmp_path, {"test_me.py": NOTHING})
    assert [f.handler for f in start(tmp_path / "test_me.py").functions] == ["test_me:nothing"]


def test_a_function_imported_elsewhere_is_found_once(tmp_path):
    write(tmp_path, {"app.py": NOTHING, "other.py": NOTHING + "\nfrom app import nothing\n"})
    assert [f.handler for f in start(tmp_path).functions] == ["app:nothing"]


def test_two_functions_of_one_name_are_refused_with_both_places(tmp_path):
    message = refusal(tmp_path, {"app.py": NOTHING, "b.py": NOTHING})
    assert f"{tmp_path}/b.py:4" in message
    assert f"{tmp_path}/app.py:4" in message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import eventing.function\ndef f(:\n", "app.py:2:7: SyntaxError"),
        (NOTHING + "\nimport nowhere\n", "app.py:7: ModuleNotFoundError: No module named"),
        (NOTHING + "\n1 / 0\n", "app.py:7: ZeroDivisionError"),
        (NOTHING + "\nraise SystemExit(3)\n", "sys.exit(3) when imported"),
        (NOTHING + "\nimport os; os._exit(4)\n", "(exited with status 4)"),
        (NOTHING + "\nimport ctypes; ctypes.string_at(0)\n", "(killed by SIGSEGV)"),
        (NOTHING + "\n@function\ndef g(): ...\n", "app.py:7: handler 'g' takes no parameter"),
        (NOTHING + "\n@function\ndef g(a, b): ...\n", "one of them has to be annotated `Context`"),
        (NOTHING + "\n@function\ndef g(a: 'Unknown'): ...\n", "names 'Unknown'"),
        (NOTHING + "\n@function(timeout=-1)\ndef g(a): ...\n", "app.py:7: @function(timeout=-1"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, source, expected):
    message = refusal(tmp_path, source)
    assert expected in message
    assert "eventing/sdk" not in message


def test_a_traceback_names_the_users_frames_only(tmp_path):
    message = refusal(tmp_path, {"app.py": NOTHING + "\nimport helper\n", "helper.py": "1 / 0\n"})
    first, *rest = message.splitlines()
    assert first.endswith("helper.py:1: ZeroDivisionError: division by zero")
    assert [line.strip().split(",")[0] for line in rest if line.startswith("  File")] == [
        f'File "{tmp_path}/app.py"',
        f'File "{tmp_path}/helper.py"',
    ]


def test_an_import_that_hangs_is_told_with_where_it_stood(tmp_path):
    source = NOTHING + "\nimport time\ntime.sleep(1000)\n"
    message = refusal(tmp_path, source, load_timeout=0.5)
    assert "app.py:8: importing the project took longer than 0.5 s" in message


def test_modules_that_would_hide_one_another_are_refused(tmp_path):
    write(tmp_path, {"a/app.py": NOTHING, "b/app.py": NOTHING})
    with pytest.raises(UserError, match="would both be imported as 'app'"):
        start(tmp_path / "a", tmp_path / "b")


def test_a_file_named_like_an_imported_module_is_refused(tmp_path):
    assert "rename the file" in refusal(tmp_path, {"logging.py": NOTHING})


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("app", "write it as module:name"),
        ("app:nothin", "has no 'nothin'; it has nothing"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("app:VALUE", "'VALUE' is a int, no function"),
    ],
)
def test_a_wrong_address_is_told_and_takes_no_other_function_along(tmp_path, handler, expected):
    write(tmp_path, {"app.py": NOTHING + "\nVALUE = 1\n"})
    project = start(tmp_path, handlers=[handler])
    assert list(project.missing) == [handler]
    assert handler in project.missing[handler]
    assert expected in project.missing[handler]
    assert [found.name for found in project.functions] == ["nothing"]


def test_what_is_no_python_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.txt: no Python file and no folder"):
        start(tmp_path / "nothing.txt")


def test_a_missing_interpreter_is_an_operators_fault(tmp_path):
    message = refusal(tmp_path, NOTHING, error=OperationError, python="/nowhere/python")
    assert "/nowhere/python" in message


def test_a_spare_has_the_modules_and_takes_the_project(tmp_path):
    write(tmp_path, {"app.py": NOTHING + "\nimport yaml, orjson\n"})

    async def main():
        logged = []
        first = await Project.start([tmp_path], on_log=logged.append)
        assert "yaml" in first.modules
        spare = Spare([*first.modules, "nowhere", "eventing.nowhere"], on_log=logged.append)
        pid = spare.zygote.pid
        (tmp_path / "app.py").write_text(NOTHING.replace("nothing", "changed") + "\nimport yaml\n")
        second = await Project.start([tmp_path], on_log=logged.append, spare=spare)
        assert second._zygote.pid == pid
        assert [f.name for f in second.functions] == ["changed"]
        assert "yaml" in second.modules
        await first.close()
        await second.close()

    asyncio.run(main())


def test_a_spares_thread_does_not_keep_the_project_from_forking(tmp_path, monkeypatch):
    threading = (
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    write(tmp_path, {"lib/site-packages/starts_thread.py": threading, "project/app.py": NOTHING})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib" / "site-packages"))

    async def main():
        spare = Spare(["starts_thread"], on_log=lambda line: None)
        project = await Project.start([tmp_path / "project"], on_log=lambda _: None, spare=spare)
        assert project.launcher.mode == "fork"
        assert project.modules == ()
        await project.close()

    asyncio.run(main())


def test_a_spare_that_has_died_is_replaced(tmp_path):
    write(tmp_path, {"app.py": NOTHING})

    async def main():
        spare = Spare([], on_log=lambda line: None)
        spare.zygote.kill()
        await spare.zygote.gone
        project = await Project.start([tmp_path], on_log=lambda line: None, spare=spare)
        assert [f.name for f in project.functions] == ["nothing"]
        await project.close()

    asyncio.run(main())


def test_an_unused_spare_closes(tmp_path):
    async def main():
        spare = Spare(["yaml"], on_log=lambda line: None)
        await spare.close()
        assert not spare.zygote.alive

    asyncio.run(main())


def test_code_saved_twice_within_a_second_is_never_stale(tmp_path):
    async def main():
        for word in ("first", "other", "third"):
            (tmp_path / "app.py").write_text(NOTHING.replace("nothing", word))
            project = await Project.start([tmp_path], on_log=lambda line: None)
            assert [f.name for f in project.functions] == [word]
            await project.close()

    asyncio.run(main())
