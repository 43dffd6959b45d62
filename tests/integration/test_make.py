"""What a newcomer's first command does on machines that lack something, and what the build files promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# All that scripts/venv.sh uses of the system; interpreters are what each test gives.
TOOLS = ("sh", "dirname", "pwd", "cat", "cksum", "uname", "awk", "grep", "tail", "mkdir", "chmod")


class Machine:
    """A checkout and a PATH that holds nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.checkout = folder / "checkout"
        self.bin.mkdir()
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
            shutil.copy(ROOT / name, self.checkout)
        shutil.copy(ROOT / "scripts" / "venv.sh", self.checkout / "scripts")
        shutil.copytree(
            ROOT / "tests" / "acceptance", self.checkout / "tests" / "acceptance", ignore=_no_modules
        )
        shutil.copy(ROOT / "scripts" / "peers.sh", self.checkout / "scripts")
        for tool in (*TOOLS, "rm", "cp"):
            self.tool(tool)

    def tool(self, name: str) -> None:
        path = shutil.which(name)
        assert path, name
        (self.bin / name).symlink_to(path)

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def python(self, name: str, version: str, *, venv: bool = True, pip: str = "exit 0") -> None:
        """An interpreter as far as scripts/venv.sh asks it; `pip` is the shell code that pip is."""
        major, minor = version.split(".")
        new = (int(major), int(minor)) >= (3, 11)
        self.program(
            name,
            f"""case "$*" in
*'import sys; print'*) echo {version} ;;
*'version_info < (3, 11)'*) exit {0 if new else 1} ;;
*'import ensurepip'*) exit {0 if venv else 1} ;;
'-m venv'*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
'-m pip'*) echo "$*" >>calls; {pip} ;;
esac
""",
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.checkout,
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def venv(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "scripts/venv.sh", "run", **environment)

    def calls(self) -> list[str]:
        path = self.checkout / "calls"
        return path.read_text().splitlines() if path.exists() else []


def _no_modules(folder: str, names: list[str]) -> list[str]:
    return ["node_modules"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_no_python(machine: Machine) -> None:
    said = one_sentence(machine.venv())
    assert said.startswith("HookMQ needs Python 3.11 or later and found none: install it")


def test_an_old_python(machine: Machine) -> None:
    machine.python("python3", "3.9")
    said = one_sentence(machine.venv())
    assert said.startswith("HookMQ needs Python 3.11 or later and found only Python 3.9: install a newer one")


def test_no_venv_module(machine: Machine) -> None:
    machine.python("python3", "3.11", venv=False)
    said = one_sentence(machine.venv())
    assert said.startswith("Python 3.11 is here but not its venv module: install it")
    assert "`apt install python3-venv`" in said


def test_the_first_python_that_will_do(machine: Machine) -> None:
    machine.python("python3", "3.9")
    machine.python("python3.13", "3.13", venv=False)
    machine.python("python3.12", "3.12")
    machine.python("python3.11", "3.11")
    done = machine.venv()
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "Making .venv with Python 3.12")


def test_an_interpreter_of_ones_own(machine: Machine) -> None:
    machine.python("python3", "3.11")
    machine.python("mine", "3.14")
    assert machine.venv(PYTHON="mine").stderr.startswith("Making .venv with Python 3.14\n")


def test_the_lock_is_installed_once(machine: Machine) -> None:
    machine.python("python3", "3.11")
    assert machine.venv().returncode == 0
    build, packages, itself = machine.calls()
    assert "--require-hashes" in build
    assert "--require-hashes" in packages
    assert packages.endswith("-r requirements.lock")
    assert itself.endswith("-e .")
    tool = (machine.checkout / ".venv" / "build-tool.lock").read_text()
    assert re.findall(r"^(\S+?)==", tool, re.MULTILINE) == ["setuptools"]
    assert "--hash=sha256:" in tool

    again = machine.venv()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(machine.calls()) == 3

    with (machine.checkout / "requirements.lock").open("a") as lock:
        lock.write("# another version\n")
    assert machine.venv().returncode == 0
    assert len(machine.calls()) == 6


def test_an_environment_whose_interpreter_is_gone(machine: Machine) -> None:
    machine.python("python3", "3.11")
    assert machine.venv().returncode == 0
    (machine.checkout / ".venv" / "bin" / "python").unlink()
    done = machine.venv()
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "Making .venv with Python 3.11")


def test_no_network(machine: Machine) -> None:
    words = (
        "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError(: Failed to"
        " establish a new connection: [Errno -3] Temporary failure in name resolution)': /simple/x/"
    )
    error = "ERROR: No matching distribution found for setuptools==1"
    machine.python("python3", "3.11", pip=f'echo "{words}"; echo "{error}"; exit 1')
    done = machine.venv()
    assert done.returncode == 1
    assert done.stderr.splitlines()[2:] == [
        error,
        "The packages of requirements.lock could not be downloaded: is there a network? Without one, install"
        ' from a folder: docs/install.md, "A gateway with no internet".',
    ]
    assert '"A gateway' in done.stderr
    assert "## A gateway with no internet" in (ROOT / "docs" / "install.md").read_text()
    # Nothing counts as installed.
    assert not (machine.checkout / ".venv" / ".hookmq-run").exists()


def test_pips_own_errors_are_shown(machine: Machine) -> None:
    machine.python("python3", "3.11", pip="echo 'ERROR: the hashes do not match'; exit 1")
    done = machine.venv()
    assert done.returncode == 1
    assert "ERROR: the hashes do not match\n" in done.stderr
    assert "network" not in done.stderr


def test_peers_without_node(machine: Machine) -> None:
    done = machine.run("sh", "scripts/peers.sh")
    assert (done.returncode, done.stderr) == (0, "No node here: the tests with MQTT.js will be skipped.\n")
    assert machine.run("sh", "scripts/peers.sh", HOOKMQ_CI="1").returncode == 1


def test_peers_without_a_network(machine: Machine) -> None:
    machine.program("node", "exit 0")
    machine.program("npm", "echo 'npm error network' >&2; exit 1")
    done = machine.run("sh", "scripts/peers.sh")
    assert done.returncode == 0
    assert done.stderr.splitlines()[1:] == [
        "npm error network",
        "npm could not install MQTT.js: the tests with it will be skipped.",
    ]


def test_make_lists_its_commands(command: Callable[[str], str]) -> None:
    done = subprocess.run([command("make")], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^make (\S+) ", done.stdout, re.MULTILINE) == [
        *("run", "demo", "test", "test-long", "lint", "bench", "lock", "clean")
    ]


def test_make_run_starts_the_broker(command: Callable[[str], str]) -> None:
    done = subprocess.run(
        [command("make"), "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "sh scripts/venv.sh run" in done.stdout
    assert "-m bridge start --conf conf/nanomq.conf" in done.stdout
    assert (ROOT / "conf" / "nanomq.conf").is_file()


def test_make_clean_spares_the_store(command: Callable[[str], str]) -> None:
    done = subprocess.run(
        [command("make"), "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "rm -rf .venv" in done.stdout
    assert not re.search(r"\bdata\b", done.stdout)


@pytest.mark.parametrize(
    "script", [".ci/run", *(f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.sh"))]
)
def test_scripts_are_executable_and_parse(script: str, command: Callable[[str], str]) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = path.read_text().splitlines()[0].rpartition("/")[2]
    assert subprocess.run([command(shell), "-n", str(path)], check=False).returncode == 0


def locked(name: str) -> dict[str, str]:
    """Package and version, for each with hashes; one that differs by Python's version stands there twice."""
    return dict(_hashed(name))


def _hashed(name: str) -> list[tuple[str, str]]:
    pattern = r"^(\S+?)==(\S+)[^\n]*\\\n +--hash=sha256:"
    return re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)


def test_the_locks_hold_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, development = locked("requirements.lock"), locked("requirements-dev.lock")

    def names(wanted: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9_.-]", entry, maxsplit=1)[0].lower() for entry in wanted}

    groups = project["dependency-groups"]
    assert names(project["project"]["dependencies"]) | names(groups["build"]) <= set(runtime)
    assert names(groups["dev"]) <= set(development)
    # `make test` must not change what `make run` installed.
    assert runtime.items() <= development.items()
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert len(re.findall(r"^\S+==", text, re.MULTILINE)) == len(_hashed(name))
        assert not re.search(r"^--|://", text, re.MULTILINE)


def test_the_dockerfile_copies_what_exists() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    copied = []
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            copied += line.split()[1:-1]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(name == entry or name.startswith(f"{entry}/") for entry in allowed), name


def test_a_skip_is_a_failure_in_ci(tmp_path: Path) -> None:
    """HOOKMQ_CI=1, which .ci/run sets: skips of all kinds fail, expected failures do not."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_skips.py").write_text(
        "import pytest\n"
        "def test_needs(command): command('no-such-program')\n"
        "@pytest.mark.skip(reason='later')\ndef test_marked(): pass\n"
        "@pytest.mark.xfail(strict=True)\ndef test_expected(): assert False\n"
        "def test_fine(): pass\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")

    def run(path: Path, **environment: str) -> str:
        command = [*("-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path))]
        done = subprocess.run(
            [sys.executable, *command, str(path)],
            env={**{k: v for k, v in os.environ.items() if k != "HOOKMQ_CI"}, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    assert "1 passed, 3 skipped, 1 xfailed" in run(tmp_path)
    told = run(tmp_path / "test_skips.py", HOOKMQ_CI="1")
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in told
    assert "nothing may be skipped, but: Skipped: no-such-program is not installed here" in told
    assert "1 error" in run(tmp_path / "test_module.py", HOOKMQ_CI="1")
