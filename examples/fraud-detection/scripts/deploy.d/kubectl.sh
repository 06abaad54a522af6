# The target `kubectl` of scripts/deploy. Which cluster is meant says the current context of kubectl.
# shellcheck shell=bash disable=SC2034,SC2154 # variables come from scripts/deploy, or go there
#
# The pointer is an annotation of the pods (src/render_manifests.py): a new one is a new revision of the Deployment,
# and going back to a revision is going back to its pointer.

app=fraud-detector

kubeconfig=
if [ -n "$credentials" ]; then
  kubeconfig=$(umask 077 && mktemp)
  trap 'rm -f "$kubeconfig"' EXIT
  printf '%s' "$credentials" >"$kubeconfig"
  export KUBECONFIG=$kubeconfig
elif [ -z "${KUBECONFIG-}${KUBERNETES_SERVICE_HOST-}" ] && [ ! -e ~/.kube/config ]; then
  # kubectl would ask localhost:8080.
  fail 'no cluster is known: set DEPLOY_CREDENTIALS to a kubeconfig (in a workflow, the secret KUBECONFIG), or KUBECONFIG to its file'
fi

# For nine pods, one after another. That a rollout stands still is noticed earlier, by the Deployment's
# progressDeadlineSeconds.
wait_for=600s

namespace() { echo "$app-$1"; }
kube() { kubectl --namespace "$(namespace "$1")" "${@:2}"; }

# render ENVIRONMENT POINTER IMAGE ORDER: prints a directory with the manifests for this model.
render() {
  local rendered
  rendered=$(mktemp -d)
  "$python" src/render_manifests.py --pointer "$2" --image "$3" --order "$4" --output "$rendered" "k8s/$1"/*.yaml
  echo "$rendered"
}

# proxied ENVIRONMENT KIND NAME: the path of a pod or service through the cluster's API.
proxied() { echo "/api/v1/namespaces/$(namespace "$1")/$2/$3/proxy"; }

# pods TRACK [RESTARTS]: prints the pods that run and are not about to end, or those of them whose containers' numbers
# of restarts look like this. Others, such as evicted ones, answer nobody.
pods() {
  kube production get pods --selector "app=$app,track=$1" --field-selector=status.phase=Running --output \
    'jsonpath={range .items[*]}{.metadata.deletionTimestamp}:{.metadata.name}:{.status.containerStatuses[*].restartCount}{"\n"}{end}' |
    sed -n "s/^:\([^:]*\):${2-}.*/\1/p"
}

exists() { kube "$1" get deployments "$2" --ignore-not-found --output name; }

stable_version() { exists production "$app-stable"; }

# annotation ENVIRONMENT DEPLOYMENT NAME [WHERE]: of the Deployment itself, or of its pods with WHERE=.spec.template.
annotation() {
  kube "$1" get deployments "$2" --ignore-not-found --output "jsonpath={${4-}.metadata.annotations['ml-cache/$3']}"
}

# deployed_pointer ENVIRONMENT: prints the pointer of what is served; nothing, if nothing is.
deployed_pointer() {
  case $1 in
    staging) annotation staging "$app" pointer .spec.template ;;
    production) annotation production "$app-stable" pointer .spec.template ;;
  esac
}

# An annotation of the Deployment, and so of its revisions: going back to one brings its own back.
deployed_order() {
  case $1 in
    staging) annotation staging "$app" order ;;
    production) annotation production "$app-stable" order ;;
  esac
}

# stable_pods: fails rather than to make production look as if it had no version yet.
stable_pods() {
  local found deployment
  found=$(pods stable)
  if [ -z "$found" ]; then
    deployment=$(stable_version)
    [ -z "$deployment" ] || fail 'the stable version has no pods'
  fi
  echo "$found"
}

required() {
  [ -n "$pointer" ] || fail 'give --pointer'
  [ -n "${IMAGE-}" ] || fail 'set IMAGE to the serving image'
}

# A version is remembered by the hash of its pods' template: unlike the number of its revision, it stays the same
# when the Deployment goes back to it.

# revisions ENVIRONMENT SELECTOR: prints number and hash of each revision, the current one last.
revisions() {
  kube "$1" get replicasets --selector "$2" --output \
    'jsonpath={range .items[*]}{.metadata.annotations.deployment\.kubernetes\.io/revision} {.metadata.labels.pod-template-hash}{"\n"}{end}' |
    sort -n
}

# current ENVIRONMENT DEPLOYMENT SELECTOR: prints the hash of what is deployed; nothing, if nothing is.
current() {
  local generation
  generation=$(kube "$1" get deployments "$2" --ignore-not-found --output 'jsonpath={.metadata.generation}')
  [ -n "$generation" ] || return 0
  # Until the cluster has seen the last change, it has no revision.
  kube "$1" wait "deployment/$2" --for="jsonpath={.status.observedGeneration}=$generation" --timeout="$wait_for" >&2
  revisions "$1" "$3" | sed -n '$s/.* //p'
}

read_history() { annotation production "$app-stable" history; }
write_history() { kube production annotate "deployment/$app-stable" --overwrite "ml-cache/history=$1"; }
served_version() { current production "$app-stable" "app=$app,track=stable"; }

# restore ENVIRONMENT DEPLOYMENT SELECTOR HASH: does nothing where this is what is deployed.
restore() {
  local number
  number=$(revisions "$1" "$3" | sed -n "s/ $4\$//p")
  [ -n "$number" ] || fail "the cluster no longer has the revision $4 of $2"
  kube "$1" rollout undo "deployment/$2" --to-revision="$number"
}

deploy_staging() {
  local rendered before
  required
  not_older staging
  rendered=$(render staging "$pointer" "$IMAGE" "$order")
  before=$(current staging "$app" "app=$app")
  kube staging apply -f "$rendered/"
  if ! kube staging rollout status "deployment/$app" --timeout="$wait_for"; then
    [ -n "$before" ] || fail 'staging does not become ready, and there is no earlier version'
    restore staging "$app" "app=$app" "$before"
    fail 'staging goes back to what it served before'
  fi
}

# remember HASH: an annotation, so that any job finds it.
remember() { kube production annotate "deployment/$app-stable" --overwrite "ml-cache/before=$1"; }

# stable_becomes HASH: going back replaces a Deployment's annotations by those of the revision, so they are written again.
stable_becomes() {
  local history
  history=$(read_history)
  restore production "$app-stable" "app=$app,track=stable" "$1"
  remember "$1"
  [ -z "$history" ] || write_history "$history"
  kube production rollout status "deployment/$app-stable" --timeout="$wait_for"
}

go_back() {
  rm -rf "$state/counts"
  kube production delete "deployment/$app-canary" --ignore-not-found
  stable_becomes "$1"
}

# count NAME TRACK: keeps what the track's pods have counted so far; no pods have counted nothing.
count() {
  local names pod
  rm -rf "$state/counts/$1"
  mkdir -p "$state/counts/$1"
  if [ "$2" = stable ]; then names=$(stable_pods); else names=$(pods "$2"); fi
  for pod in $names; do
    kubectl get --raw "$(proxied production pods "$pod:8080")/metrics" >"$state/counts/$1/$pod"
  done
}

# counted NAME: prints the files of these counts.
counted() { find "$state/counts/$1" -type f 2>/dev/null | tr '\n' ' ' || true; }

# By the numbers of pods, because the Service spreads connections evenly.
set_share() {
  local canary stable replicas
  canary=$(exists production "$app-canary")
  [ -n "$canary" ] || fail 'there is no canary'
  stable=$(kube production get deployments "$app-stable" --ignore-not-found --output 'jsonpath={.spec.replicas}')
  # Without a stable version it has all requests.
  [ -n "$stable" ] || return 0
  count stable stable
  count canary canary
  replicas=$(((stable * $1 + (100 - $1) / 2) / (100 - $1)))
  kube production patch "deployment/$app-canary" --patch "{\"spec\":{\"replicas\":$((replicas > 0 ? replicas : 1))}}"
  kube production rollout status "deployment/$app-canary" --timeout="$wait_for"
  say "the canary gets $1 % of the requests"
}

deploy_canary() {
  local rendered canary before
  # Until the stable version is remembered, what is remembered belongs to an earlier canary.
  mkdir -p "$state"
  : >"$state/unchanged"
  required
  rendered=$(render production "$pointer" "$IMAGE" "$order")
  canary=$(exists production "$app-canary")
  if [ -n "$canary" ]; then
    say 'an earlier canary was neither promoted nor rolled back; it ends now'
    take_back
  fi
  tell_before
  not_older production
  before=$(current production "$app-stable" "app=$app,track=stable")
  [ -z "$before" ] || remember "$before"
  rm -f "$state/unchanged"
  rm -rf "$state/counts"
  count stable stable
  kube production apply -f "$rendered/canary.yaml"
  if ! kube production rollout status "deployment/$app-canary" --timeout="$wait_for"; then
    take_back
    fail 'the canary does not become ready'
  fi
}

deploy_promote() {
  local canary=deployment/$app-canary rendered stable pointer image order restarted
  restarted=$(pods canary '[0-9 ]*[1-9]')
  [ -z "$restarted" ] || fail "the canary's server ended and was started again, so the canary must not go on"
  # From the canary itself: what was judged is what goes on.
  pointer=$(annotation production "$app-canary" pointer .spec.template)
  [ -n "$pointer" ] || fail 'there is no canary to promote'
  order=$(annotation production "$app-canary" order)
  image=$(kube production get "$canary" --output 'jsonpath={.spec.template.spec.containers[0].image}')
  rendered=$(render production "$pointer" "$image" "$order")
  stable=$(stable_version)
  # What it is compared with when it has all requests. Its own pods begin anew.
  [ -z "$stable" ] || count before stable
  rm -rf "$state/counts/canary"
  kube production apply -f "$rendered/stable.yaml"
  if ! kube production rollout status "deployment/$app-stable" --timeout="$wait_for"; then
    # The first version has nothing to go back to, and would be in the way of the next.
    [ -n "$stable" ] || kube production delete "deployment/$app-stable"
    take_back
    [ -n "$stable" ] || fail 'the first version does not become ready; production serves nothing'
    fail 'production goes back to what it served before'
  fi
  kube production delete "$canary"
  record deploy "$reason"
}

# Makes production what it was before the last canary, as often as it is called and wherever that canary stopped.
take_back() {
  local canary stable before now
  canary=$(exists production "$app-canary")
  if [ -n "$canary" ]; then
    rm -f "$state/unchanged"
    kube production delete "deployment/$app-canary" --ignore-not-found
    say 'the canary is gone'
  elif [ -e "$state/unchanged" ]; then
    say 'the last canary never began; the stable version stays'
    return
  fi
  before=$(annotation production "$app-stable" before)
  if [ -z "$before" ]; then
    stable=$(stable_version)
    [ -z "$stable" ] || kept_first=true
    return
  fi
  now=$(served_version)
  stable_becomes "$before"
  [ "$now" = "$before" ] || record rollback 'the deployment failed'
}

# run_against ENVIRONMENT COMMAND…: through the cluster's API, so that no address of the service is needed.
run_against() {
  local environment=$1 log proxy code=0 api pod stable='' canary=''
  if [ "$environment" = production ]; then
    stable=$(stable_pods)
    canary=$(pods canary)
  fi
  log=$(mktemp)
  kubectl proxy --port=0 >"$log" &
  proxy=$!
  for _ in {1..300}; do
    api=$(sed -n 's/.* \(127\.0\.0\.1:[0-9]*\).*/http:\/\/\1/p' "$log")
    [ -z "$api" ] || break
    sleep 0.1
  done
  [ -n "$api" ] || fail 'kubectl proxy does not start'
  BASE_URL=$api$(proxied "$environment" services "$app:http")
  STABLE_METRICS='' CANARY_METRICS='' STABLE_SINCE='' CANARY_SINCE=''
  if [ "$environment" = production ]; then
    for pod in $stable; do STABLE_METRICS+=" $api$(proxied production pods "$pod:8080")/metrics"; done
    for pod in $canary; do CANARY_METRICS+=" $api$(proxied production pods "$pod:8080")/metrics"; done
    STABLE_SINCE=$(counted stable) CANARY_SINCE=$(counted canary)
    if [ -z "$canary" ] && [ -d "$state/counts" ]; then
      # The canary has become the stable version, and is compared with the version before.
      CANARY_METRICS=$STABLE_METRICS STABLE_METRICS=$(counted before)
    fi
  fi
  export BASE_URL STABLE_METRICS CANARY_METRICS STABLE_SINCE CANARY_SINCE
  shift
  # The command is of the checkout, and needs no credentials to ask the proxy.
  env ${kubeconfig:+-u KUBECONFIG} "$@" || code=$?
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
