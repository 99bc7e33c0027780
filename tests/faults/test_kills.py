"""kill -9 at random moments: the rerun ends right, and no half file is ever taken for whole."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import serving

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.torture


def killed_after(command, seconds, environment=None):
    """Whether the command, with all processes it started, had to be killed after so many seconds."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def until_killed(rng, kills, low, high, start, check):
    """Kill what `start(seconds)` starts so often at random moments between, and check after each; it may also end."""
    count = 0
    for _ in range(6 * kills):
        count += start(rng.uniform(low, high))
        check()
        if count >= kills:
            break
    assert count >= kills


def test_kill_9_of_a_rendering(tmp_path, kills, rng):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code = "from padim_nb.twin import ensure; print(ensure('toothbrush', size=64, workers=1))"
    command, turn = [sys.executable, "-c", code], iter(range(1000))

    def start(seconds):
        environment["PADIM_NB_CACHE"] = str(tmp_path / str(next(turn)))
        return killed_after(command, seconds, environment)

    def digests():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        images = sorted(Path(done.stdout.strip()).rglob("*.png"))
        return {str(path)[-30:]: hashlib.sha256(path.read_bytes()).hexdigest() for path in images}

    environment["PADIM_NB_CACHE"] = str(tmp_path / "undisturbed")
    wanted = digests()

    def check():
        assert digests() == wanted

    until_killed(rng, kills, 0.2, 1.5, start, check)


def test_kill_9_of_a_run(parts, tmp_path, kills, rng):
    def command(out):
        return [sys.executable, "-m", "padim_nb.cli", "run", "widget", "--data", str(parts), "--out", str(out)]

    subprocess.run(command(tmp_path / "undisturbed"), capture_output=True, check=True)
    record = json.loads((tmp_path / "undisturbed" / "record.json").read_text())
    out = tmp_path / "out"

    def whole():
        if (out / "record.json").exists():
            assert json.loads((out / "record.json").read_text())["metrics"] == record["metrics"]

    until_killed(rng, kills, 1.0, 8.0, lambda seconds: killed_after(command(out), seconds), whole)
    subprocess.run(command(out), capture_output=True, check=True)
    assert json.loads((out / "record.json").read_text())["metrics"] == record["metrics"]
    for name in ("maps.safetensors", "model.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


BODY = bytes(range(256)) * 400


FETCH = """
import sys
from pathlib import Path
from padim_nb.features.weights import Source, get
get("x", Path(sys.argv[1]), Source(sys.argv[2], 0.1))
"""


def test_kill_9_of_a_download(tmp_path, kills, rng):
    name = f"x-{hashlib.sha256(BODY).hexdigest()[:8]}.pth"
    with serving({name: BODY}) as server:
        command = [sys.executable, "-c", FETCH, str(tmp_path), server.address("trickle", name)]

        def whole_or_absent():
            assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() == BODY
            (tmp_path / name).unlink(missing_ok=True)

        begun = time.monotonic()
        subprocess.run(command, check=True)
        took = time.monotonic() - begun
        whole_or_absent()
        until_killed(
            rng, kills, 0.2 * took, 0.8 * took, lambda seconds: killed_after(command, seconds), whole_or_absent
        )
        subprocess.run(command, check=True)
        assert (tmp_path / name).read_bytes() == BODY
