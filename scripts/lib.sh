# What the launcher and the tests share: find the project, say what is missing, install and build once.
# shellcheck shell=sh
# Sourced, with $root set to the project directory. Everything is said on stderr, so that --json stays clean.

say() { printf 'vreserve: %s\n' "$*" >&2; }

# One line for a thing that is missing; the caller goes on, so that all of them are seen at once.
missing=0
lacks() {
  say "missing: $*"
  missing=1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Sets node_major.
check_node() {
  node_version=$(node --version 2>/dev/null) || node_version=''
  node_major=${node_version#v}
  node_minor=${node_major#*.}
  node_major=${node_major%%.*}
  node_minor=${node_minor%%.*}
  if [ -z "$node_version" ]; then
    lacks "Node.js 20.19 or later (command node). Get it from nodejs.org, or your distribution's package nodejs."
  elif [ "$node_major" -lt 20 ] || { [ "$node_major" -eq 20 ] && [ "$node_minor" -lt 19 ]; }; then
    lacks "Node.js 20.19 or later; this is $node_version. Get it from nodejs.org, or your distribution's package nodejs."
  fi
}

# A mount needs the device, and somebody who may mount.
check_fuse() {
  if [ ! -e /dev/fuse ]; then
    lacks "/dev/fuse. Load the kernel module (modprobe fuse), or start the container with --device /dev/fuse."
  elif [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
    lacks "the right to open /dev/fuse. As root: chmod 666 /dev/fuse, which is its usual mode; or run as root."
  fi
  if [ "$(id -u)" != 0 ] && ! have fusermount3; then
    lacks "fusermount3, which an ordinary user needs to mount. Install the package fuse3 (apt install fuse3), or run as root."
  fi
}

check_toolchain() {
  have npm || lacks "npm, which comes with Node.js (apt install npm, or the packages of nodejs.org)."
  have g++ || have c++ || have clang++ || { [ -n "${CXX:-}" ] && have "$CXX"; } ||
    lacks "a C++20 compiler (command g++). apt install g++, or dnf install gcc-c++."
  have make || lacks "make. apt install make, or dnf install make."
  have python3 || lacks "python3, which node-gyp needs. apt install python3, or dnf install python3."
}

# is_stale STAMP FIND-ARGUMENTS…: does find see anything that is newer than the stamp?
is_stale() {
  stamp=$1
  shift
  [ -e "$stamp" ] || return 0
  [ -n "$(find "$@" -newer "$stamp" -print -quit 2>/dev/null)" ]
}

# A clone has package-lock.json; installed from npm there is none, and npm has seen to the packages.
stale_packages() {
  [ -f "$root/package-lock.json" ] || return 1
  [ -d "$root/node_modules" ] || return 0
  [ "$(cat "$root/build/.packages" 2>/dev/null)" != "$(packages_key)" ]
}
packages_key() { printf '%s node %s' "$(cksum <"$root/package-lock.json")" "$node_major"; }

# A changed directory time tells of files that are gone. What lies deeper is built by nobody but the native tests.
stale_native() {
  [ -e "$root/native/build/Release/vreserve.node" ] || return 0
  is_stale "$root/build/.native" "$root/native" -maxdepth 1 \
    \( -path "$root/native" -o -name '*.cc' -o -name '*.h' -o -name binding.gyp \)
}

# stale_sources STAMP DIRECTORY…
stale_sources() {
  [ -f "$root/tsconfig.json" ] || return 1
  [ -e "$root/build/src/cli/main.js" ] || return 0
  sources_stamp=$1
  shift
  is_stale "$sources_stamp" "$@" "$root/tsconfig.json" "$root/tsconfig.src.json" \( -type d -o -name '*.ts' -o -name 'tsconfig*.json' \)
}
stale_typescript() { stale_sources "$root/build/.typescript" "$root/src"; }

# with_tests=1: the tests are built too. What is wrong with a test stops no user.
with_tests=0
stale_tests() { [ "$with_tests" = 1 ] && stale_sources "$root/build/.tests" "$root/src" "$root/test"; }

is_built() { ! stale_packages && ! stale_native && ! stale_typescript && ! stale_tests; }

# step TEXT COMMAND…: runs it with its output in the log; says what it does, how long it took, and on failure what it said.
step() {
  step_text=$1
  shift
  step_start=$(date +%s)
  step_ticker=''
  printf '== %s: %s\n' "$step_text" "$*" >>"$build_log"
  step_line=$(($(wc -l <"$build_log") + 1))
  if [ -t 2 ]; then
    (while :; do
      printf '\rvreserve: %s … %s s' "$step_text" $(($(date +%s) - step_start)) >&2
      sleep 1
    done) 9>&- &
    step_ticker=$!
  else
    printf 'vreserve: %s … ' "$step_text" >&2
  fi
  step_rc=0
  "$@" >>"$build_log" 2>&1 </dev/null 9>&- || step_rc=$?
  if [ -n "$step_ticker" ]; then
    kill "$step_ticker" 2>/dev/null
    wait "$step_ticker" 2>/dev/null || :
    printf '\rvreserve: %s … ' "$step_text" >&2
  fi
  if [ "$step_rc" -eq 0 ]; then
    printf 'done in %s s\n' $(($(date +%s) - step_start)) >&2
    return 0
  fi
  printf 'failed after %s s\n' $(($(date +%s) - step_start)) >&2
  say "it said (all of it is in ${build_log#"$root"/}):"
  tail -n "+$step_line" "$build_log" | grep -v '^npm warn' >"$build_log.part"
  # The cause is at the beginning with some tools and at the end with others.
  if [ "$(wc -l <"$build_log.part")" -le 50 ]; then
    sed 's/^/    /' "$build_log.part" >&2
  else
    { head -n 15 "$build_log.part"; echo '...'; tail -n 30 "$build_log.part"; } | sed 's/^/    /' >&2
  fi
  rm -f "$build_log.part"
  exit 1
}

# Packages that somebody has installed already (npm install while developing) are taken as they are.
packages_are_good() {
  [ -d "$root/node_modules" ] && npm ls --all >>"$build_log" 2>&1 &&
    node -e 'new (require("better-sqlite3"))(":memory:")' >>"$build_log" 2>&1
}

install_packages() {
  packages_are_good || step "packages (npm ci; SQLite is compiled, about two minutes)" npm ci --no-audit --no-fund
  packages_key >"$root/build/.packages"
}

build_native() {
  mkdir -p "$root/native/build"
  : >"$root/build/.native.new"
  step "native engine (C++)" npm run --silent build:native
  mv "$root/build/.native.new" "$root/build/.native"
}

# What tsc made of a source that is gone would still be run as a test.
drop_orphans() {
  find build/src build/test -name '*.js' 2>/dev/null | while IFS= read -r made; do
    source=${made#build/}
    [ -e "${source%.js}.ts" ] || rm -f "$made" "$made.map" "${made%.js}.d.ts"
  done
}

# compile TEXT SCRIPT STAMP NOTES
compile() {
  : >"$3.new"
  # tsc would take its notes for the truth, were the output gone.
  [ -e "$root/build/src/cli/main.js" ] || rm -f "$4"
  step "$1" npm run --silent "$2"
  drop_orphans
  mv "$3.new" "$3"
}
build_typescript() {
  compile "command line (TypeScript)" build "$root/build/.typescript" "$root/build/tsconfig.src.tsbuildinfo"
}
build_tests() {
  compile "tests (TypeScript)" build:tests "$root/build/.tests" "$root/build/tsconfig.tsbuildinfo"
}

# Installs and builds what is not there or older than its source. One at a time; the second one finds it done.
ensure_built() {
  is_built && return 0
  check_toolchain
  case $root in
    *[[:space:]]*)
      say "the path of the project has a blank in it ($root), which make cannot build in: move it."
      missing=1
      ;;
  esac
  if ! mkdir -p "$root/build" 2>/dev/null || [ ! -w "$root/build" ] || [ ! -w "$root/native" ]; then
    say "not built yet, and $root cannot be written to: run vreserve once as its owner."
    missing=1
  fi
  [ "$missing" -eq 0 ] || exit 1
  # node-gyp otherwise fetches the headers of Node.js, which most installations already have.
  if [ -z "${npm_config_nodedir:-}" ]; then
    node_prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
    if [ -f "$node_prefix/include/node/node_version.h" ]; then
      npm_config_nodedir=$node_prefix
      export npm_config_nodedir
    fi
  fi
  build_log=$root/build/build.log
  exec 9>"$root/build/.lock"
  if have flock && ! flock -n 9; then
    say "another start is building; waiting for it"
    flock 9
  fi
  if ! is_built; then
    : >"$build_log"
    cd "$root" || exit 1
    if stale_packages; then install_packages; fi
    if stale_native; then build_native; fi
    if stale_typescript; then build_typescript; fi
    if stale_tests; then build_tests; fi
    cd "$start_dir" || exit 1
  fi
  exec 9>&-
}
