# shellcheck shell=bash
# Sourced by run, test and check, which call `bootstrap EXTRAS` or `bootstrap none`. It keeps .venv
# ready: a Python 3.11 to 3.14, this project in editable mode at the versions of constraints.txt,
# and an OpenCV that imports. Whatever is missing is said in one sentence on stderr, with exit
# status 1. Everything here works in bash 3.2, which is what macOS has.

REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd -P)
VENV=$REPO/.venv
LOG=$VENV/install.log
# What was done to .venv, a line a step: place and Python, checksum of the inputs, each set of
# extras, cv2. While pip works the file is not there: after an interruption nothing is believed.
STATE=$VENV/.installed

CV2_PACKAGES="libgl1 libglib2.0-0 libx11-6 libxcb1 libxext6 libsm6 libice6"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

bootstrap() {
    local extras=$1 inputs
    inputs=$(cat "$REPO/pyproject.toml" "$REPO/constraints.txt" | cksum)
    venv_is_sound || make_venv
    if ! did "inputs $inputs" || ! did "extras $extras"; then
        install_project "$extras" "$inputs"
    fi
    did cv2 || make_cv2_import
}

did() { grep -qxF -- "$1" "$STATE" 2>/dev/null; }

# --- The virtual environment ---

python_version() { "$1" -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# A virtual environment belongs to one place and one version of Python.
venv_line() { printf 'venv %s in %s\n' "$(python_version "$VENV/bin/python")" "$REPO"; }

venv_is_sound() {
    did "$(venv_line)" || return 1
    # $PYTHON asks for a Python; with another one inside, .venv is made anew.
    [ -z "${PYTHON:-}" ] || did "venv $(python_version "$PYTHON") in $REPO"
}

make_venv() {
    local python
    if [ -e "$VENV" ] && [ ! -e "$LOG" ]; then
        die "$VENV was not made by this script: move it away, then try again."
    fi
    python=$(find_python) || exit 1
    rm -rf "$VENV"  # first, since half an installation takes gigabytes
    require_disk
    mkdir "$VENV" && : >"$LOG"
    "$python" -m venv "$VENV" >>"$LOG" 2>&1 ||
        die "$python could not create $VENV: $(tail -n 1 "$LOG")"
    venv_line >"$STATE"
}

# Prints the newest Python that will do.
find_python() {
    local candidate without_venv=""
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.14 python3.13 python3.12 python3.11 python3
    fi
    for candidate in "$@"; do
        case $(python_version "$candidate") in 3.11 | 3.12 | 3.13 | 3.14) ;; *) continue ;; esac
        if "$candidate" -Ic 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then
        die "$without_venv cannot create virtual environments: install its venv module" \
            "(Debian, Ubuntu: apt-get install python$(python_version "$without_venv")-venv)," \
            "then try again."
    elif [ -n "${PYTHON:-}" ]; then
        die "PYTHON=$PYTHON is not a Python 3.11 to 3.14."
    fi
    die "No Python 3.11 to 3.14 is on the PATH: install one, or name one with" \
        "PYTHON=/path/to/python3 in front of this command."
}

# Most of it is PyTorch with its CUDA libraries, which macOS goes without. Linux ends at 6 GB and
# has 3 GB of downloads beside them for a while.
require_disk() {
    local needed=9 free
    if [ "$(uname -s)" = Darwin ]; then needed=3; fi
    free=$(df -Pk "$REPO" | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ "$free" -lt "$needed" ]; then
        die "The installation needs about $needed GB of free disk, and $REPO has $free GB."
    fi
}

# --- The packages ---

install_project() {
    local extras=$1 inputs=$2 venv requirement=. kept="" status=0
    if [ "$extras" != none ]; then requirement=".[$extras]"; fi
    if did "inputs $inputs"; then kept=$(grep '^extras ' "$STATE"); fi
    venv=$(venv_line)
    rm -f "$STATE"
    say "Installing into $VENV: this takes some minutes the first time."
    trap 'die "Interrupted: the next call starts the installation again."' INT TERM
    pip_install -e "$requirement" || status=$?
    if [ "$status" -ge 128 ]; then
        die "The installation was killed (status $status): the next call starts it again."
    elif [ "$status" != 0 ]; then
        printf '%s\n' "$venv" >"$STATE"  # pip took its own changes back
        die "The installation failed: $(pip_cause) (all of it: $LOG)"
    fi
    printf '%s\n' "$venv" "inputs $inputs" "extras none" "extras $extras" "$kept" >"$STATE.new"
    mv "$STATE.new" "$STATE"
    trap - INT TERM
}

# pip works on the disk that was measured, and leaves no copies on another: /tmp is often small.
pip_install() {
    local status=0
    mkdir -p "$VENV/tmp"
    (cd "$REPO" && TMPDIR=$VENV/tmp PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$VENV/bin/python" -m pip install --no-input --no-cache-dir \
        --progress-bar off -c constraints.txt "$@") >"$LOG" 2>&1 || status=$?
    rm -rf "$VENV/tmp"
    return "$status"
}

pip_cause() {
    local offline='NameResolutionError|NewConnectionError|ConnectTimeoutError|ReadTimeoutError'
    offline="$offline|Temporary failure in name resolution|Network is unreachable|ProxyError"
    if grep -q 'No space left on device' "$LOG"; then
        echo "the disk is full"
    elif tail -n 30 "$LOG" | grep -qE "$offline"; then
        echo "the package index cannot be reached; is there a network?"
    else
        grep -iE '^ *error: ' "$LOG" | tail -n 1 | sed 's/^ *//' | grep . || tail -n 1 "$LOG"
    fi
}

# --- What the system must bring along ---

make_cv2_import() {
    local problem
    if ! problem=$(cv2_problem); then
        case $problem in
            *"cannot open shared object file"*) install_cv2_libraries "$problem" ;;
            *) die "OpenCV does not import: $problem" ;;
        esac
    fi
    cv2_is_whole || pip_install --force-reinstall --no-deps opencv-contrib-python ||
        die "OpenCV's contrib modules could not be installed: $(pip_cause) (all of it: $LOG)"
    echo cv2 >>"$STATE"
}

# opencv-python, which other packages ask for, and opencv-contrib-python both bring a cv2: there is
# the one that was installed last. Fails if that is the smaller one though both are installed.
cv2_is_whole() {
    "$VENV/bin/python" -Ic 'from importlib.metadata import distributions
names = {found.metadata["Name"] for found in distributions()}
import cv2
raise SystemExit("opencv-contrib-python" in names and not hasattr(cv2, "ximgproc"))'
}

# Succeeds when cv2 imports; otherwise prints the reason.
cv2_problem() { "$VENV/bin/python" -Ic 'import cv2' 2>&1 | tail -n 1; }

install_cv2_libraries() {
    local problem=$1
    if ! command -v apt-get >/dev/null; then
        die "OpenCV lacks a system library ($problem): install libGL, glib 2, libX11, libxcb," \
            "libXext, libSM and libICE, then try again."
    elif [ "$(id -u)" != 0 ]; then
        die "OpenCV lacks a system library ($problem): run" \
            "'sudo apt-get install -y $CV2_PACKAGES', then try again."
    fi
    # shellcheck disable=SC2086  # a list of names
    apt_install $CV2_PACKAGES || die "apt-get could not install $CV2_PACKAGES (see $LOG)."
    problem=$(cv2_problem) || die "OpenCV still does not import: $problem"
}

apt_install() {
    say "Installing Debian packages: $*"
    {
        apt-get update &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
    } >>"$LOG" 2>&1
}
