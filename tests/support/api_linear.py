"""Linear's GraphQL API: packages/sdk/src/schema.graphql in linear/linear, linear.app/developers."""

from __future__ import annotations

import re
from typing import Any

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import BIG, Changes, System, at, iso, milliseconds, paged

KEY = "lin_api_abcdef01"
CONNECTIONS = {
    "issues": ("issues", "IssueFilter"),
    "comments": ("comments", "CommentFilter"),
    "projects": ("projects", "ProjectFilter"),
    "projectMilestones": ("project_milestones", "ProjectMilestoneFilter"),
    "projectUpdates": ("project_updates", "ProjectUpdateFilter"),
    "initiatives": ("initiatives", "InitiativeFilter"),
    "cycles": ("cycles", "CycleFilter"),
    "teams": ("teams", "TeamFilter"),
    "users": ("users", "UserFilter"),
    "issueLabels": ("labels", "IssueLabelFilter"),
    "workflowStates": ("workflow_states", "WorkflowStateFilter"),
}
_QUERY = re.compile(
    r"query \(\$after: String, \$filter: (\w+)\) \{\s*(\w+)\(([^)]*)\) \{\s*nodes \{(.*)\}\s*"
    r"pageInfo \{ hasNextPage endCursor \}\s*\}\s*\}\s*",
    re.DOTALL,
)


def _error(status: int, code: str, message: str) -> Reply:
    extensions = {"code": code, "type": code.lower(), "userPresentableMessage": message}
    return Reply({"errors": [{"message": message, "extensions": extensions}]}, status)


def _record(number: int, table: str) -> dict[str, Any]:
    row = {
        "id": f"9b7f-{number:04d}",
        "createdAt": milliseconds(at(0)),
        "updatedAt": milliseconds(at(number)),
        "archivedAt": None,
    }
    if table != "issues":
        return row
    return row | {
        "description": None if number % 2 else "über",
        "sortOrder": BIG if number == 3 else -number,
        "team": {"id": "t1"},
        "labelIds": ["a", "b"],
    }


def linear() -> System:
    """Return a workspace with 130 issues."""
    counts = {"issues": 130, "comments": 60, "labels": 230}
    rows = {
        table: [_record(n, table) for n in range(1, counts.get(table, 3) + 1)]
        for table, _ in CONNECTIONS.values()
    }

    def answer(request: ApiRequest) -> Any:
        match = _QUERY.fullmatch(request.json["query"])
        variables = request.json.get("variables", {})
        if match is None or set(variables) - {"after", "filter"}:
            return _error(400, "GRAPHQL_VALIDATION_FAILED", "Syntax Error")
        arguments = dict(re.findall(r"(\w+): ([$\w]+)", match[3]))
        table, filter_type = CONNECTIONS[match[2]]
        if match[1] != filter_type or int(arguments["first"]) > 250:
            return _error(400, "INPUT_ERROR", "Argument Validation Error")
        if arguments["includeArchived"] != "true":
            return _error(400, "INPUT_ERROR", "the test wants archived records, too")
        flat = re.sub(r"\{[^{}]*\}", "", re.sub(r"\{[^{}]*\}", "", match[4]))
        selected = re.findall(r"\w+", flat)
        since = variables.get("filter", {}).get("updatedAt", {}).get("gte", "")
        found = [row for row in rows[table] if row["updatedAt"][:19] >= since[:19]]
        size = int(arguments["first"])
        page, following = paged(found, int(variables.get("after") or "0"), size)
        nodes = [{k: v for k, v in row.items() if k in selected} for row in page]
        info = {"hasNextPage": following is not None, "endCursor": str(following or len(found))}
        return {"data": {match[2]: {"nodes": nodes, "pageInfo": info}}}

    server = ApiServer({"POST /graphql": answer})

    def authorised(request: ApiRequest) -> Reply | None:
        if request.headers["Authorization"] == KEY:
            return None
        return _error(401, "AUTHENTICATION_ERROR", "Authentication required, not authenticated")

    server.before = authorised
    return System(
        "linear",
        server,
        lambda: {"token": KEY, "base_url": server.url},
        "token",
        "Authentication required",
        lambda: _error(400, "RATELIMITED", "Rate limit exceeded"),
        rows,
        changes={
            "issues": Changes(
                "updatedAt",
                lambda row: at(int(row["id"][5:])),
                lambda request: request.json["variables"]["filter"].get("updatedAt", {}).get("gte"),
                iso,
            )
        },
    )
