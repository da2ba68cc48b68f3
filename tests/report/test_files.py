"""Files are either the old ones or the complete new ones."""

import os

import pytest

from pint.report.files import check_writable, remove_leftovers, write_atomically


def test_the_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "result"
    for content in (b"first, and longer", b"second"):
        write_atomically(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "result"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the n")
        raise error("stopped")

    with pytest.raises(error, match="stopped"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]


def test_the_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    write_atomically(tmp_path / "ours", lambda file: file.write(b""))
    assert (tmp_path / "ours").stat().st_mode == usual.stat().st_mode


def test_a_missing_folder_is_an_os_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match="missing"):
        write_atomically(tmp_path / "missing" / "result", lambda file: file.write(b""))


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", lambda file: file.write(b"new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", lambda file: file.write(b"new"))
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["missing/result", "x" * 300, "file/result"])
def test_a_path_that_cannot_be_written(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"missing|x|file"):
        check_writable(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "new", "x" * 250])
def test_a_path_that_can_be_written(name, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    check_writable(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]
    write_atomically(tmp_path / name, lambda file: file.write(b"new"))
    assert (tmp_path / name).read_bytes() == b"new"


def test_leftovers_are_those_of_this_file(tmp_path):
    """Names may begin alike, and another run may be writing at this moment."""
    names = ["n" * 60, "n" * 60 + "2", "result"]
    for name in names:
        leave_a_half(tmp_path / name)
    left = set(os.listdir(tmp_path))
    assert len(left) == 3

    def write(file):
        remove_leftovers(tmp_path / "other")
        remove_leftovers(tmp_path / names[0])
        file.write(b"new")

    write_atomically(tmp_path / names[0], write)
    remaining = set(os.listdir(tmp_path))
    assert remaining - left == {names[0]}
    assert len(left - remaining) == 1
    assert (tmp_path / names[0]).read_bytes() == b"new"


def leave_a_half(path):
    """Leave what a process leaves that is killed while it writes `path`."""
    process = os.fork()
    if process == 0:
        write_atomically(path, lambda file: os._exit(0))
    os.waitpid(process, 0)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "result"
    path.touch()
    path.chmod(mode)
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.stat().st_mode & 0o777 == mode
    assert path.read_bytes() == b"new"


def test_the_umask_is_never_changed(tmp_path, monkeypatch):
    """Files that other threads make at the same time would be writable by all."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr("os.umask", None)
        write_atomically(tmp_path / "result", lambda file: file.write(b"new"))
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert (tmp_path / "result").stat().st_mode & 0o777 == 0o640


def test_a_pipe_that_nobody_reads_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        write_atomically(tmp_path / "pipe", lambda file: file.write(b"new"))


def test_a_name_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_content_and_name_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    write_atomically(tmp_path / "result", lambda file: file.write(b"new"))
    assert synced == [path.stat().st_ino for path in (tmp_path / "result", tmp_path)]
