# Sourced by the cases that run the example's pipeline: a copy of the example, and questions to what it deployed.
# shellcheck shell=bash disable=SC2034,SC2154 # variables come from tests/e2e/lib.sh, and are read there

# Python's environments and packages stay for the next run; deployments are of the case alone.
pipeline=$lab/pipeline
pointers=cache/v1/trusted/acme/fraud-detection/fraud-detector/pointers/
deployments=$work/deployments
mkdir -p "$pipeline" "$deployments"

say() { printf '  %s, %s s: %s\n' "$case_name" "$SECONDS" "$*"; }

# Every run has a fresh checkout, and mypy would look at all libraries again; it takes what it knows by their content.
# Threads that wait for work in a loop take the processors from the cases beside this one.
settings=(--env MYPY_CACHE_DIR=/pipeline/mypy --env OMP_WAIT_POLICY=passive)

# What the README of the example asks to be set, and actions that cannot be fetched here.
make_example() {
  local actions=$root/tests/e2e/stand-ins
  use_repository acme/fraud-detection
  mkdir -p "$repo"
  # As a user copies it: the files that git knows, and not what was made among them.
  git -C "$root/examples/fraud-detection" ls-files -z --cached --others --exclude-standard |
    tar -C "$root/examples/fraud-detection" --null --files-from=- -c | tar -C "$repo" -x
  begin_repository
  # On a fresh runner, a job has only what it installs. The environment of the other case stays.
  find "$pipeline/venv" -mindepth 1 -maxdepth 1 ! -name gates -exec rm -rf {} + 2>/dev/null || true
  # Where scripts/run-act keeps these; all runs of the case have the same.
  mkdir "$repo/.act"
  ln -s "$pipeline" "$repo/.act/pipeline"
  ln -s "$deployments" "$repo/.act/deployments"
  options=(
    --workflows .github/workflows/ml-pipeline.yml
    --var "ML_CACHE_STORE=s3://$bucket/cache" --var "S3_ENDPOINT_URL=$AWS_ENDPOINT_URL" --var AWS_REGION=us-east-1
    --var TRAFFIC=replay --var CANARY_MINUTES=0.05 --var CANARY_THRESHOLD=0.05 # 40 requests are enough to judge a canary
    --var DEPLOY_TARGET=local --var DEPLOY_STATE=/deployments
    --var MLFLOW_TRACKING_URI=sqlite:////deployments/mlflow.db
    --local-repository "actions/setup-python@$(pinned setup-python)=$actions/setup-python"
    --local-repository "actions/upload-artifact@$(pinned upload-artifact)=$actions/upload-artifact"
    --container-options "-v $pipeline:/pipeline -v $deployments:/deployments -v $root/tests/double:/opt/double:ro
      -v $lab/double:/opt/modules:ro -v $case_dir/interrupt:/interrupt:ro"
    "${settings[@]}" --env ARTIFACT_MODULES=/opt/modules --env NODE_OPTIONS=--experimental-global-webcrypto
  )
}

# run_act EVENT: runs the workflow as the example's README tells somebody whose machine cannot reach github.com.
run_act() {
  runs=$((runs + 1))
  status=0
  run_child env -i PATH="$PATH" HOME="$work/home" DOCKER_HOST="${DOCKER_HOST-}" JOB_IMAGE="$runner_image" OFFLINE=1 \
    ML_CACHE_ACTION="$root" ML_CACHE_IMAGE="$ML_CACHE_E2E_IMAGE" ML_CACHE_STORE="s3://$bucket/cache" \
    S3_ENDPOINT_URL="$AWS_ENDPOINT_URL" AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY" \
    "$repo/scripts/run-act" "$1" "${settings[@]}" >"$log" 2>&1 </dev/null || status=$?
  printed
}

# fewer_checks: commits that no types are checked and no drift is drawn, which an earlier run has shown.
fewer_checks() {
  local workflow=$repo/.github/workflows/ml-pipeline.yml
  sed -i "s/run: mypy$/run: 'true'/; s# --plot reports/drift.png##" "$workflow"
  ! grep -q -e "run: mypy" -e "--plot" "$workflow" || wrong "the workflow has other checks"
  commit "Fewer checks"
}

# hurry NAME…: commits that only these unit tests run. A busy machine is no fault of a canary, so its latency is left to other
# tests.
hurry() {
  local files
  files=$(printf '"tests/unit/test_%s.py", ' "$@")
  sed -i -E "s#^testpaths = .*#testpaths = [${files%, }]#; s/^fail_under = .*/fail_under = 0/" "$repo/pyproject.toml"
  sed -i "s/^arguments=(/&--latency-slack 5 /" "$repo/scripts/judge-canary"
  grep -q -- "--latency-slack 5" "$repo/scripts/judge-canary" || wrong "the canary's judge has other arguments"
  commit "In a hurry: $*"
}

# pinned ACTION: the commit by which the workflow names the action.
pinned() { sed -nE "s#.*uses: actions/$1@([0-9a-f]{40}).*#\1#p" "$repo/.github/workflows/ml-pipeline.yml" | head -1; }

manifest() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])["manifest"]["digest"])' "$1"; }

# The trusted pointer that was written last.
newest_pointer() {
  local key
  "$root/scripts/s3" ls "$bucket" "$pointers" |
    while read -r key; do "$root/scripts/s3" cat "$bucket" "$key" && echo; done |
    python3 -c 'import json, sys; print(max(sys.stdin, key=lambda line: json.loads(line)["created_at"]), end="")'
}

# ask ENVIRONMENT: starts what it was left as; $served is its model, and $answer its score of a payment.
ask() {
  local said
  said=$(docker run --rm --network host --volume "$pipeline:/pipeline:ro" --volume "$deployments:/deployments" \
    --volume "$case_dir/ask.sh:/ask.sh:ro" "$runner_image" bash /ask.sh "$1")
  { read -r served && read -r answer; } <<<"$said"
}

# age DAYS POINTER: makes a trusted pointer older, as if nothing had happened since.
age() {
  local key
  key=$pointers$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["fingerprint"].split(":")[1])' "$2").json
  "$root/scripts/s3" cat "$bucket" "$key" | python3 -c '
import datetime, json, sys
text = sys.stdin.read()
created = json.loads(text)["created_at"]
then = datetime.datetime.fromisoformat(created) - datetime.timedelta(days=int(sys.argv[1]))
assert text.count(created) == 1
print(text.replace(created, then.strftime("%Y-%m-%dT%H:%M:%SZ")), end="")' "$1" >"$work/older.json"
  "$root/scripts/s3" put "$bucket" "$key" "$work/older.json"
}

# run_until JOB EVENT [FIELDS]: runs a job and those that it needs, and nothing after it.
run_until() {
  local all=("${options[@]}")
  options+=(--job "$1")
  run_workflow "${@:2}"
  options=("${all[@]}")
}

# begun JOB: the job of that name began, in the workflow or in the one that its job "Deploy" calls.
begun() { grep -qF -e "[ml-pipeline/$1" -e "[Deploy/deploy/$1" "$log"; }

# expect_begun JOB: the job of that name began.
expect_begun() { begun "$1" || wrong "the job should begin: $1"; }

# expect_not_begun JOB: the job of that name did not begin.
expect_not_begun() { ! begun "$1" || wrong "the job should not begin: $1"; }

# expect_served POINTER [ANSWER]: production answers with that pointer's model, and as before.
expect_served() {
  ask production
  expect_same "the model in production" "$served" "$(manifest "$1")"
  [ $# = 1 ] || expect_same "the answer" "$answer" "$2"
}

# expect_unchanged POINTERS SERVED ANSWER: neither the store's pointers nor production have changed.
expect_unchanged() {
  expect_same "the pointers" "$(contents "$pointers")" "$1"
  expect_served "$2" "$3"
}

# What the model registry says: the manifest in the tags of every version, and of the version that each alias names.
registry() {
  docker run --rm --network none --volume "$pipeline:/pipeline:ro" --volume "$deployments:/deployments" \
    "$runner_image" /pipeline/venv/train-model/bin/python -c "
import json, mlflow
client, name = mlflow.MlflowClient('sqlite:////deployments/mlflow.db'), 'fraud-detector'
versions = {v.version: v.tags['ml-cache.manifest'] for v in client.search_model_versions(f\"name = '{name}'\")}
aliases = client.get_registered_model(name).aliases
print(json.dumps({
    'versions': list(versions.values()), 'aliases': {alias: versions[number] for alias, number in aliases.items()},
}))" 2>/dev/null
}

# A server that starts, passes its unit tests, answers what staging asks (the last payments), and fails for one in seven
# of the older payments that come alone.
break_serving() {
  python3 - "$repo/src/serve.py" <<'PY'
import sys
from pathlib import Path

path = Path(sys.argv[1])
text = path.read_text()
good = "            predictions: list[Prediction] = loaded[0].predict(request)\n"
bad = (
    "            first = request.payments[0].transaction_id\n"
    "            if first % 7 == 3 and first < 120_400 and len(request.payments) == 1:\n"
    '                raise ValueError("an older payment")\n'
)
assert good in text
path.write_text(text.replace(good, bad + good))
PY
}
