from __future__ import annotations

import os
import stat

import pytest

from analytics.lake import Lake
from analytics.sources.transcripts.discovery import find_files, has_files, plan_tasks, transcript_roots
from tests.builders import make_prompt, make_settings, run_extract, write_transcript


def found_names(settings, problems=None) -> list[str]:
    return [file.name for file in find_files(transcript_roots(settings), [] if problems is None else problems)]


def planned(settings) -> list[tuple[str, int]]:
    state = Lake(settings.data_dir, settings.host_id).read_state(source="transcripts", dataset="conversations")
    tasks = plan_tasks(find_files(transcript_roots(settings), []), state, is_from_start=False)
    return [(task.file.name, task.offset) for task in tasks]


def test_every_layout_of_subagents_is_found(settings):
    names = [
        "-a/s.jsonl",
        "-a/agent-1.jsonl",
        "-a/s/subagents/agent-2.jsonl",
        "-a/s/subagents/agent-2.meta.json",
        "-a/s/subagents/workflows/wf_1/agent-3.jsonl",
        "-a/s/subagents/workflows/wf_1/journal.jsonl",
    ]
    for name in [*names, "-a/s/tool-results/x.jsonl", "-a/memory/m.jsonl", "-a/sessions-index.json", "-a/notes.txt"]:
        write_transcript(settings, name=name)
    assert sorted(found_names(settings)) == sorted(names)


def test_only_regular_files_are_opened(settings):
    real = write_transcript(settings, make_prompt(), name="-a/real.jsonl")
    folder = real.parent
    (folder / "folder.jsonl").mkdir()
    (folder / "folder.jsonl" / "inside.jsonl").write_bytes(b"")
    os.mkfifo(folder / "fifo.jsonl")
    (folder / "link.jsonl").symlink_to(real)
    (folder / "dangling.jsonl").symlink_to(folder / "gone")
    (folder / "loop").symlink_to(folder)
    os.mknod(folder / "socket.jsonl", stat.S_IFIFO | 0o600)
    problems: list[str] = []
    names = found_names(settings, problems)
    assert len([name for name in names if name.endswith(("real.jsonl", "link.jsonl"))]) == 1
    assert [name for name in names if "folder" in name] == ["-a/folder.jsonl/inside.jsonl"]
    assert not any("fifo" in name or "socket" in name for name in names)
    assert problems == ["-a/dangling.jsonl: No such file or directory"]


def test_a_link_to_nowhere_hides_nothing_beside_it(settings):
    """A link to itself ended the listing of its folder: what came after it was not read."""
    for number in range(20):
        write_transcript(settings, name=f"-a/{number}.jsonl")
        link = settings.transcript_dirs[0] / "-a" / f"link-{number}"
        link.symlink_to(link)
    problems: list[str] = []
    assert len(found_names(settings, problems)) == 20
    assert len(problems) == 20
    assert problems[0].endswith("Too many levels of symbolic links")


def test_to_know_that_there_are_transcripts_one_is_enough(settings, monkeypatch):
    """Every quiet run asks. Thousands of files were listed to answer."""
    roots = transcript_roots(settings)
    assert not has_files(roots)
    for number in range(50):
        write_transcript(settings, name=f"-p{number}/s.jsonl")
    opened = []

    def scan(folder, scandir=os.scandir):
        opened.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    assert has_files(roots)
    assert len(opened) == 2


def test_a_folder_that_cannot_be_listed_may_hold_transcripts(settings, monkeypatch):
    def refuse(_folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert has_files(transcript_roots(settings))


def test_a_hard_link_and_overlapping_roots_are_one_file(settings, tmp_path):
    real = write_transcript(settings, make_prompt())
    os.link(real, real.with_name("copy.jsonl"))
    both = make_settings(tmp_path, transcript_dirs=(settings.transcript_dirs[0], real.parent))
    assert len(found_names(both)) == 1


def test_claude_codes_own_folders_are_the_default(tmp_path):
    for name in (".claude", ".config/claude"):
        (tmp_path / "home" / name / "projects").mkdir(parents=True)
    settings = make_settings(tmp_path, transcript_dirs=())
    assert [root.relative_to(tmp_path / "home").as_posix() for root in transcript_roots(settings)] == [
        ".claude/projects",
        ".config/claude/projects",
    ]
    moved = make_settings(tmp_path, transcript_dirs=(), claude_config_dir=tmp_path / "home" / ".claude")
    assert len(transcript_roots(moved)) == 1


def test_an_unchanged_file_is_not_read_again_and_a_grown_one_from_where_it_was(settings):
    path = write_transcript(settings, make_prompt("one"))
    size = path.stat().st_size
    run_extract(settings)
    assert planned(settings) == []
    with path.open("ab") as file:
        file.write(b'{"a":1}\n')
    assert planned(settings) == [("-home-dev-app/s1.jsonl", size)]


def test_a_renamed_file_goes_on_where_it_was(settings):
    path = write_transcript(settings, make_prompt("one"))
    run_extract(settings)
    path.rename(path.with_name("renamed.jsonl"))
    assert planned(settings) == [("-home-dev-app/renamed.jsonl", path.with_name("renamed.jsonl").stat().st_size)]
    run_extract(settings)
    assert planned(settings) == []
    assert len(Lake(settings.data_dir, "test").read_state(source="transcripts", dataset="conversations")) == 1


def test_another_file_of_the_same_inode_takes_no_position_away(tmp_path):
    """Machines that share a lake meet under equal inodes: each forgot the other's position, and both read all again."""
    hosts = {host: make_settings(tmp_path, transcript_dirs=(tmp_path / host,), host_id=host) for host in "ab"}
    path = write_transcript(hosts["a"], make_prompt("one"))
    content = path.read_bytes()
    assert run_extract(hosts["a"]).rows_loaded == 1
    other = tmp_path / "b" / "-home-dev-app" / "s2.jsonl"
    other.parent.mkdir(parents=True)
    path.rename(other)
    write_transcript(hosts["b"], make_prompt("two"), name="-home-dev-app/s2.jsonl")
    assert run_extract(hosts["b"]).rows_loaded == 1
    path.write_bytes(content)
    assert [run_extract(hosts[host]).rows_loaded for host in "abab"] == [0, 0, 0, 0]


@pytest.mark.parametrize("how", ["truncated", "shrunk", "replaced", "replaced_in_disguise", "other_start", "other_end"])
def test_a_file_that_is_another_now_is_read_from_the_start(settings, how):
    """A file put in place of another with its size and time was taken for read."""
    lines = [make_prompt(f"{number:04d}") for number in range(40)]
    path = write_transcript(settings, *lines)
    run_extract(settings)
    status = path.stat()
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(b"")
    elif how == "shrunk":
        path.write_bytes(content[:500])
    elif how == "replaced":
        path.unlink()
        path.write_bytes(content.replace(b"0000", b"9999") + b'{"a":1}\n')
    elif how == "replaced_in_disguise":
        other = path.with_suffix(".new")
        other.write_bytes(content.replace(b"0000", b"9999"))
        other.replace(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "other_start":
        path.write_bytes(content.replace(b"0000", b"9999") + b'{"a":1}\n')
    else:
        path.write_bytes(content.replace(b"0039", b"9999") + b'{"a":1}\n')
    assert planned(settings) == [("-home-dev-app/s1.jsonl", 0)]
