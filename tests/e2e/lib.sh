# Sourced by the `run` of each case: a throw-away repository, workflows run in it by act, and what to expect of them.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=scripts/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lab.sh"

case_dir=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
case_name=${case_dir##*/}
work=$(mktemp -d)
repo=$work/repository
log=$work/log
output=$work/output
bucket=e2e-$case_name
runs=0

# shellcheck disable=SC2329 # called by the trap
cleanup() {
  local code=$?
  # Only a failure needs its log: a passing case is one line in the report.
  [ "$code" = 0 ] || [ ! -s "$log" ] || sed 's/^/    /' "$log" >&2
  rm -rf "$work"
}
trap cleanup EXIT

# Makes the repository that the workflow belongs to, with its data and its training code, and an empty bucket.
make_repository() {
  mkdir -p "$repo/.github/workflows"
  cp -R "$root/tests/e2e/fixture/." "$repo"
  cp "$case_dir/workflow.yml" "$repo/.github/workflows/workflow.yml"
  git -C "$repo" init --quiet --initial-branch=main
  git -C "$repo" remote add origin https://github.com/acme/fraud-detection.git
  commit "first commit"
  "$root/scripts/s3" mb "$bucket"
}

commit() {
  git -C "$repo" add --all
  git -C "$repo" -c user.name=e2e -c user.email=e2e@localhost commit --quiet --message "$1"
}

# The product's actions as a user's workflow names them, with the image under test in place of the published one.
install_actions() {
  local file
  for file in "$root"/action.yml "$root"/*/action.yml; do
    install -D -m 644 "$file" "$work/action/${file#"$root"/}"
  done
  find "$work/action" -name action.yml -exec sed -i "s#^\( *image:\).*#\1 docker://$ML_CACHE_E2E_IMAGE#" {} +
}

# The event of a push to the default branch. act's own has none of these fields, and a run's trust is judged by them.
write_event() {
  local sha
  sha=$(git -C "$repo" rev-parse HEAD)
  cat >"$work/event.json" <<JSON
{
  "ref": "refs/heads/main",
  "after": "$sha",
  "repository": {
    "id": 4242, "full_name": "acme/fraud-detection", "default_branch": "main", "fork": false,
    "owner": {"id": 42, "login": "acme"}
  },
  "head_commit": {"id": "$sha", "message": "$(git -C "$repo" log -1 --format=%s)"}
}
JSON
}

# run_workflow EVENT: runs the workflow as GitHub would for that event; $status is its exit code.
run_workflow() {
  local event=$1
  runs=$((runs + 1))
  [ -d "$work/action" ] || install_actions
  write_event
  status=0
  # A clean environment, because act reads settings and tokens from its own. Port 9 of loopback refuses: it stands
  # for an API that is down, as act has none, so nothing under test can reach the real one. Each run has its number,
  # without which act would call all of them the first.
  run_child env -i PATH="$PATH" HOME="$work/home" DOCKER_HOST="${DOCKER_HOST-}" \
    act "$event" --directory "$repo" --eventpath "$work/event.json" --defaultbranch main --rm \
    --platform ubuntu-latest=local/runner:latest --pull=false --network host --container-daemon-socket - \
    --local-repository "org/ml-cache-action@v1=$work/action" \
    --no-cache-server --artifact-server-path "$work/artifacts" --artifact-server-addr 127.0.0.1 \
    --artifact-server-port "$(free_ports 1)" \
    --env "GITHUB_RUN_ID=$((1000 + runs))" --env GITHUB_API_URL=http://127.0.0.1:9 \
    --var "BUCKET=$bucket" --var "ENDPOINT_URL=$AWS_ENDPOINT_URL" \
    --secret "AWS_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID" --secret "AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY" \
    >"$log" 2>&1 </dev/null || status=$?
  # What steps printed, with their errors and warnings, and not the lines in which act repeats a step's script.
  sed -nE 's/^\[[^]]*\] +(\||❗|🚧) +//p' "$log" >"$output"
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

# from_output LABEL: what a step printed after that label.
from_output() {
  sed -n "s/^$1//p" "$output"
}
