#!/usr/bin/env bash
# On a worker: wait for the notice that this spot instance will be taken away (it comes two minutes
# before), then drain the node of Ray. Nothing new is placed on it, and what is lost with it is not
# counted as a failure: its trials go on elsewhere from what they have stored.
set -u
metadata=${METADATA:-http://169.254.169.254/latest}
ray=${RAY:-$HOME/venv/bin/ray}

argument() {  # the value of an argument of this node's raylet
  pgrep -af 'raylet/raylet ' | grep -oP -- "--$1=\K\S+" | head -n 1
}

while :; do
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token")
  if curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action"; then
    "$ray" drain-node --address "$(argument gcs-address)" --node-id "$(argument node_id)" \
      --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'spot notice' --deadline-remaining-seconds 110 && exit
  fi
  sleep "${EVERY:-5}"
done
