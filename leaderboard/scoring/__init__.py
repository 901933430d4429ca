"""Scoring of submissions, and the evidence that it leaves. `python -m leaderboard.scoring` is a scorer."""
