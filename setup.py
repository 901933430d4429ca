"""What pyproject.toml cannot say: a wheel carries the configurations and the small checkpoint, which lie
beside the packages in a checkout and inside `tvad` in an installation (`tvad/common/shipped.py`)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("configs", "assets/tvad-tiny")


class Build(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                shutil.copytree(name, Path(self.build_lib, "tvad", name), dirs_exist_ok=True)


setup(cmdclass={"build_py": Build})
