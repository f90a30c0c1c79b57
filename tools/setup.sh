#!/usr/bin/env bash
# Makes .venv with zmqim and everything that its tests need; called by `make setup`.
# Says which Debian packages are missing before it begins.
set -euo pipefail
cd "$(dirname "$0")/.."

python=""
for candidate in "${PYTHON:-python3.11}" python3 python3.12 python3.13; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done

missing=()
[ -n "$python" ] || missing+=(python3)
"${python:-false}" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v git >/dev/null || missing+=(git)
command -v make >/dev/null || missing+=(make)
if [ ${#missing[@]} -gt 0 ]; then
    echo "zmqim needs Python 3.11 or newer with venv, git and make. Missing here; install with:" >&2
    echo "    apt-get install -y ${missing[*]}" >&2
    exit 1
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "Installing zmqim and its libraries into .venv ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'; then
    echo "Installing failed. On a Python without a wheel of plyvel this builds LevelDB's binding:" >&2
    echo "    apt-get install -y build-essential python3-dev libleveldb-dev" >&2
    exit 1
fi

if [ -f tests/clients/package.json ]; then
    if command -v npm >/dev/null; then
        echo "Installing the JavaScript clients of the tests ..."
        (cd tests/clients && npm install --silent --no-audit --no-fund)
    else
        echo "Left out: the JavaScript clients in tests/clients need Node.js with npm:"
        echo "    apt-get install -y nodejs npm"
    fi
fi
if ! command -v fusermount3 >/dev/null; then
    echo "Left out: the tests of power cuts need FUSE:"
    echo "    apt-get install -y fuse3"
fi
if ! compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then
    echo "Left out: the test of a wall clock that jumps needs libfaketime:"
    echo "    apt-get install -y libfaketime"
fi
touch .venv/.installed
