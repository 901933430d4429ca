"""What a leaderboard remembers: accounts, submissions and their states, results, flags, an audit log.
SQLAlchemy over SQLite or PostgreSQL; the tables are in `tables`, each part of what can be done with them in a
file of its own. Results are never changed, rows of submissions never deleted."""

from leaderboard.store.disclosure import Disclosure
from leaderboard.store.identities import Identities
from leaderboard.store.moderation import Moderation
from leaderboard.store.outbox import Outbox
from leaderboard.store.queue import Queue
from leaderboard.store.quotas import Quotas
from leaderboard.store.reruns import Reruns
from leaderboard.store.results import Results
from leaderboard.store.standings import Scoreboard
from leaderboard.store.submissions import Submissions
from leaderboard.store.versions import Versions
from leaderboard.store.watch import Watch


class Store(
    Identities,
    Queue,
    Submissions,
    Results,
    Versions,
    Scoreboard,
    Disclosure,
    Moderation,
    Reruns,
    Outbox,
    Watch,
    Quotas,
):
    """All of it, over one engine (`database.connect`)."""
