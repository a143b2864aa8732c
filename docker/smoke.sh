#!/usr/bin/env bash
# For people with Docker: start everything, wait for the dashboards, ask Metabase for them.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ANALYTICS_METABASE_PASSWORD:?set it, such as: ANALYTICS_METABASE_PASSWORD=$(head -c 12 /dev/urandom | base64) make metabase-smoke}"
user=${ANALYTICS_METABASE_USER:-admin@example.com}
url=http://127.0.0.1:3000

docker compose up --detach --build --wait
session=$(curl --fail --silent --show-error --header 'Content-Type: application/json' \
    --data "{\"username\": \"$user\", \"password\": \"$ANALYTICS_METABASE_PASSWORD\"}" "$url/api/session" |
    sed -E 's/.*"id": ?"([^"]+)".*/\1/')
for _ in $(seq 60); do
    names=$(curl --fail --silent --show-error --header "X-Metabase-Session: $session" "$url/api/search?models=dashboard")
    if [ "$(grep -o 'made by analytics' <<<"$names" | wc -l)" -ge 6 ]; then
        echo "ok: six dashboards at $url"
        exit 0
    fi
    sleep 5
done
echo "failed: the dashboards are not there; see: docker compose logs worker metabase" >&2
exit 1
