"""The commands of docs/install.md for a machine without a network, run for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def names(folder: Path) -> set[str]:
    """The files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(300)
def test_install_from_a_folder(tmp_path: Path) -> None:
    """`pip download`, `pip wheel`, then `pip install --no-index` in an environment that is new."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "bridge", checkout / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip")
    done = run(
        *(*pip, "download", "--quiet", "--no-deps", "-r", "requirements.lock", "-d", "wheels"), cwd=checkout
    )
    if done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr[-300:]}")
    source = next((checkout / "wheels").glob("pyhocon-*.tar.gz"))
    done = run(*pip, "wheel", "--quiet", "--no-deps", "-w", "wheels", ".", source, cwd=checkout)
    assert done.returncode == 0, done.stderr

    # From here on nothing may ask the network: no index, and no settings of this machine.
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "1"}
    offline["PIP_NO_COMPILE"] = "1"  # all dependencies to bytecode: ten seconds that show nothing
    place = tmp_path / "gateway"
    assert run(sys.executable, "-m", "venv", place, cwd=tmp_path).returncode == 0
    done = run(
        *(
            place / "bin" / "pip",
            "install",
            "--quiet",
            "--no-index",
            "--find-links",
            checkout / "wheels",
            "hookmq",
        ),
        cwd=tmp_path,
        **offline,
    )
    assert done.returncode == 0, done.stderr
    hookmq = place / "bin" / "hookmq"
    assert run(hookmq, "version", cwd=tmp_path).stdout.startswith("hookmq ")
    done = run(hookmq, "check", "--conf", ROOT / "conf" / "nanomq.conf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    installed = run(
        place / "bin" / "python", "-c", "import bridge; print(bridge.__file__)", cwd=tmp_path
    ).stdout
    assert installed.startswith(str(place))
    package = Path(installed.strip()).parent
    assert (package / "py.typed").is_file()
    pages = Path("admin", "dashboard", "static")
    assert names(package / pages) == names(ROOT / "bridge" / pages) != set()
    assert "Apache License" in next(place.rglob("hookmq-*.dist-info/licenses/LICENSE")).read_text()
