# Sourced by the `run` of each case: a throw-away repository, workflows run in it by act, and what to expect of them.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=scripts/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lab.sh"

case_dir=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
case_name=${case_dir##*/}
work=$(mktemp -d)
log=$work/log
output=$work/output
bucket=e2e-$case_name-$$
runs=0
double=
double_process=
options=()

# shellcheck disable=SC2329 # called by the trap
cleanup() {
  local code=$?
  # Only a failure needs its log: a passing case is one line in the report.
  [ "$code" = 0 ] || [ ! -s "$log" ] || sed 's/^/    /' "$log" >&2
  [ -z "$double_process" ] || kill "$double_process" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# make_repository [OWNER/NAME [WORKFLOW]]: makes a repository with data and training code, whose workflow is a file of
# the case, and the case's empty bucket. It is the one that `commit` and `run_workflow` use from then on.
make_repository() {
  use_repository "${1:-acme/fraud-detection}"
  mkdir -p "$repo/.github/workflows"
  cp -R "$root/tests/e2e/fixture/." "$repo"
  cp "$case_dir/${2:-workflow.yml}" "$repo/.github/workflows/"
  begin_repository
}

# What makes files a repository, with an empty bucket.
begin_repository() {
  git -C "$repo" init --quiet --initial-branch=main
  git -C "$repo" remote add origin "https://github.com/$repository.git"
  commit "first commit"
  "$root/scripts/s3" ls "$bucket" >/dev/null 2>&1 || "$root/scripts/s3" mb "$bucket"
}

use_repository() {
  repository=$1
  repo=$work/repositories/$repository
}

commit() {
  git -C "$repo" add --all
  git -C "$repo" -c user.name=e2e -c user.email=e2e@localhost commit --quiet --message "$1"
}

# The product's actions and its workflow as a user's workflow names them, with the image under test in place of the published one.
install_actions() {
  local file
  for file in "$root"/action.yml "$root"/*/action.yml "$root/.github/workflows/ml-pipeline.yml"; do
    install -D -m 644 "$file" "$work/action/${file#"$root"/}"
  done
  find "$work/action" -name action.yml -exec sed -i "s#^\( *image:\).*#\1 docker://$ML_CACHE_E2E_IMAGE#" {} +
}

# The payload of an event of the default branch. act's own has none of these fields, and a run's trust is judged by them.
write_event() {
  local sha
  sha=$(git -C "$repo" rev-parse HEAD)
  cat >"$work/event.json" <<JSON
{
  "ref": "refs/heads/main",
  "after": "$sha",
  "repository": {
    "id": 4242, "full_name": "$repository", "default_branch": "main", "fork": false,
    "owner": {"id": 42, "login": "${repository%/*}"}
  },
  "head_commit": {"id": "$sha", "message": "$(git -C "$repo" log -1 --format=%s)"}${1:+, $1}
}
JSON
}

# pull_request NUMBER HEAD: the fields of an event of a pull request whose branch lies in the repository HEAD.
pull_request() {
  printf '"number": %s, "pull_request": {"number": %s, "head": {"ref": "topic", "repo": {"full_name": "%s"}},
    "base": {"ref": "main", "repo": {"full_name": "%s"}}}' "$1" "$1" "$2" "$repository"
}

# Starts the double of GitHub (tests/double). From then on it is the results service, the REST API and the OIDC
# issuer of every run, where there is only act's artifact server otherwise; `double=` goes back to that.
start_double() {
  PYTHONDONTWRITEBYTECODE=1 python3 "$root/tests/double/github.py" >"$work/double" </dev/null &
  double_process=$!
  until [ -s "$work/double" ]; do
    kill -0 "$double_process" 2>/dev/null || wrong "the double did not start"
    sleep 0.1
  done
  double=$(sed -E 's/.*"url": "([^"]*)".*/\1/' "$work/double")
}

# control WHAT JSON: asks something of the double itself.
control() {
  curl --silent --show-error --fail-with-body --data-binary "$2" "$double/_control/$1"
}

# What the double gives a job of the run, as NAME=VALUE lines.
start_run() {
  local event=$1 run=$2
  control state "{\"runs\": [{\"id\": $run, \"repository\": \"$repository\", \"event\": \"$event\",
    \"status\": \"in_progress\"}]}" >"$work/control"
  control runtime-token "{\"repository\": \"$repository\", \"run_id\": $run, \"permissions\": {\"id-token\": \"write\"}}" |
    python3 -c 'import json, sys; print(*("=".join(pair) for pair in json.load(sys.stdin)["env"].items()), sep="\n")'
}

end_run() {
  local run=$1 conclusion=success
  [ "$status" = 0 ] || conclusion=failure
  control state "{\"runs\": [{\"id\": $run, \"repository\": \"$repository\", \"status\": \"completed\",
    \"conclusion\": \"$conclusion\"}]}" >"$work/control"
}

# run_workflow EVENT [FIELDS]: runs the workflow as GitHub would for that event, whose payload has the FIELDS besides
# the usual ones; $status is the exit code, $run the number of the run. The array `options` is passed on to act.
run_workflow() {
  local event=$1 job=()
  runs=$((runs + 1))
  run=$((1000 + runs))
  [ -d "$work/action" ] || install_actions
  write_event "${2-}"
  # Each run has its numbers, without which act would call all of them the first. Port 9 of loopback refuses: it
  # stands for an API that is down, as act has none, so nothing under test can reach the real one.
  if [ -n "$double" ]; then
    mapfile -t job < <(start_run "$event" "$run")
  else
    job=("GITHUB_RUN_ID=$run" GITHUB_API_URL=http://127.0.0.1:9)
  fi
  status=0
  # A clean environment, because act reads settings from its own, among them the results service that it hands to jobs.
  run_child env -i PATH="$PATH" HOME="$work/home" DOCKER_HOST="${DOCKER_HOST-}" "${job[@]}" \
    act "$event" --directory "$repo" --eventpath "$work/event.json" --defaultbranch main --rm \
    --platform "ubuntu-latest=$runner_image" --pull=false --network host --container-daemon-socket - \
    --local-repository "org/ml-cache-action@v1=$work/action" \
    --container-options '--cpu-shares 64' \
    --env "GITHUB_RUN_NUMBER=$runs" --no-cache-server --artifact-server-path "$work/artifacts" --artifact-server-addr 127.0.0.1 \
    --artifact-server-port "$(free_ports 1)" "${job[@]/#/--env=}" \
    --var "BUCKET=$bucket" --var "ENDPOINT_URL=$AWS_ENDPOINT_URL" \
    --secret "AWS_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID" --secret "AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY" \
    "${options[@]}" >"$log" 2>&1 </dev/null || status=$?
  printed
  [ -z "$double" ] || end_run "$run"
}

# What steps printed, with their errors and warnings, and not the lines in which act repeats a step's script.
printed() {
  sed -nE 's/^\[[^]]*\] +(\||❗|🚧|❓) +//p' "$log" >"$output"
  install -D "$log" "$root/target/test-logs/runs/$case_name/$runs"
}

wrong() {
  printf '  %s, run %s: %s\n' "$case_name" "$runs" "$*" >&2
  exit 1
}

expect_success() { [ "$status" = 0 ] || wrong "the workflow failed with $status"; }
expect_failure() { [ "$status" != 0 ] || wrong "the workflow should have failed"; }
expect_output() { grep -qF -- "$1" "$output" || wrong "a step should print: $1"; }
expect_no_output() { ! grep -qF -- "$1" "$output" || wrong "no step should print: $1"; }

# expect_objects PREFIX COUNT
expect_objects() {
  local found
  found=$("$root/scripts/s3" ls "$bucket" "$1" | wc -l)
  [ "$found" = "$2" ] || wrong "expected $2 objects under $1, found $found"
}

# expect_same WHAT ONE OTHER: nothing is the same as nothing only by a mistake.
expect_same() { [ -n "$2" ] && [ "$2" = "$3" ] || wrong "$1 should be the same: ${2:-nothing} and ${3:-nothing}"; }

# Every object below a prefix with the digest of its content: equal texts mean that nothing was written there.
contents() {
  local key
  "$root/scripts/s3" ls "$bucket" "${1-}" | while read -r key; do
    printf '%s %s\n' "$("$root/scripts/s3" cat "$bucket" "$key" | sha256sum | cut -c1-64)" "$key"
  done
}

# pointer_of OWNER/NAME: the only pointer among the trusted ones of that namespace, as the store has it.
pointer_of() {
  local prefix=cache/v1/trusted/$1/fraud-detector/pointers/
  expect_objects "$prefix" 1
  "$root/scripts/s3" cat "$bucket" "$("$root/scripts/s3" ls "$bucket" "$prefix")"
}

# The only pointer that the last run uploaded, as it lies on act's server.
artifact_zip() {
  local found=("$work/artifacts/$run"/ml-cache-*/*.zip)
  [ ${#found[@]} = 1 ] && [ -f "${found[0]}" ] || wrong "expected one artifact, found ${found[*]}"
  echo "${found[0]}"
}

# The pointer in that artifact.
artifact() {
  python3 -c 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read("pointer.json").decode(), end="")' "$(artifact_zip)"
}

# expect_json JSON CONDITION: a condition in Python on the document `it`.
expect_json() {
  python3 -c 'import json, sys; it = json.loads(sys.argv[1]); sys.exit(not eval(sys.argv[2]))' "$1" "$2" ||
    wrong "expected $2 of $1"
}

# from_output LABEL: what a step printed after that label.
from_output() {
  sed -n "s/^$1//p" "$output"
}
