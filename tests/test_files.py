"""Files as a careful user expects: whole or not at all, and nobody else's."""

import contextlib
import errno
import multiprocessing
import os
import resource
import socket
import threading
from pathlib import Path

import pytest

from sklc.files import File, Locked, replace


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    file = File(tmp_path / "state")
    assert file.read() is None
    for content in b"one", b"another", b"":
        file.write(content)
        assert file.read() == content
    file.close()
    file.close()  # again, which does no harm
    assert names(tmp_path) == ["state"]


def test_the_home_of_the_user_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = File("~/runs/state")
    file.write(b"x")
    file.close()
    assert (tmp_path / "runs" / "state").read_bytes() == b"x"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_one_and_its_target_is_written(exists, tmp_path):
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(Path("far", "target"))
    file = File(link)
    assert file.read() == (b"old" if exists else None)
    file.write(b"new")
    file.close()
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["target"]


def test_two_names_of_one_file_are_one_file(tmp_path):
    (tmp_path / "link").symlink_to("state")
    file = File(tmp_path / "state")
    with pytest.raises(Locked):
        File(tmp_path / "link")
    file.close()


def test_a_folder_is_no_file(tmp_path):
    for write in File, lambda path: replace(path, b"x"):
        with pytest.raises(OSError, match=f"'{tmp_path}' is {tmp_path}, a folder"):
            write(tmp_path)
    assert names(tmp_path) == []


def test_no_path_is_the_present_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError, match=f"'' is {tmp_path}, a folder and"):
        replace("", b"x")


def test_what_is_no_regular_file_is_left_alone(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as own:
        own.bind("socket")
        before = names(tmp_path)
        for name in "pipe", "link", "socket":
            for write in File, lambda path: replace(path, b"x"):
                with pytest.raises(OSError, match=f"{name}' is .*, a device, a"):
                    write(tmp_path / name)
        assert names(tmp_path) == before
        assert (tmp_path / "pipe").is_fifo()
        assert (tmp_path / "socket").is_socket()


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_permissions_are_kept(mode, tmp_path):
    path = tmp_path / "state"
    path.touch()
    path.chmod(mode)
    replace(path, b"x")
    assert path.stat().st_mode & 0o7777 == mode
    with contextlib.closing(File(path)) as file:
        file.write(b"y")
    assert path.stat().st_mode & 0o7777 == mode
    assert path.read_bytes() == b"y"
    (tmp_path / "plain").touch()
    replace(tmp_path / "new", b"x")
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "new")]
    assert modes[0] == modes[1]


def test_neighbours_of_a_user_are_left_alone(tmp_path):
    own = ["state.new", "state.lock", "state.tmp", "state~"]
    for name in own:
        (tmp_path / name).write_text(name)
    replace(tmp_path / "state", b"x")
    with contextlib.closing(File(tmp_path / "state")) as file:
        file.write(b"y")
    assert names(tmp_path) == sorted(["state", *own])
    for name in own:
        assert (tmp_path / name).read_text() == name


def test_a_replacement_asks_for_no_lock_and_leaves_nothing(tmp_path):
    with contextlib.closing(File(tmp_path / "state")):
        replace(tmp_path / "state", b"x")
    assert (tmp_path / "state").read_bytes() == b"x"
    assert names(tmp_path) == ["state"]
    name = "x" * 255  # as long as names may be
    replace(tmp_path / name, b"x")
    assert names(tmp_path) == ["state", name]


@pytest.mark.parametrize("path", ["file/state", "file/more/state", "x" * 300])
def test_where_nothing_can_be_written_is_told_at_once(path, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"\[Errno"):
        File(tmp_path / path)


def test_a_folder_that_may_not_be_written_to_is_told_at_once(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    try:
        (tmp_path / "mine" / "probe").touch()
    except PermissionError:
        with pytest.raises(PermissionError):
            File(tmp_path / "mine" / "state")
    else:
        pytest.skip("this user may write everywhere")


def test_one_at_a_time_in_other_threads_too(tmp_path):
    file = File(tmp_path / "state")
    seen = []

    def other():
        try:
            File(tmp_path / "state")
        except Locked as error:
            seen.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(seen) == 1
    file.close()
    File(tmp_path / "state").close()


def hold(path, ready, done):
    file = File(path)
    ready.set()
    done.wait(60)
    file.close()


def test_one_at_a_time_in_other_processes_too(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "state", ready, done))
    process.start()
    assert ready.wait(60)
    with pytest.raises(Locked):
        File(tmp_path / "state")
    process.kill()  # which leaves the lock file, but no lock
    process.join()
    assert names(tmp_path) == [".state.sklc-lock"]
    File(tmp_path / "state").close()
    assert names(tmp_path) == []


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path):
    file = File(tmp_path / "state")
    file.write(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            file.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert file.read() == b"old"
    file.close()
    assert names(tmp_path) == ["state"]


def test_what_a_killed_process_left_is_no_hindrance(tmp_path):
    (tmp_path / ".state.sklc-new").write_bytes(b"half")
    (tmp_path / ".state.sklc-lock").touch()
    file = File(tmp_path / "state")
    file.write(b"whole")
    file.close()
    assert file.read() == b"whole"
    assert names(tmp_path) == ["state"]


def test_without_locks_of_the_system_files_are_still_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("sklc.files.fcntl", None)
    file = File(tmp_path / "state")
    file.write(b"x")
    file.close()
    assert names(tmp_path) == ["state"]
