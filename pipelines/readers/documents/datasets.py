"""The annotation files of public data sets."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar

from capfilt.pipelines.readers.documents.shape import DocumentShape, is_list_of_rows
from capfilt.pipelines.readers.files.failures import NothingToRead
from capfilt.pipelines.readers.rows.columns import Record
from capfilt.pipelines.readers.text.texts import usual_text


class Coco(DocumentShape):
    about = "COCO captions (`captions_val2017.json`), and data sets written like it; a `bbox` makes a caption a region"
    example: ClassVar[Any] = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 7, "caption": "a cat"}, {"image_id": 7, "caption": "a grey cat"}],
    }

    def fits(self, document: Any) -> bool:
        if not isinstance(document, dict) or not is_list_of_rows(document.get("images")):
            return False
        return isinstance(document.get("annotations"), list) and "id" in document["images"][0]

    def records(self, document: Any) -> Iterator[Record]:
        captions: dict[str, list[Any]] = defaultdict(list)  # ids are numbers here and strings there, in one file too
        for note in document["annotations"]:
            if isinstance(note, dict) and (name := usual_text(note)):
                about = {name: note[name], "bbox": note["bbox"]} if note.get("bbox") else note[name]
                captions[str(note.get("image_id"))].append(about)
        if not captions:
            raise NothingToRead("annotations without captions (boxes, keypoints, ...)")
        for image in document["images"]:
            yield dict(image) | {"captions": captions.pop(str(image.get("id")), [])}
        for missing, texts in captions.items():
            yield {"file_name": None, "captions": texts, "image_id": missing}


class Karpathy(DocumentShape):
    about = "Karpathy's splits of COCO, Flickr8k and Flickr30k (`dataset_coco.json`)"
    example: ClassVar[Any] = {"images": [{"filepath": "val2014", "filename": "a.jpg", "sentences": [{"raw": "a cat"}]}]}

    def fits(self, document: Any) -> bool:
        images: Any = document.get("images") if isinstance(document, dict) else []
        return is_list_of_rows(images) and all("sentences" in image for image in images[:20])

    def records(self, document: Any) -> Iterator[Record]:
        for image in document["images"]:
            folder = image.get("filepath")
            name = f"{folder}/{image['filename']}" if folder and "filename" in image else image.get("filename")
            rest = {key: value for key, value in image.items() if key not in ("filepath", "filename")}
            yield {"file_name": name} | rest


class VisualGenome(DocumentShape):
    about = "Visual Genome's `region_descriptions.json`, with the boxes; images are named by their ids"
    example: ClassVar[Any] = [{"id": 1, "regions": [{"phrase": "a clock", "x": 9, "y": 5, "width": 40, "height": 30}]}]

    def fits(self, document: Any) -> bool:
        return isinstance(document, list) and bool(document) and all(map(self._is_image, document[:20]))

    def records(self, document: Any) -> Iterator[Record]:
        for image in document:
            phrases = [self._phrase(region) for region in image["regions"] if isinstance(region, dict)]
            known = {name: image[name] for name in ("url", "file_name", "width", "height") if image.get(name)}
            yield {"file_name": f"{self._id(image)}.jpg", "captions": phrases} | known

    @staticmethod
    def _phrase(region: dict[str, Any]) -> dict[str, Any]:
        return {name: region.get(name) for name in ("phrase", "x", "y", "width", "height")}

    @staticmethod
    def _id(image: dict[str, Any]) -> Any:
        return image.get("id", image.get("image_id"))

    def _is_image(self, image: Any) -> bool:
        return isinstance(image, dict) and isinstance(image.get("regions"), list) and self._id(image) is not None
