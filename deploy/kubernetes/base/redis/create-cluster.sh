#!/usr/bin/env bash
# Makes one cluster of $NODES (host:port, with blanks between), three primaries with a replica each; once.
set -euo pipefail

# By environment, so that `ps` doesn't show it.
REDISCLI_AUTH=$(<"$PASSWORD_FILE")
export REDISCLI_AUTH
cli=(redis-cli --user admin)

addresses=()
for node in $NODES; do
    host=${node%:*}
    port=${node##*:}
    # A node joins by its address: CLUSTER MEET takes no names.
    address=$(getent ahostsv4 "$host" | awk 'NR == 1 {print $1}')
    [ -n "$address" ] || { echo "$host has no address yet" >&2; exit 1; }
    "${cli[@]}" -h "$address" -p "$port" ping | grep -qx PONG || { echo "$node doesn't answer yet" >&2; exit 1; }
    addresses+=("$address:$port")
done

first=${addresses[0]}
if "${cli[@]}" -h "${first%:*}" -p "${first##*:}" cluster info | grep -q '^cluster_state:ok'; then
    echo "there is a cluster already"
    exit 0
fi
"${cli[@]}" --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes
