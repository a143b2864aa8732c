#!/usr/bin/env bash
# For people with Docker: start everything, wait for the dashboards, ask Metabase for them.
set -euo pipefail
cd "$(dirname "$0")/.."

# Asked by the worker, which has the settings of .env: no secret is in an argument.
count_dashboards='
from analytics.config import load_settings
from analytics.targets.metabase.client import Client, is_set_up, log_in
from analytics.targets.metabase.payloads import marked

settings = load_settings()
client = Client(settings.metabase_url)
found = []
if is_set_up(client):
    log_in(client, settings)
    for collection in client.call("GET", "/api/collection"):
        if marked(collection.get("description")) == "collection":
            found = client.call("GET", "/api/collection/{}/items?models=dashboard".format(collection["id"]))["data"]
print(sum(entry["model"] == "dashboard" and marked(entry["description"]) != "" for entry in found))
'

docker compose up --detach --build --wait
url=http://$(docker compose port metabase 3000)
for _ in $(seq 60); do
    count=$(docker compose exec -T analytics-worker python -c "$count_dashboards" || echo 0)
    if [ "$count" -ge 6 ]; then
        echo "ok: $count dashboards at $url"
        exit 0
    fi
    sleep 5
done
echo "failed: the dashboards are not there; see: docker compose logs analytics-worker metabase" >&2
exit 1
