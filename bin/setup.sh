# Sourced by the commands beside it: everything that a fresh Debian machine lacks, quick when nothing is to do.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { printf '%s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        say "This needs root or sudo: $*"
        exit 1
    fi
}

# Debian packages that are not installed yet: debian_packages NAME...
debian_packages() {
    local name missing=()
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    if [ ${#missing[@]} = 0 ]; then return; fi
    say "Installing from Debian: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! { as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2
        say "The Debian packages could not be installed: ${missing[*]}"
        exit 1
    fi
    rm -f "$log"
}

# A virtual environment with the project in it, editable: virtual_environment EXTRAS ("" or "[test]").
virtual_environment() {
    local extras=$1 stamp
    exec 9>"$root/.setup.lock"
    flock 9 # two commands started at once set up one after the other
    stamp=$(cat "$root/setup.py" "$root/pyproject.toml" "$root/twisted/plugins/logui_tap.py" | sha256sum | cut -c1-32)
    if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
        command -v python3 >/dev/null || debian_packages python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || debian_packages python3-venv
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            say "Python 3.11 or later is needed; this is $(python3 --version)."
            exit 1
        }
        say "Making a virtual environment in $venv"
        rm -rf "$venv"
        python3 -m venv "$venv"
    fi
    if [ "$(cat "$venv/stamp$extras" 2>/dev/null)" != "$stamp" ]; then
        say "Installing logui-tx$extras"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$extras"
        # Twisted finds its plugins by a cache: made now, by the one who may write here.
        "$venv/bin/python" -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
        # Who has the extras has the project: bin/serve does not install it anew in the midst of bin/test.
        printf '%s\n' "$stamp" >"$venv/stamp"
        printf '%s\n' "$stamp" >"$venv/stamp$extras"
    fi
    exec 9>&-
}
