"""An embedding job that is interrupted goes on where it stopped, and ends with the same bytes."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock

from lagotto.cli.resume import Work

ENDINGS = ["npy", "npz", "jsonl", "parquet"]


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 8 texts."""
    monkeypatch.setattr("lagotto.models.pipeline.CHUNK", 8)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("".join(f"panda {i} {'bear ' * (i % 7)}\n" for i in range(50)))
    return path


@pytest.fixture
def fail_after(monkeypatch):
    """Let a run break when it has so many parts."""
    whole = Work.add

    def set_limit(parts: int | None) -> None:
        def add(work, ids, values):
            if parts is not None and len(work.parts) >= parts:
                raise KeyboardInterrupt
            whole(work, ids, values)

        monkeypatch.setattr(Work, "add", add)

    return set_limit


@pytest.fixture
def job(run, tiny_bert, texts, tmp_path):
    """Run the job; the output is ``tmp_path/o.ENDING``."""

    def go(ending: str = "npy", *options: str):
        return run("embed", "-m", tiny_bert, texts, "-o", tmp_path / f"o.{ending}", "--json", *options)

    return go


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_goes_on_and_ends_with_the_same_bytes(small_parts, job, fail_after, tmp_path, ending):
    output = tmp_path / f"o.{ending}"
    assert job(ending).exit_code == 0
    expected = output.read_bytes()
    output.unlink()
    for parts in (2, 5):
        fail_after(parts)
        result = job(ending)
        assert result.exit_code == 130
        assert f"{parts * 8} texts are kept in {output}.partial" in result.stderr
        assert not output.exists()
    fail_after(None)
    summary = json.loads(job(ending).stdout)
    assert summary["resumed"] == 40
    assert summary["texts"] == 50
    assert output.read_bytes() == expected
    assert not Path(f"{output}.partial").exists()


def test_totals_are_those_of_all_runs(small_parts, job, fail_after):
    whole = json.loads(job("npy", "--max-length", "6").stdout)
    fail_after(3)
    job("npy", "--max-length", "6")
    fail_after(None)
    resumed = json.loads(job("npy", "--max-length", "6").stdout)
    assert whole["truncated"] > 0
    assert {key: whole[key] for key in ("tokens", "truncated")} == {
        key: resumed[key] for key in ("tokens", "truncated")
    }


@pytest.mark.parametrize("damage", ["half a line", "no part", "short part", "garbage"])
def test_what_was_not_finished_is_done_again(small_parts, job, fail_after, tmp_path, damage):
    job()
    expected = (tmp_path / "o.npy").read_bytes()
    fail_after(3)
    job()
    fail_after(None)
    folder = tmp_path / "o.npy.partial"
    manifest = folder / "manifest.jsonl"
    if damage == "half a line":
        manifest.write_bytes(manifest.read_bytes()[:-5])
    elif damage == "no part":
        (folder / "part-000002").unlink()
    elif damage == "short part":
        (folder / "part-000002").write_bytes(b"x")
    else:
        manifest.write_bytes(manifest.read_bytes() + b'{"a": 1}\n[]\n')
    summary = json.loads(job().stdout)
    assert summary["resumed"] == (24 if damage == "garbage" else 16)
    assert (tmp_path / "o.npy").read_bytes() == expected


@pytest.mark.parametrize("step", ["lagotto.cli.outputs._append", "lagotto.cli.resume.Work._remove"])
def test_stopped_at_the_very_end(small_parts, job, tmp_path, monkeypatch, step):
    job()
    expected = (tmp_path / "o.npy").read_bytes()
    with monkeypatch.context() as patch:

        def stop(*args):
            raise KeyboardInterrupt

        patch.setattr(step, stop)
        assert job().exit_code == 130
    assert json.loads(job().stdout)["resumed"] == 50
    assert (tmp_path / "o.npy").read_bytes() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dimensions", "8"], "dimensions was null, is 8"),
        (["--as", "query"], 'as was "text", is "query"'),
        (["--precision", "f32"], "model was "),
        (["--field", "body"], "read was "),
    ],
)
def test_another_job_is_refused(small_parts, tiny_bert, run, texts, tmp_path, fail_after, options, message):
    command = ["embed", "-m", tiny_bert, texts, "-o", tmp_path / "o.npy"]
    # Precision auto may be f32 or bf16 here; what counts is that it is another one.
    first = ["--precision", "bf16"]
    fail_after(3)
    run(*command, *first)
    fail_after(None)
    rest = options if "--precision" in options else [*first, *options]
    result = run(*command, *rest)
    assert result.exit_code == 1
    assert "holds unfinished work of another job: " in result.stderr
    assert message in result.stderr
    assert "--restart" in result.stderr
    assert (tmp_path / "o.npy.partial/part-000002").exists()
    restarted = run(*command, *rest, "--restart", "--json")
    assert json.loads(restarted.stdout)["resumed"] == 0


def test_changed_input_is_refused(small_parts, job, fail_after, texts):
    fail_after(3)
    job()
    fail_after(None)
    texts.write_text(texts.read_text() + "more\n")
    assert "input was " in job().stderr


def test_input_that_changes_meanwhile(small_parts, job, monkeypatch, texts, tmp_path):
    whole = Work.add

    def add(work, ids, values):
        texts.write_text(texts.read_text() + "more\n")
        whole(work, ids, values)

    monkeypatch.setattr(Work, "add", add)
    assert "was changed while it was read" in job().stderr
    assert not (tmp_path / "o.npy").exists()


def test_without_a_finished_part_nothing_is_left_behind(job, texts, tmp_path):
    texts.write_bytes(b"fine\n\xff\n")
    assert "line 2: not valid UTF-8" in job().stderr
    assert not (tmp_path / "o.npy.partial").exists()
    texts.write_text("fine\nfine\n")
    assert json.loads(job().stdout)["texts"] == 2


def test_a_damaged_manifest_is_refused(small_parts, job, fail_after, tmp_path):
    fail_after(3)
    job()
    fail_after(None)
    manifest = tmp_path / "o.npy.partial/manifest.jsonl"
    _, *parts = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([b"no\n", *parts]))
    assert "is damaged; start over with --restart" in job().stderr
    assert json.loads(job("npy", "--restart").stdout)["texts"] == 50


def test_two_processes_do_not_write_the_same_output(job, tmp_path):
    folder = tmp_path / "o.npy.partial"
    folder.mkdir()
    with FileLock(folder / "lock"):
        result = job()
    assert result.exit_code == 1
    assert "another process is writing" in result.stderr


def test_files_of_others_are_left_alone(job, tmp_path):
    folder = tmp_path / "o.npy.partial"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert job().exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_standard_input_begins_again(small_parts, run, tiny_bert, tmp_path, fail_after):
    command = ["embed", "-m", tiny_bert, "-o", tmp_path / "o.npy", "--json"]
    lines = "panda\n" * 50
    fail_after(3)
    assert run(*command, input=lines).exit_code == 130
    fail_after(None)
    summary = json.loads(run(*command, input=lines).stdout)
    assert (summary["texts"], summary["resumed"]) == (50, 0)


def test_standard_input_does_not_throw_away_the_work_of_a_file(small_parts, run, tiny_bert, tmp_path, job, fail_after):
    fail_after(3)
    job()
    fail_after(None)
    result = run("embed", "-m", tiny_bert, "-o", tmp_path / "o.npy", input="panda\n")
    assert "holds unfinished work of another job" in result.stderr
    assert json.loads(job().stdout)["resumed"] == 24


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_kill_and_run_again(start, tiny_bert, tmp_path, ending):
    """A real process, killed without warning twice, at the size of parts it has in earnest."""
    source = tmp_path / "in.txt"
    source.write_text("".join(f"the panda {i % 97} is a bear {i % 13}\n" for i in range(30_000)))

    def command(name: str):
        return start("embed", "-m", tiny_bert, source, "-o", tmp_path / f"{name}.{ending}", "--json")

    out, err = command("whole").communicate(timeout=300)
    assert json.loads(out)["texts"] == 30_000, err
    manifest = tmp_path / f"cut.{ending}.partial/manifest.jsonl"
    for parts in (2, 5):
        process = command("cut")
        deadline = time.monotonic() + 300
        while _parts(manifest) < parts:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / f"cut.{ending}").exists()
    out, err = command("cut").communicate(timeout=300)
    assert 5 * 2048 <= json.loads(out)["resumed"] < 30_000, err
    assert (tmp_path / f"cut.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert not manifest.parent.exists()


def _parts(manifest: Path) -> int:
    return manifest.read_bytes().count(b"\n") - 1 if manifest.exists() else 0
