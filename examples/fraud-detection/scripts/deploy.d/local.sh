# The target `local` of scripts/deploy: server processes behind HAProxy.
# shellcheck shell=bash disable=SC2034,SC2154 # variables come from scripts/deploy, or go there
#
# An environment is a directory under DEPLOY_STATE:
#   releases/N/   a model, its pointer and the code that serves it; `order`; `port` and `pid` while it runs
#   stable, canary, previous   links to releases, which all run
#   first                      there was no version before what is stable
#   history.jsonl   what was deployed when; the releases of its last versions stay
#   share           the canary's percentage of the requests
#   haproxy.cfg, haproxy.pid
#   counts/         what versions had counted: stable and canary when this step began, and the version before the last promotion

PATH=$PATH:/usr/sbin # where Debian has haproxy
case ${1-} in
  status | stop | pointer | history) ;;
  *) command -v haproxy >/dev/null || fail 'HAProxy is not here (on Debian and Ubuntu: apt-get install haproxy)' ;;
esac

# At the end of a job, GitHub's runner kills every process whose environment has the job's RUNNER_TRACKING_ID. Servers
# and HAProxy are to outlive the job, so they are started without.

address() {
  case $1 in
    staging) echo "127.0.0.1:${STAGING_PORT:-8080}" ;;
    production) echo "127.0.0.1:${PRODUCTION_PORT:-8090}" ;;
  esac
}

# runs PID WORD: whether the process still is the one that was started, and not another one with its number.
runs() {
  [ -n "$1" ] && [ -r "/proc/$1/cmdline" ] && tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF -- "$2"
}

release_port() { cat "$1/port"; }
release_runs() { runs "$(cat "$1/pid" 2>/dev/null)" "$(readlink -f "$1")/src/serve.py"; }

# new_release ENVIRONMENT: copies model, code and pointer, and prints the directory.
new_release() {
  local releases=$state/$1/releases number release
  [ -f "$model/model.ubj" ] || fail "there is no model in \`$model\`"
  mkdir -p "$releases"
  number=$(find "$releases" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -1)
  release=$releases/$((${number:-0} + 1))
  mkdir "$release"
  cp -R "$model" "$release/models"
  cp -R src "$release/src"
  [ -z "$order" ] || echo "$order" >"$release/order"
  if [ -f "$pointer" ]; then
    cp "$pointer" "$release/pointer.json"
  elif [ -n "$pointer" ]; then
    printf '%s\n' "$pointer" >"$release/pointer.json"
  fi
  echo "$release"
}

deployed_order() { cat "$state/$1/stable/order" 2>/dev/null || true; }

# start_release DIR: starts the server, if it does not run, and waits until it is ready.
start_release() {
  local release server arguments=()
  release=$(readlink -f "$1")
  if release_runs "$release"; then return; fi
  rm -f "$release/port" # of a server that is gone
  [ ! -f "$release/pointer.json" ] || arguments=(--pointer "$release/pointer.json")
  # A session of its own, so that the server outlives the step that started it.
  env -u RUNNER_TRACKING_ID setsid "$python" "$release/src/serve.py" --model-dir "$release/models" --port 0 \
    --port-file "$release/port" "${arguments[@]}" >"$release/log" 2>&1 </dev/null &
  server=$!
  echo "$server" >"$release/pid"
  for _ in {1..300}; do
    # The server takes a free port itself: between a search for one and its start, somebody else could take it.
    if [ -s "$release/port" ] &&
      curl --silent --fail --output /dev/null "http://127.0.0.1:$(release_port "$release")/readyz"; then return; fi
    # By its number alone: a moment after its start, a process still has the name of this script.
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
  done
  tail -n 20 "$release/log" >&2
  say "release ${release##*/} does not become ready"
  return 1
}

stop_release() {
  if release_runs "$1"; then
    local pid
    pid=$(cat "$1/pid")
    kill "$pid"
    for _ in {1..100}; do
      release_runs "$1" || break
      sleep 0.1
    done
  fi
  rm -f "$1/pid" "$1/port"
}

remove_release() {
  stop_release "$1"
  rm -rf "$(readlink -f "$1")"
  [ ! -L "$1" ] || rm "$1"
}

# route ENVIRONMENT: makes HAProxy spread the requests over what is linked as stable and as canary.
route() {
  local directory=$state/$1 old weight name share
  {
    echo 'defaults'
    echo '  mode http'
    echo '  timeout connect 2s'
    echo '  timeout client 60s'
    echo '  timeout server 60s'
    # A busy server answers late, and is not down for that.
    echo '  timeout check 10s'
    echo "listen $1"
    echo "  bind $(address "$1")"
    echo '  balance roundrobin'
    echo '  option httpchk GET /readyz'
    share=$(cat "$directory/share" 2>/dev/null || echo 10)
    for name in "stable:$((100 - share))" "canary:$share"; do
      weight=${name#*:} name=${name%:*}
      [ ! -e "$directory/$name" ] ||
        echo "  server $name 127.0.0.1:$(release_port "$directory/$name") weight $weight check inter 1s"
    done
  } >"$directory/haproxy.cfg"
  old=$(cat "$directory/haproxy.pid" 2>/dev/null || true)
  runs "$old" "$directory/haproxy.cfg" || old=
  # -sf: the old process finishes its requests while the new one takes all others.
  env -u RUNNER_TRACKING_ID haproxy -D -f "$directory/haproxy.cfg" -p "$directory/haproxy.pid" ${old:+-sf "$old"}
  for _ in {1..150}; do
    if curl --silent --fail --output /dev/null "http://$(address "$1")/readyz"; then return; fi
    sleep 0.2
  done
  fail "the proxy of $1 does not answer at $(address "$1")"
}

stop_proxy() {
  local pid
  pid=$(cat "$1/haproxy.pid" 2>/dev/null || true)
  if runs "$pid" "$1/haproxy.cfg"; then kill "$pid"; fi
  rm -f "$1/haproxy.pid"
}

# link RELEASE NAME: in one rename, so that an interruption leaves the old link or the new one.
link() {
  ln -sfn "releases/$(basename "$(readlink -f "$1")")" "$2.new"
  mv -fT "$2.new" "$2"
}

# sweep ENVIRONMENT: removes every release that no link points to, and that nobody can go back to.
sweep() {
  local directory=$state/$1 release name used kept
  kept=$(read_history | "$python" src/deployments.py versions)
  for release in "$directory"/releases/*/; do
    [ -d "$release" ] || continue
    used=
    for name in stable canary previous; do
      [ "$(readlink -f "$directory/$name")" != "$(readlink -f "$release")" ] || used=$name
    done
    if [ -n "$used" ]; then continue; fi
    if grep -qxF "$(basename "$release")" <<<"$kept"; then stop_release "${release%/}"; else remove_release "${release%/}"; fi
  done
}

deploy_staging() {
  local directory=$state/staging release old=
  not_older staging
  release=$(new_release staging)
  start_release "$release" || {
    remove_release "$release"
    fail 'staging keeps what it served before'
  }
  [ ! -e "$directory/stable" ] || old=$(readlink -f "$directory/stable")
  link "$release" "$directory/stable"
  route staging
  [ -z "$old" ] || remove_release "$old"
  say "staging serves release ${release##*/} at http://$(address staging)"
}

# count NAME RELEASE: keeps what the release has counted so far; no release has counted nothing.
count() {
  local counts=$state/production/counts
  mkdir -p "$counts"
  rm -f "$counts/$1"
  [ ! -e "$2" ] || curl --silent --fail "http://127.0.0.1:$(release_port "$2")/metrics" >"$counts/$1"
}

read_history() { cat "$state/production/history.jsonl" 2>/dev/null || true; }

write_history() {
  printf '%s\n' "$1" >"$state/production/history.new"
  mv -f "$state/production/history.new" "$state/production/history.jsonl"
}

served_version() { basename "$(readlink -f "$state/production/stable")"; }

set_share() {
  local directory=$state/production
  [ -e "$directory/canary" ] || fail 'there is no canary'
  # Without a stable version it has all requests.
  [ -e "$directory/stable" ] || return 0
  count stable "$directory/stable"
  count canary "$directory/canary"
  echo "$1" >"$directory/share"
  route production
  say "the canary gets $1 % of the requests"
}

go_back() {
  local directory=$state/production release=$state/production/releases/$1
  [ -d "$release" ] || fail "the release $1 is no longer here"
  if [ -e "$directory/canary" ]; then
    say 'a canary was neither promoted nor rolled back; it ends now'
    take_back
  fi
  start_release "$release" || fail 'it does not start; production keeps what it served before'
  link "$release" "$directory/stable"
  route production
  rm -rf "$directory/previous" "$directory/first" "$directory/counts"
  sweep production
}

deploy_canary() {
  local directory=$state/production release
  if [ -e "$directory/canary" ]; then
    say 'an earlier canary was neither promoted nor rolled back; it ends now'
    take_back
  fi
  # From here on a rollback must not go behind what is stable now.
  rm -rf "$directory/previous" "$directory/first" "$directory/share" "$directory/counts"
  sweep production
  tell_before
  not_older production
  release=$(new_release production)
  start_release "$release" || {
    remove_release "$release"
    fail 'the canary never got a request'
  }
  if [ -e "$directory/stable" ]; then
    start_release "$directory/stable" || fail 'the stable version does not start'
    count stable "$directory/stable"
  else
    say 'the first version of production: as a canary it gets all requests'
  fi
  link "$release" "$directory/canary"
  route production
  say "production serves release ${release##*/} as canary at http://$(address production)"
}

deploy_promote() {
  local directory=$state/production
  [ -e "$directory/canary" ] || fail 'there is no canary to promote'
  # What it is compared with when it has all requests.
  count before "$directory/stable"
  count canary "$directory/canary"
  if [ -e "$directory/stable" ]; then
    # It runs on until the next canary: by then, the libraries that it was started with may have been replaced.
    link "$directory/stable" "$directory/previous"
  else
    touch "$directory/first"
  fi
  mv -fT "$directory/canary" "$directory/stable" # one rename: the release is canary or stable, never both
  route production
  record deploy "$reason"
  say "production serves release $(basename "$(readlink -f "$directory/stable")")"
}

# Makes production what it was before the last canary, as often as it is called and wherever that canary stopped.
take_back() {
  local directory=$state/production
  if [ -L "$directory/canary" ]; then
    # A promotion that did not come to its switch has linked `previous` to what still is stable.
    rm -f "$directory/canary" "$directory/previous" "$directory/first"
  elif [ -e "$directory/previous" ]; then
    start_release "$directory/previous" || fail 'the previous version does not start'
    mv -fT "$directory/previous" "$directory/stable"
    record rollback 'the deployment failed'
  elif [ -e "$directory/first" ]; then
    kept_first=true
  elif [ -e "$directory/stable" ]; then
    say 'production already is what it was before the last canary'
  fi
  if [ -e "$directory/stable" ]; then
    start_release "$directory/stable" || fail 'the stable version does not start'
    route production
    say "production serves release $(basename "$(readlink -f "$directory/stable")")"
  elif [ -d "$directory" ]; then
    stop_proxy "$directory"
  fi
  sweep production
}

stable_version() { readlink -e "$state/production/stable" || true; }
# In one line, as a step's output is.
deployed_pointer() { cat "$state/$1/stable/pointer.json" 2>/dev/null | tr -d '\n' || true; }

# metrics RELEASE: prints where the release tells what it has counted.
metrics() { [ ! -e "$1" ] || echo "http://127.0.0.1:$(release_port "$1")/metrics"; }

# run_against ENVIRONMENT COMMAND…
run_against() {
  local directory=$state/$1 counts=$state/$1/counts
  BASE_URL=http://$(address "$1") STABLE_SINCE='' CANARY_SINCE=''
  STABLE_METRICS=$(metrics "$directory/stable")
  CANARY_METRICS=$(metrics "$directory/canary")
  if [ -z "$CANARY_METRICS" ] && [ -e "$counts/canary" ]; then
    # The canary has become the stable version, and is compared with the version before.
    CANARY_METRICS=$STABLE_METRICS STABLE_METRICS=''
    [ ! -s "$counts/before" ] || STABLE_METRICS=$counts/before
  fi
  [ ! -s "$counts/stable" ] || STABLE_SINCE=$counts/stable
  [ ! -s "$counts/canary" ] || CANARY_SINCE=$counts/canary
  export BASE_URL STABLE_METRICS CANARY_METRICS STABLE_SINCE CANARY_SINCE
  shift
  "$@"
}

deploy_status() {
  local environment name release
  for environment in staging production; do
    for name in stable canary previous; do
      release=$state/$environment/$name
      [ -e "$release" ] || continue
      printf '%-10s %-8s release %s, %s: %s\n' "$environment" "$name" "$(basename "$(readlink -f "$release")")" \
        "$(if release_runs "$release"; then echo "port $(release_port "$release")"; else echo stopped; fi)" \
        "$(grep -o '"manifest" *: *{[^}]*}' "$release/pointer.json" 2>/dev/null | grep -o 'sha256:[0-9a-f]*' || echo unknown)"
    done
  done
}

deploy_stop() {
  local environment release
  for environment in staging production; do
    [ -d "$state/$environment" ] || continue
    stop_proxy "$state/$environment"
    for release in "$state/$environment"/releases/*/; do
      [ ! -d "$release" ] || stop_release "${release%/}"
    done
  done
}
