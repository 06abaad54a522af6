# The target `kubectl` of scripts/deploy. Which cluster is meant says the current context of kubectl.
# shellcheck shell=bash disable=SC2154 # variables come from scripts/deploy
#
# The pointer is an annotation of the pods (src/render_manifests.py): a new one is a new revision of the Deployment,
# and going back to a revision is going back to its pointer.

app=fraud-detector
wait_for=180s

namespace() { echo "$app-$1"; }
kube() { kubectl --namespace "$(namespace "$1")" "${@:2}"; }

# render ENVIRONMENT POINTER IMAGE: prints a directory with the manifests for this model.
render() {
  local rendered
  rendered=$(mktemp -d)
  "$python" src/render_manifests.py --pointer "$2" --image "$3" --output "$rendered" "k8s/$1"/*.yaml
  echo "$rendered"
}

# proxied ENVIRONMENT KIND NAME: the path of a pod or service through the cluster's API.
proxied() { echo "/api/v1/namespaces/$(namespace "$1")/$2/$3/proxy"; }

pods() { kube production get pods --selector "app=$app,track=$1" --output 'jsonpath={.items[*].metadata.name}'; }

required() {
  [ -n "$pointer" ] || fail 'give --pointer'
  [ -n "${IMAGE-}" ] || fail 'set IMAGE to the serving image'
}

deploy_staging() {
  local rendered
  required
  rendered=$(render staging "$pointer" "$IMAGE")
  kube staging apply -f "$rendered/"
  if ! kube staging rollout status "deployment/$app" --timeout="$wait_for"; then
    kube staging rollout undo "deployment/$app" || true
    fail 'staging goes back to what it served before'
  fi
}

deploy_canary() {
  local rendered pod
  required
  rendered=$(render production "$pointer" "$IMAGE")
  rm "$rendered/stable.yaml"
  rm -rf "$state/stable-since"
  mkdir -p "$state/stable-since"
  for pod in $(pods stable); do
    kubectl get --raw "$(proxied production pods "$pod:8080")/metrics" >"$state/stable-since/$pod"
  done
  kube production apply -f "$rendered/"
  if ! kube production rollout status "deployment/$app-canary" --timeout="$wait_for"; then
    deploy_rollback
    fail 'the canary does not become ready'
  fi
}

deploy_promote() {
  local canary=deployment/$app-canary rendered
  # From the canary itself: what was judged is what goes on.
  rendered=$(render production \
    "$(kube production get "$canary" --output "jsonpath={.spec.template.metadata.annotations['ml-cache/pointer']}")" \
    "$(kube production get "$canary" --output 'jsonpath={.spec.template.spec.containers[0].image}')")
  kube production apply -f "$rendered/stable.yaml"
  if ! kube production rollout status "deployment/$app-stable" --timeout="$wait_for"; then
    kube production rollout undo "deployment/$app-stable" || true
    deploy_rollback
    fail 'production goes back to what it served before'
  fi
  kube production delete "$canary"
}

deploy_rollback() {
  if [ -n "$(kube production get deployments "$app-canary" --ignore-not-found --output name)" ]; then
    kube production delete "deployment/$app-canary"
    say 'the canary is gone; the stable version was never changed'
  else
    kube production rollout undo "deployment/$app-stable"
    kube production rollout status "deployment/$app-stable" --timeout="$wait_for"
  fi
}

# run_against ENVIRONMENT COMMAND…: through the cluster's API, so that no address of the service is needed.
run_against() {
  local environment=$1 log proxy code=0 api pod
  log=$(mktemp)
  kubectl proxy --port=0 >"$log" &
  proxy=$!
  for _ in {1..50}; do
    api=$(sed -n 's/.* \(127\.0\.0\.1:[0-9]*\).*/http:\/\/\1/p' "$log")
    [ -z "$api" ] || break
    sleep 0.1
  done
  [ -n "$api" ] || fail 'kubectl proxy does not start'
  BASE_URL=$api$(proxied "$environment" services "$app:http") STABLE_METRICS='' CANARY_METRICS='' STABLE_SINCE=''
  if [ "$environment" = production ]; then
    for pod in $(pods stable); do STABLE_METRICS+=" $api$(proxied production pods "$pod:8080")/metrics"; done
    for pod in $(pods canary); do CANARY_METRICS+=" $api$(proxied production pods "$pod:8080")/metrics"; done
    STABLE_SINCE=$(find "$state/stable-since" -type f 2>/dev/null | tr '\n' ' ')
  fi
  export BASE_URL STABLE_METRICS CANARY_METRICS STABLE_SINCE
  shift
  "$@" || code=$?
  kill "$proxy"
  return "$code"
}

deploy_status() {
  local environment
  for environment in staging production; do
    kube "$environment" get deployments,pods --selector "app=$app" --output wide
  done
}

deploy_stop() { fail 'stop is for the target local; a cluster keeps serving'; }
