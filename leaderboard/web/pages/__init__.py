"""The pages: rendered from the store, for the server and, with other addresses, for static hosting."""

from typing import Any

from leaderboard.board.published import PUBLISHED
from leaderboard.web.pages.downloads import Downloads
from leaderboard.web.pages.links import Links
from leaderboard.web.pages.models import ModelPages


class Pages(Downloads, ModelPages):
    """HTML from a board, its store and its opened suites (`Board.open`)."""

    def published(self, at: Links | None = None) -> str:
        """Published figures."""
        return self.render("published.html", at, page="published", parts=PUBLISHED)

    def submit(self, url: str, at: Links | None = None, **values: Any) -> str:
        """How to submit, with forms; values: error, or token and account, after one was sent."""
        return self.render(
            "submit.html",
            at,
            page="submit",
            suites=self.board.taken,
            url=url,
            **{"error": None, "token": None, "account": "", **values},
        )

    def account(self, account: str | None, **values: Any) -> str:
        """What an account has sent; None: the form to sign in. values: error, or a new token."""
        return self.render(
            "account.html",
            page="account",
            account=account,
            rows=self.store.of_account(account) if account else [],
            identities=self.store.identities(account) if account else [],
            **{"error": None, "token": None, **values},
        )

    def api(self, description: dict[str, Any], at: Links | None = None) -> str:
        """The API's description (OpenAPI) as a page."""
        calls = [
            {
                "method": method.upper(),
                "path": path,
                "what": operation.get("description") or operation.get("summary", ""),
                "parameters": [(p["name"], p["in"], p["required"]) for p in operation.get("parameters", [])],
            }
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
        ]
        return self.render("api.html", at, page="api", calls=calls)
