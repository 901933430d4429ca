"""Versions of what outlives a run: data sets, run folders, checkpoints, submissions, configurations.

What carries no version was written before there were any and counts as version 1. An older version is
migrated step by step where its steps are known, a newer one is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tvad.common.errors import InputError

Migration = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Format:
    """A format by name, in the version that this code writes."""

    name: str
    """For messages, and for the key "format" of files that have one."""
    version: int = 1
    """What this code writes; raised whenever older code would misread it."""
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    """From version n to n + 1. A version without a way up is refused."""
    key: str = "version"
    """Where the version stands."""

    def stamp(self) -> dict[str, Any]:
        """What a file of this format carries."""
        return {"format": self.name, self.key: self.version}

    def version_of(self, data: Mapping[str, Any], where: str) -> int:
        """The version that `data` states. Raises InputError, which names `where`, for another format and for
        a version that cannot be read."""
        if not isinstance(data, Mapping):
            raise InputError(f"{where}: expected a mapping, found {data!r:.80}")
        if data.get("format", self.name) != self.name:
            raise InputError(f"{where}: format is {data['format']!r}, expected {self.name!r}")
        found = data.get(self.key, 1)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise InputError(f"{where}: {self.key} is {found!r}, expected a whole number from 1 on")
        if found > self.version:
            raise InputError(
                f"{where}: version {found} of {self.name} is newer than this installation, which knows"
                f" versions up to {self.version}"
            )
        if missing := [n for n in range(found, self.version) if n not in self.migrations]:
            raise InputError(
                f"{where}: version {found} of {self.name} is no longer read (no way from version"
                f" {missing[0]} to {missing[0] + 1}); expected version {self.version}"
            )
        return found

    def migrate(self, data: dict[str, Any], version: int) -> dict[str, Any]:
        """`data` of a version that `version_of` let pass, as this version has it."""
        for step in range(version, self.version):
            data = self.migrations[step](data)
        return data

    def check(self, data: dict[str, Any], where: str) -> dict[str, Any]:
        """`data`, which carries its version itself, as this version has it. Raises as `version_of`."""
        return self.migrate(data, self.version_of(data, where)) | {self.key: self.version}
