"""GitHub's REST API, version 2022-11-28: docs.github.com/en/rest."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import Changes, System, at, iso, paged, unknown

TOKEN = "github_pat_abcdef"
_PER_REPOSITORY = {
    "issues": ("issues", {"state", "sort", "direction", "since", "labels", "filter"}),
    "issues/comments": ("issue_comments", {"sort", "direction", "since"}),
    "pulls": ("pull_requests", {"state", "sort", "direction", "head", "base"}),
    "pulls/comments": ("review_comments", {"sort", "direction", "since"}),
    "commits": ("commits", {"sha", "path", "author", "since", "until"}),
    "releases": ("releases", set()),
    "milestones": ("milestones", {"state", "sort", "direction"}),
    "labels": ("labels", set()),
    "actions/runs": ("workflow_runs", {"created", "status", "branch"}),
    "stargazers": ("stargazers", set()),
}
_WRAPPERS = {"workflow_runs": "workflow_runs"}


def _repository(number: int, owner: str, name: str) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "full_name": f"{owner}/{name}",
        "owner": {"login": owner, "id": 1},
        "private": False,
        "description": None,
        "topics": ["a"],
        "updated_at": iso(at(number)),
    }


def _record(number: int, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"id": 10**9 + number, "created_at": iso(at(0))}
    if name == "commits":
        return {"sha": f"{number:040d}", "commit": {"message": "Ä"}, "parents": []}
    if name == "stargazers":
        return {"starred_at": iso(at(number)), "user": {"login": f"u{number}", "id": number}}
    if name != "labels":
        row["updated_at"] = iso(at(number))
    return row | {"title": None if number % 5 == 0 else f"t {number}", "user": {"id": number}}


class _Github(ApiServer):
    """Return an organisation whose second repository is empty."""

    def __init__(self) -> None:
        super().__init__(
            {
                "GET /(user|orgs/octo|users/octo)/repos": lambda r: self.page(r, repositories),
                "GET /repos/octo/hello": lambda _: repositories[0],
                rf"GET /repos/([\w-]+/[\w.-]+)/({'|'.join(_PER_REPOSITORY)})": self.listed,
            }
        )
        self.before = self.authorised
        repositories = [_repository(1, "octo", "hello"), _repository(2, "octo", "empty.js")]
        sizes = {"issues": 230, "issue_comments": 120, "pull_requests": 210, "commits": 120}
        self.rows: dict[str, list[dict[str, Any]]] = {"repositories": repositories}
        for name, _ in _PER_REPOSITORY.values():
            self.rows[name] = [_record(n, name) for n in range(1, sizes.get(name, 3) + 1)]
            column = "repository_name" if name == "workflow_runs" else "repository"
            for row in self.rows[name]:
                row[column] = "octo/hello"

    def page(
        self, request: ApiRequest, found: list[dict[str, Any]], wrapper: str | None = None
    ) -> Reply:
        size = min(int(request.query.get("per_page", "30")), 100)
        number = int(request.query.get("page", "1"))
        records, following = paged(found, (number - 1) * size, size)
        content: Any = records if wrapper is None else {"total_count": 1, wrapper: records}
        links = [f'<{self.url}{request.path}>; rel="first"']
        if following is not None:
            query = urlencode({**request.query, "page": str(number + 1)})
            links.insert(0, f'<{self.url}{request.path}?{query}>; rel="next"')
        return Reply(content, headers={"Link": ", ".join(links)})

    def listed(self, request: ApiRequest) -> Any:
        owner_name, kind = request.parts
        name, own = _PER_REPOSITORY[kind]
        if unknown(request, own | {"per_page", "page"}):
            return Reply({"message": f"unknown {unknown(request, own)}"}, 422)
        if owner_name == "octo/empty.js":
            if kind == "commits":
                return Reply({"message": "Git Repository is empty.", "status": "409"}, 409)
            return self.page(request, [], _WRAPPERS.get(name))
        found = [
            {k: v for k, v in row.items() if k not in {"repository", "repository_name"}}
            for row in self.rows[name]
        ]
        if name in {"issues", "pull_requests", "milestones"} and request.query["state"] != "all":
            return Reply({"message": "the test wants all"}, 422)
        if "since" in request.query:
            found = [row for row in found if row["updated_at"] >= request.query["since"]]
        if "sort" in request.query:
            field = "updated_at" if request.query["sort"] == "updated" else "id"
            is_reversed = request.query.get("direction", "desc") == "desc"
            found.sort(key=lambda row: row[field], reverse=is_reversed)
        if name == "stargazers" and "star+json" not in request.headers["Accept"]:
            found = [row["user"] for row in found]
        return self.page(request, found, _WRAPPERS.get(name))

    def authorised(self, request: ApiRequest) -> Reply | None:
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return Reply({"message": "Bad credentials", "status": "401"}, 401)
        if "%2F" in request.path or request.headers["X-GitHub-Api-Version"] != "2022-11-28":
            return Reply({"message": "Not Found"}, 404)
        return None


def github() -> System:
    """Return an organisation whose second repository is empty."""
    server = _Github()

    def limited() -> Reply:
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()))}
        return Reply({"message": "API rate limit exceeded for user ID 1."}, 403, reset)

    def changes(*, filtered: bool = True) -> Changes:
        asked = (lambda request: request.query.get("since")) if filtered else None
        return Changes("updated_at", lambda row: at(row["id"] - 10**9), asked, iso)

    return System(
        "github",
        server,
        lambda: {"token": TOKEN, "base_url": server.url},
        "token",
        "Bad credentials",
        limited,
        server.rows,
        keys={"commits": ("repository", "sha"), "stargazers": ("repository", "user_id")},
        changes={
            "issues": changes(),
            "issue_comments": changes(),
            "pull_requests": changes(filtered=False),
        },
    )
