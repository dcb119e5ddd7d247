"""The shell scripts, run by a real bash on copies, with a Python and a pip that only pretend."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
COPIED = (
    *("scripts/_bootstrap.sh", "scripts/run", "scripts/test", "scripts/check"),
    *("pyproject.toml", "constraints.txt"),
)
# All that the scripts may use, besides df, of a system without Python that is not Debian.
TOOLS = (
    *("awk", "bash", "cat", "chmod", "cksum", "cp", "dirname", "env", "grep", "head", "id"),
    *("mkdir", "mv", "rm", "sed", "tail", "uname"),
)

FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
    *version_info*) echo "${FAKE_VERSION:-3.12}" ;;
    *ensurepip*) exit "${FAKE_NO_VENV:-0}" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*)
        echo "$*" >>"$CALLS"
        echo "$FAKE_PIP_OUTPUT"
        [ -z "$FAKE_PIP_KILLED" ] || kill -KILL $$
        if [ -n "$FAKE_PIP_INTERRUPTED" ]; then trap "exit 1" INT; kill -INT 0; fi
        [ -z "$FAKE_PIP_OUTPUT" ] || exit 1
        cp "$FAKE_COMMAND" .venv/bin/rcnn-live
        for tool in ruff mypy lint-imports; do cp "$FAKE_TOOL" ".venv/bin/$tool"; done ;;
    *ximgproc*) [ -z "$FAKE_SMALL_CV2" ] ;;
    *"import cv2"*)
        if [ -n "$FAKE_CV2" ] && [ ! -e "$CALLS.apt" ]; then echo "$FAKE_CV2"; exit 1; fi ;;
    "-m pytest"*) printf '%s\\n' "$PWD" "$@" ;;
esac
"""
FAKE_COMMAND = """#!/usr/bin/env bash
printf '%s\\n' "$PWD" "$@"
"""
FAKE_TOOL = """#!/usr/bin/env bash
echo "ran ${0##*/} $*"
[ "${0##*/}" != "$FAKE_FAILING_TOOL" ]
"""


def write_program(path: Path, text: str) -> Path:
    """Writes a new file, never through a link to one of the system's own programs."""
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass
class Machine:
    """A checkout at ``repo`` on a machine whose programs are those in ``bin``.

    ``settings`` are environment variables, which tell the pretended programs how to behave.
    """

    repo: Path
    bin: Path
    settings: dict[str, str] = field(default_factory=dict)

    def script(
        self, *command: str, cwd: Path | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        name, *arguments = command
        return subprocess.run(
            ["bash", str(self.repo / "scripts" / name), *arguments],
            cwd=cwd or self.repo,
            env={**self.settings, **settings},
            capture_output=True,
            text=True,
            timeout=30,
            start_new_session=True,  # so that a pretended Ctrl-C stays in it
        )

    def calls(self) -> list[str]:
        log = Path(self.settings["CALLS"])
        return log.read_text().splitlines() if log.exists() else []

    def add(self, name: str, text: str) -> None:
        write_program(self.bin / name, text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    repo = tmp_path / "a checkout"
    for name in COPIED:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, repo / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"the tests need {tool}"
        (programs / tool).symlink_to(found)
    write_program(programs / "python3.12", FAKE_PYTHON)
    write_program(programs / "df", "#!/usr/bin/env bash\n" + df_output(free_gb=20))
    settings = {
        "PATH": str(programs),
        "HOME": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "FAKE_COMMAND": str(write_program(tmp_path / "fake_command", FAKE_COMMAND)),
        "FAKE_TOOL": str(write_program(tmp_path / "fake_tool", FAKE_TOOL)),
    }
    return Machine(repo, programs, settings)


def df_output(*, free_gb: int) -> str:
    free_kb = free_gb * 1024 * 1024
    return f"echo header\necho '/dev/disk 99999999 1 {free_kb} 1% /'\n"


def assert_one_sentence(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    for part in parts:
        assert part in last
    assert "Traceback" not in result.stderr


# --- Arguments ---


def test_arguments_and_working_directory_reach_the_command(
    machine: Machine, tmp_path: Path
) -> None:
    arguments = ["--max-frames", "150", "--record", "my demo.mp4", "", "a*b", "$HOME"]
    result = machine.script("run", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path), "run", *arguments]


def test_without_arguments_it_records_the_demo_and_says_so(
    machine: Machine, tmp_path: Path
) -> None:
    result = machine.script("run", cwd=tmp_path)
    options = ["--record", "rcnn-live-demo.mp4", "--summary", "rcnn-live-demo.json"]
    assert result.stdout.splitlines() == [str(tmp_path), "run", "demo", *options]
    assert f"{tmp_path}/rcnn-live-demo.mp4" in result.stderr
    assert "rcnn-live-demo.json" in result.stderr


def test_test_passes_arguments_to_pytest_in_the_repository(
    machine: Machine, tmp_path: Path
) -> None:
    result = machine.script("test", "-k", "queue and not slow", cwd=tmp_path)
    expected = [str(machine.repo), "-m", "pytest", "-k", "queue and not slow"]
    assert result.stdout.splitlines() == expected
    assert "will skip" in result.stderr  # no apt-get here


def test_check_runs_every_tool_and_fails_if_one_did(machine: Machine) -> None:
    result = machine.script("check", FAKE_FAILING_TOOL="mypy")
    ran = [line for line in result.stdout.splitlines() if line.startswith("ran ")]
    assert ran == ["ran ruff check", "ran ruff format --check", "ran mypy ", "ran lint-imports "]
    assert_one_sentence(result, "Failed: mypy")
    assert machine.script("check").returncode == 0


# --- Installing once ---


def test_a_second_call_installs_nothing(machine: Machine) -> None:
    machine.script("run", "one")
    assert len(machine.calls()) == 1
    assert "-c constraints.txt -e ." in machine.calls()[0]
    second = machine.script("run", "two")
    assert len(machine.calls()) == 1
    assert second.stderr == ""


def test_run_test_and_check_share_what_is_installed(machine: Machine) -> None:
    for name in ("run", "test", "check", "run", "test"):
        assert machine.script(name).returncode == 0
    assert [call.rsplit(" ", 1)[1] for call in machine.calls()] == [".[web]", ".[test,check]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_install_again(machine: Machine, name: str) -> None:
    machine.script("run")
    with (machine.repo / name).open("a") as file:
        file.write("# changed\n")
    machine.script("run")
    machine.script("run")
    assert len(machine.calls()) == 2


def test_a_moved_checkout_installs_again(machine: Machine, tmp_path: Path) -> None:
    machine.script("run")
    machine.repo = machine.repo.rename(tmp_path / "moved")
    result = machine.script("run", "x")
    assert result.stdout.splitlines() == [str(machine.repo), "run", "x"]
    assert len(machine.calls()) == 2


def test_another_python_installs_again(machine: Machine) -> None:
    machine.script("run")
    # A pretended Python says of itself what FAKE_VERSION says, also from inside .venv.
    machine.script("run", FAKE_VERSION="3.13")
    assert len(machine.calls()) == 2


def test_a_virtual_environment_of_the_users_own_is_left_alone(machine: Machine) -> None:
    (machine.repo / ".venv").mkdir()
    (machine.repo / ".venv" / "precious").touch()
    assert_one_sentence(machine.script("run"), ".venv was not made by this script")
    assert (machine.repo / ".venv" / "precious").exists()


# --- What can be missing ---


def test_no_python_is_a_sentence(machine: Machine) -> None:
    (machine.bin / "python3.12").unlink()
    assert_one_sentence(machine.script("run"), "No Python 3.11 to 3.14")


def test_an_old_python_is_not_taken(machine: Machine) -> None:
    (machine.bin / "python3.12").rename(machine.bin / "python3")
    assert_one_sentence(machine.script("run", FAKE_VERSION="3.9"), "No Python 3.11 to 3.14")


def test_python_from_the_environment_is_taken_or_refused(machine: Machine, tmp_path: Path) -> None:
    own = tmp_path / "my python"
    (machine.bin / "python3.12").rename(own)
    assert machine.script("run", PYTHON=str(own)).returncode == 0
    assert_one_sentence(machine.script("run", PYTHON="no-such-python"), "PYTHON=no-such-python")


def test_a_python_without_venv_names_the_package(machine: Machine) -> None:
    result = machine.script("run", FAKE_NO_VENV="1")
    assert_one_sentence(result, "python3.12-venv")
    assert not (machine.repo / ".venv").exists()


def test_a_full_disk_is_a_sentence(machine: Machine) -> None:
    machine.add("df", "#!/usr/bin/env bash\n" + df_output(free_gb=2))
    assert_one_sentence(machine.script("run"), "GB of free disk", "2 GB")
    assert not (machine.repo / ".venv").exists()


PIP_FAILURES: Mapping[str, tuple[str, str]] = {
    "network": (
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n"
        "ERROR: No matching distribution found for torch>=2.11",
        "the package index cannot be reached",
    ),
    "disk": ("ERROR: [Errno 28] No space left on device", "the disk is full"),
    "other": (
        "Collecting x\nERROR: No matching distribution found for x==9\nnote: a hint",
        "No matching distribution found for x==9",
    ),
}


@pytest.mark.parametrize("failure", PIP_FAILURES)
def test_a_failed_pip_is_a_sentence_and_the_next_call_tries_again(
    machine: Machine, failure: str
) -> None:
    output, cause = PIP_FAILURES[failure]
    assert_one_sentence(machine.script("run", FAKE_PIP_OUTPUT=output), cause, "install.log")
    assert machine.script("run").returncode == 0
    assert len(machine.calls()) == 2


def test_a_failed_update_keeps_the_virtual_environment(machine: Machine) -> None:
    machine.script("run")
    (machine.repo / ".venv" / "kept").touch()
    (machine.repo / "constraints.txt").write_text("")
    assert machine.script("run", FAKE_PIP_OUTPUT="ERROR: x").returncode == 1
    assert machine.script("run").returncode == 0
    assert (machine.repo / ".venv" / "kept").exists()


def test_after_a_killed_installation_nothing_is_believed(machine: Machine) -> None:
    assert_one_sentence(machine.script("run", FAKE_PIP_KILLED="1"), "was killed")
    (machine.repo / ".venv" / "half-installed").touch()
    assert machine.script("run").returncode == 0
    assert not (machine.repo / ".venv" / "half-installed").exists()
    assert len(machine.calls()) == 2


def test_an_interrupted_installation_says_so_and_is_begun_anew(machine: Machine) -> None:
    # What Ctrl-C does: the whole group gets the signal, pip cleans up and ends normally.
    assert_one_sentence(machine.script("run", FAKE_PIP_INTERRUPTED="1"), "Interrupted")
    (machine.repo / ".venv" / "half-installed").touch()
    assert machine.script("run").returncode == 0
    assert not (machine.repo / ".venv" / "half-installed").exists()


# --- OpenCV's libraries ---

NO_LIBGL = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
FAKE_APT = """#!/usr/bin/env bash
echo "apt-get $*" >>"$CALLS"
touch() { : >"$1"; }
case "$1" in install) touch "$CALLS.apt" ;; esac
"""


def fake_id(uid: int) -> str:
    return f"#!/usr/bin/env bash\necho {uid}\n"


def test_missing_libraries_are_named_where_there_is_no_apt(machine: Machine) -> None:
    assert_one_sentence(machine.script("run", FAKE_CV2=NO_LIBGL), "libGL.so.1", "libSM")
    # Only the import is tried again, not the installation.
    assert machine.script("run").returncode == 0
    assert len(machine.calls()) == 1


def test_missing_libraries_name_the_command_for_a_user(machine: Machine) -> None:
    machine.add("apt-get", FAKE_APT)
    machine.add("id", fake_id(1000))
    result = machine.script("run", FAKE_CV2=NO_LIBGL)
    assert_one_sentence(result, "sudo apt-get install -y libgl1 ")


def test_missing_libraries_are_installed_for_root(machine: Machine) -> None:
    machine.add("apt-get", FAKE_APT)
    machine.add("id", fake_id(0))
    result = machine.script("run", FAKE_CV2=NO_LIBGL)
    assert result.returncode == 0, result.stderr
    assert machine.calls()[1] == "apt-get update"
    assert "install -y --no-install-recommends libgl1" in machine.calls()[2]


def test_the_larger_opencv_is_put_back_over_the_smaller(machine: Machine) -> None:
    assert machine.script("test", FAKE_SMALL_CV2="yes").returncode == 0
    first, second = machine.calls()
    assert " -e " in first
    assert "--force-reinstall --no-deps opencv-contrib-python" in second
    assert "-c constraints.txt" in second
    assert machine.script("test", FAKE_SMALL_CV2="yes").returncode == 0
    assert len(machine.calls()) == 2


def test_another_import_error_is_shown(machine: Machine) -> None:
    result = machine.script("run", FAKE_CV2="ImportError: numpy is too old")
    assert_one_sentence(result, "OpenCV does not import", "numpy is too old")


# --- What the tests need ---


@pytest.mark.parametrize(("uid", "installs"), [(0, True), (1000, False)])
def test_test_installs_servers_for_root_alone(machine: Machine, uid: int, installs: bool) -> None:
    machine.add("apt-get", FAKE_APT)
    machine.add(
        "dpkg-query", '#!/usr/bin/env bash\n[ "${!#}" != xvfb ] && echo "install ok installed"\n'
    )
    machine.add("id", fake_id(uid))
    result = machine.script("test")
    assert result.returncode == 0, result.stderr
    installed = [call for call in machine.calls() if call.startswith("apt-get install")]
    assert bool(installed) is installs
    assert all(call.split()[4:] == ["xvfb"] for call in installed)
    assert ("will skip" in result.stderr) is not installs


# --- The files themselves ---


@pytest.mark.parametrize("name", [*COPIED[:4], ".ci/run"])
def test_scripts_are_valid_and_executable(name: str) -> None:
    path = REPO / name
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert os.access(path, os.X_OK) or name.endswith(".sh")


def test_every_package_is_listed_for_installation() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    present = {
        path.parent.relative_to(REPO).as_posix().replace("/", ".")
        for top in ("export", "models", "stream")
        for path in (REPO / top).rglob("*.py")
    }
    assert present == set(project["tool"]["setuptools"]["packages"])
