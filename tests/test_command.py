"""The command's start and its end: Ctrl-C, closed pipes, terminals that know few signs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from valleywalk import __main__, cli, show
from valleywalk.folders import checkout

WAIT = "\ntry:\n    while True: time.sleep(0.01)\nexcept BaseException: pass\n"


@pytest.fixture
def start(tmp_path):
    """Start the command, in place of the package one whose `cli` is this text."""

    def started(code, **options):
        (tmp_path / "valleywalk").mkdir()
        (tmp_path / "valleywalk" / "cli.py").write_text(
            f"import sys, time\n{code}", encoding="utf-8"
        )
        (tmp_path / "valleywalk" / "__init__.py").write_text("__version__ = '0'\n")
        shutil.copy(__main__.__file__, tmp_path / "valleywalk")
        return subprocess.Popen(
            [sys.executable, "-m", "valleywalk"],
            env={**os.environ, "PYTHONPATH": str(tmp_path), **options.pop("env", {})},
            # Not that of a test run in the background, which would ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        )

    return started


def test_it_is_what_is_installed():
    project = tomllib.loads((checkout() / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"valleywalk": "valleywalk.__main__:main"}


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        # During the imports, also where one of them swallows whatever is raised.
        ("print('ready', flush=True)" + WAIT + "main = print", -signal.SIGINT, ""),
        (
            "def main():\n    print('ready', flush=True)\n    time.sleep(60)",
            1,
            "valleywalk: interrupted\n",
        ),
        (
            "def main():\n    try:\n        print('ready', flush=True)\n        time.sleep(60)\n"
            "    except BaseException: raise KeyboardInterrupt('after step 3') from None",
            1,
            "valleywalk: after step 3\n",
        ),
    ],
)
def test_ctrl_c(start, text, status, said):
    process = start(text)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (out, error, process.returncode) == ("", said, status)


@pytest.mark.parametrize("end", ["", "    sys.exit(0)\n"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_enough(start, end, unbuffered):
    text = f"def main():\n    for i in range(9999): print('a line', i)\n{end}"
    process = start(text, env={"PYTHONUNBUFFERED": unbuffered})
    assert process.stdout.readline() == "a line 0\n"
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=30)) == ("", 141)


def test_a_reader_that_is_gone_before_anything_is_said(start):
    process = start(
        "def main():\n    sys.stdin.readline()\n    print('a line')", stdin=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert (process.stderr.read(), process.wait(timeout=30)) == ("", 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_said(start):
    with open("/dev/full", "w") as full:
        process = start("def main(): print('a line')", stdout=full)
        error = process.communicate(timeout=30)[1]
    assert (error, process.returncode) == ("valleywalk: [Errno 28] No space left on device\n", 1)


def test_no_output_at_all(start):
    process = start("def main(): print('a line', file=sys.stderr)", stdout=subprocess.DEVNULL)
    assert process.communicate(timeout=30)[1] == "a line\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "\\u03b7 \\xd7"), ("latin-1", "\\u03b7 ×"), ("utf-8", "η ×")]
)
def test_an_encoding_without_the_signs(start, encoding, shown):
    process = start("def main(): print('η ×')", env={"PYTHONIOENCODING": encoding}, text=False)
    out, error = process.communicate(timeout=30)
    assert (out.decode(encoding), error, process.returncode) == (f"{shown}\n", b"", 0)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", None])
def test_json_is_json_in_any_encoding(encoding, monkeypatch):
    class Stream:
        pass

    stream = Stream()
    stream.encoding = encoding
    monkeypatch.setattr(show.sys, "stdout", stream)
    text = show.in_json({"rate": "η × é"})
    assert json.loads(text.encode(encoding or "ascii").decode(encoding or "ascii")) == {
        "rate": "η × é"
    }


def test_a_closed_pipe_passes_the_command(monkeypatch):
    def closed():
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setitem(cli.COMMANDS, "list", closed)
    with pytest.raises(BrokenPipeError):
        cli.main(["list"])
