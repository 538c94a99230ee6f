"""A connector of Airbyte for the tests: it reads a JSON file, and behaves as it is configured.

`data` is a file with `{stream: [{…}]}`; each record has `id` and `updated`. `behave` is what it
does wrong.
"""

import json
import sys

verb, argv = sys.argv[1], sys.argv[2:]
if verb == "--help":
    sys.exit()


def argument(name):
    return json.load(open(argv[argv.index(name) + 1])) if name in argv else None


def send(**message):
    print(json.dumps(message), flush=True)


def trace(message, kind, stream=None):
    descriptor = {"stream_descriptor": {"name": stream}} if stream else {}
    error = {"message": message, "failure_type": kind, "internal_message": "secret", **descriptor}
    send(type="TRACE", trace={"type": "ERROR", "emitted_at": 1, "error": error})


def status(stream, text):
    send(
        type="TRACE",
        trace={
            "type": "STREAM_STATUS",
            "emitted_at": 1,
            "stream_status": {"stream_descriptor": {"name": stream}, "status": text},
        },
    )


config = argument("--config")
behave = config.get("behave", "")
data = json.load(open(config["data"]))
send(type="LOG", log={"level": "INFO", "message": "Starting"})
if verb == "check":
    if behave == "refused":
        send(
            type="CONNECTION_STATUS",
            connectionStatus={"status": "FAILED", "message": "'the key\nis not valid'"},
        )
        sys.exit(0)
    send(type="CONNECTION_STATUS", connectionStatus={"status": "SUCCEEDED"})
    sys.exit()
schema = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "updated": {"type": "integer"},
        "at": {
            "type": ["null", "string"],
            "format": "date-time",
            "airbyte_type": "timestamp_without_timezone",
        },
        "amount": {"type": ["null", "number"]},
    },
}
if verb == "discover":
    if behave == "misconfigured":
        trace("Config validation error: 'start_date' is a required property", "config_error")
        sys.exit(1)
    send(
        type="CATALOG",
        catalog={
            "streams": [
                {
                    "name": name,
                    "json_schema": schema,
                    "source_defined_primary_key": [["id"]],
                    "supported_sync_modes": ["full_refresh", "incremental"],
                    "source_defined_cursor": True,
                    "default_cursor_field": ["updated"],
                }
                for name in data
            ]
        },
    )
    sys.exit()
states = {
    s["stream"]["stream_descriptor"]["name"]: s["stream"]["stream_state"]
    for s in argument("--state") or []
}
if config.get("token") == "old":
    send(
        type="CONTROL",
        control={
            "type": "CONNECTOR_CONFIG",
            "emitted_at": 1.0,
            "connectorConfig": {"config": {**config, "token": "new-one"}},
        },
    )
for configured in argument("--catalog")["streams"]:
    name = configured["stream"]["name"]
    state = states.get(name, {}) if configured["sync_mode"] == "incremental" else {}
    low = state.get("updated", -1)
    status(name, "STARTED")
    rows = [row for row in data[name] if row["updated"] >= low]
    for number, row in enumerate(rows):
        if number == len(rows) // 2 and behave == "fails":
            trace("HTTP Status Code: 500. Error: Internal server error.", "transient_error", name)
            status(name, "INCOMPLETE")
            trace("During the sync, the following streams did not sync: " + name, "config_error")
            send(
                type="STATE",
                state={
                    "type": "STREAM",
                    "stream": {
                        "stream_descriptor": {"name": name},
                        "stream_state": {"updated": 999},
                    },
                },
            )
            sys.exit(1)
        send(type="RECORD", record={"stream": name, "data": row, "emitted_at": 1})
    high = max([low, *[row["updated"] for row in rows]])
    send(
        type="STATE",
        state={
            "type": "STREAM",
            "stream": {"stream_descriptor": {"name": name}, "stream_state": {"updated": high}},
        },
    )
    status(name, "INCOMPLETE" if behave == "incomplete" else "COMPLETE")
