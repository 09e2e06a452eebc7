"""Build hook: `models/` and `pipelines/` become `capfilt/models` and `capfilt/pipelines` in the wheel.

In the repository both are symbolic links. Links do not survive a .zip or a clone with `core.symlinks=false`;
a build that follows them makes a wheel without models, and reports no error. So the build maps the folders itself.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("models", "pipelines")
NO_FOLDER = "{name}/ is missing beside capfilt/: this source tree is incomplete, and the wheel would not work"
NO_LINKS = """capfilt/{name} is not a link to ../{name}: this copy of the repository has lost its symbolic links.
An editable install needs them. Either install without -e, or run this in the repository's root and try again:
    rm -f capfilt/models capfilt/pipelines && ln -s ../models ../pipelines capfilt/"""


class MapFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the two folders to a wheel; an editable install uses the links instead, and needs them."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        for name in FOLDERS:
            if not (root / name / "__init__.py").is_file():
                raise RuntimeError(NO_FOLDER.format(name=name))
            if version == "editable":
                if not (root / "capfilt" / name / "__init__.py").is_file():
                    raise RuntimeError(NO_LINKS.format(name=name))
            else:
                build_data["force_include"][name] = f"capfilt/{name}"
