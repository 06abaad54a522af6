# Sourced by the other scripts: where things are, and how to run a command beside a server.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for the scripts that source this file
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Tools and the Docker engine's data live outside the checkout, so that every clone on a machine shares them.
export ML_CACHE_LAB="${ML_CACHE_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/ml-cache-lab}"
lab=$ML_CACHE_LAB
mkdir -p "$lab/bin"
# The image in which act runs jobs; scripts/runner-image makes it.
runner_image=local/runner:3
case ":$PATH:" in
  *":$lab/bin:"*) ;;
  *) export PATH="$lab/bin:$PATH" ;;
esac

# Builds the debug binary and prints where it is. There are no examples: naming them gives the dependencies the features
# that they have for the tests, so that they are not compiled twice.
debug_binary() {
  cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --bin ml-cache --examples >&2
  realpath "${CARGO_TARGET_DIR:-$root/target}/debug/ml-cache"
}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# needs NAME…: ends with one list of all programs that are missing and that no script here installs.
needs() {
  local name missing=''
  for name in "$@"; do
    command -v "$name" >/dev/null && continue
    case $name in
      cargo | clippy-driver | rustfmt) missing+="
  $name: install Rust from https://rustup.rs, with the profile \`default\`" ;;
      node | npm) missing+="
  $name: install Node.js from https://nodejs.org (on Debian: apt-get install nodejs npm)" ;;
      *) missing+="
  $name: install it (on Debian: apt-get install $name)" ;;
    esac
  done
  [ -z "$missing" ] || fail "programs are missing:$missing"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Prints N free ports P of loopback for which P + 10000 is free too, because SeaweedFS takes both.
# Both stay below 32768, where the kernel begins to hand ports to clients.
free_ports() {
  python3 - "$1" <<'PY'
import random
import socket
import sys


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


wanted = int(sys.argv[1])
found = []
for port in random.sample(range(12000, 22000), 10000):
    if len(found) == wanted:
        break
    if is_free(port) and is_free(port + 10000):
        found.append(port)
print(*found)
PY
}

# Runs a command and returns its exit code; INT and TERM reach the command and all that it started at once.
# Bash would otherwise look at a signal only after a foreground command has ended, and the caller's EXIT trap,
# which ends a server, would come too late. The command is a process group of its own to make that possible.
run_child() {
  local code=0 child
  setsid "$@" <&0 &
  child=$!
  # shellcheck disable=SC2064 # the id of this child, now
  trap "kill -TERM -- -$child 2>/dev/null || true" INT TERM
  # A trapped signal ends `wait` early, with the child still on its way out.
  while
    wait "$child" || code=$?
    kill -0 "$child" 2>/dev/null
  do
    code=0
  done
  trap - INT TERM
  return "$code"
}
