#!/usr/bin/env bash
# Runs in a container: serves what an environment was left as, from its own files. Prints the manifest of its model, and
# the score of a payment.
set -euo pipefail
stable=/deployments/$1/stable
python=/pipeline/venv/deploy-staging/bin/python
port=18080
"$python" "$stable/src/serve.py" --model-dir "$stable/models" --pointer "$stable/pointer.json" --port "$port" \
  >/tmp/log 2>&1 &
until curl --silent --fail "http://127.0.0.1:$port/readyz" >/tmp/ready; do
  kill -0 $! 2>/dev/null || {
    cat /tmp/log >&2
    exit 1
  }
  sleep 0.2
done
python3 -c 'import json; print(json.load(open("/tmp/ready"))["manifest"])'
curl --silent --fail --header 'Content-Type: application/json' "http://127.0.0.1:$port/predict" --data '{
  "payments": [{"transaction_id": 1, "timestamp": "2024-06-30T03:00:00Z", "account_id": "A0001",
  "account_age_days": 4, "merchant_category": "gift_card", "amount": 950.0, "country": "DE", "channel": "online"}]}' |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["predictions"][0]["score"])'
