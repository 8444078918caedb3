#!/usr/bin/env bash
# The cluster suite on a Kubernetes of today: hack/e2e-kind.sh [VERSION] [pytest's arguments...]
#
# Makes a kind cluster with a registry beside it and Traefik as its Gateway, plays `make test-cluster` there, and removes
# all of it. Needs docker, kind, kubectl, helm and what `make` needs. KIND_NODE_IMAGE names another node image than
# kindest/node:vVERSION (kind's release notes list them by digest); KEEP=1 leaves the cluster, to look at it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=${1:-1.34.0}
shift || true
name=banana-e2e
registry=$name-registry
gateway_api=v1.4.0
traefik_chart=37.4.0
scratch=$(mktemp -d)
export KUBECONFIG=$scratch/kubeconfig

for tool in docker kind kubectl helm make; do
  command -v "$tool" >/dev/null || { echo "$tool is not there; this script needs docker, kind, kubectl, helm and make." >&2; exit 2; }
done

clean() {
  if [[ -n ${KEEP:-} ]]; then
    echo "Left as it is: export KUBECONFIG=$KUBECONFIG; kind delete cluster --name $name; docker rm -f $registry"
    return
  fi
  kind delete cluster --name "$name" >/dev/null 2>&1 || true
  docker rm --force "$registry" >/dev/null 2>&1 || true
  rm -rf "$scratch"
}
trap clean EXIT

# Ports of this machine that the suite knows: the Gateway, its metrics, and the NodePorts of k8s/overlays.
ports=(8085 8086 30080 30081 30082 30083 30084 30090 30094)
{
  cat <<YAML
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
containerdConfigPatches:
  - |-
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "/etc/containerd/certs.d"
nodes:
  - role: control-plane
    extraPortMappings:
YAML
  for port in "${ports[@]}"; do
    printf '      - {containerPort: %d, hostPort: %d, listenAddress: 127.0.0.1}\n' "$port" "$port"
  done
} >"$scratch/kind.yaml"
kind create cluster --name "$name" --image "${KIND_NODE_IMAGE:-kindest/node:v$version}" --config "$scratch/kind.yaml" --wait 3m

# localhost:5000 is the same registry for this machine, which pushes, and for the node, which pulls.
docker run --detach --name "$registry" --restart no --network kind --publish 127.0.0.1:5000:5000 registry:2 >/dev/null
for node in $(kind get nodes --name "$name"); do
  docker exec "$node" mkdir -p /etc/containerd/certs.d/localhost:5000
  printf '[host."http://%s:5000"]\n' "$registry" |
    docker exec --interactive "$node" cp /dev/stdin /etc/containerd/certs.d/localhost:5000/hosts.toml
done
docker pull --quiet python:3.11-slim
docker tag python:3.11-slim localhost:5000/library/python:3.11-slim
docker push --quiet localhost:5000/library/python:3.11-slim

kubectl apply --server-side --filename \
  "https://github.com/kubernetes-sigs/gateway-api/releases/download/$gateway_api/standard-install.yaml"
# One Traefik on the node's own ports: a Gateway's listener has to name the port of an entry point.
cat >"$scratch/traefik.yaml" <<'YAML'
providers:
  kubernetesGateway: {enabled: true}
  kubernetesCRD: {enabled: false}
  kubernetesIngress: {enabled: false}
gateway: {enabled: false}
gatewayClass: {enabled: true, name: traefik}
service: {enabled: false}
ports:
  web: {port: 8085, hostPort: 8085}
  websecure: null
  metrics: {port: 8086, hostPort: 8086}
metrics:
  prometheus: {entryPoint: metrics, addServicesLabels: true, buckets: "0.1,0.3,1,1.2,5"}
updateStrategy: {type: Recreate, rollingUpdate: null}
YAML
helm upgrade --install traefik traefik --repo https://traefik.github.io/charts --version "$traefik_chart" \
  --namespace traefik --create-namespace --values "$scratch/traefik.yaml" --wait --timeout 3m

export REGISTRY=localhost:5000 BASE_IMAGE=localhost:5000/library/python:3.11-slim
export GATEWAY_URL=http://127.0.0.1:8085 GATEWAY_METRICS_URL=http://127.0.0.1:8086/metrics
kubectl version
make test-cluster ${1:+ARGS="$*"}
