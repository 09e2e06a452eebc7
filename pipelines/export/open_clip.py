"""open_clip: webdataset as its trainer wants it, with the file of the sizes."""

from dataclasses import replace

from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, to_json
from capfilt.pipelines.export.webdataset import WebdatasetFormat


class OpenClipFormat(WebdatasetFormat):
    """As `webdataset`, and data/sizes.json."""

    layout = replace(
        WebdatasetFormat.layout,
        reader="python -m open_clip_train.main --dataset-type webdataset --train-data '{to}/data/{{00000..LAST}}.tar'",
    )

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        folder.write(f"{DATA}/sizes.json", to_json({f"{name}.tar": count for name, count in shards.items()}))
