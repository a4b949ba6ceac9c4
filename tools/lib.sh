# Shared by the scripts of this folder; source it.

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }

root() { cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd; }

# The folder for what tests download and build once; outlives `make clean`.
test_cache() { echo "${PILOTHOUSE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pilothouse-test}"; }

# Installs the Debian packages that are missing. Asks first when there is a terminal to ask on.
need_packages() {
    if [ "$(uname)" = Darwin ]; then
        return 0
    fi
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian or Ubuntu; these packages (or their like) are needed: $*" >&2
        return 0
    fi
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "Missing packages; install them as root: apt-get install ${missing[*]}" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    if [ -t 0 ] && [ -z "${CI:-}" ]; then
        read -r -p "Install ${missing[*]} with apt? [Y/n] " answer
        case "$answer" in [nN]*) return 1 ;; esac
    fi
    say "Installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Tools that no package of ours can bring.
need_commands() {
    local missing=() command
    for command in "$@"; do
        command -v "$command" >/dev/null || missing+=("$command")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "Missing: ${missing[*]}. Rust comes by rustup, Node 20 or later and Go by your system or their sites." >&2
    return 1
}

# Installs the web UI's packages and builds it, each only when something has changed.
build_ui() {
    local stamp=node_modules/.installed
    if [ ! -f "$stamp" ] || [ package-lock.json -nt "$stamp" ]; then
        say "Installing the web UI's packages"
        npm ci --no-audit --no-fund --loglevel=error
        touch "$stamp"
    fi
    if [ ! -f ui/dist/index.html ] || [ -n "$(find ui package-lock.json -newer ui/dist/index.html -not -path 'ui/dist/*' -type f -print -quit)" ]; then
        say "Building the web UI"
        npm run --silent build >/dev/null
        touch ui/dist/index.html
    fi
}

# What the tray app needs to be built.
WINDOW_PACKAGES=(build-essential pkg-config libwebkit2gtk-4.1-dev libayatana-appindicator3-dev librsvg2-dev)

# So many ports of this machine that nobody holds, in a line. They lie below those that the system hands out by itself: one of these
# might be somebody else's before it is used, Pilothouse's own door first of all.
free_ports() {
    python3 -c '
import random, socket, sys
free = []
while len(free) < int(sys.argv[1]):
    port = random.randrange(15000, 32000)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) and port not in free:
            free.append(port)
print(*free)' "$1"
}

# A `pilothouse serve` of $program that lives in $home, one at a time: begin_serving LOG, then what it is at by served KEY, and at the
# end end_serving FOLDER, which keeps its logs there, removes $home and fails where a process of it is left.
begin_serving() {
    "$program" serve >"$home/serve.out" 2>"$1" &
    engine=$!
    for _ in $(seq 300); do
        [ -s "$home/serve.out" ] && return 0
        kill -0 "$engine" || return 1
        sleep 0.1
    done
    echo "pilothouse serve says nothing: $1" >&2
    return 1
}

# served KEY: one of "url" and "gateway".
served() { python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1" <"$home/serve.out"; }

end_serving() {
    local left=0
    if [ -n "${engine:-}" ]; then
        kill -TERM "$engine" 2>/dev/null || true
        wait "$engine" || true
    fi
    cp -r "$home/logs" "$1" 2>/dev/null || true
    if pgrep -f "$home" >/dev/null; then
        echo "left behind:" >&2
        pgrep -af "$home" >&2
        left=1
    fi
    rm -rf "$home"
    return "$left"
}
