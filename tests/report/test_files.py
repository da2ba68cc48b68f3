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
    names = ["result", ".pint.result.a1", ".pint.result.b2", ".pint.other.a1", "result.a1"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "result")
    assert sorted(os.listdir(tmp_path)) == sorted(n for n in names if ".result." not in n)


def test_a_name_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_content_and_name_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    write_atomically(tmp_path / "result", lambda file: file.write(b"new"))
    assert synced == [path.stat().st_ino for path in (tmp_path / "result", tmp_path)]
