"""Connected workers: there is no gateway for them yet, so there are none."""

from typing import Any

from inngest_server.api.graphql.session import Session


def list_connections(session: Session, **_: Any) -> dict[str, Any]:
    page_info = {"hasNextPage": False, "hasPreviousPage": False}
    return {"edges": [], "pageInfo": page_info, "totalCount": 0}


def find_connection(session: Session, **_: Any) -> None:
    return None
