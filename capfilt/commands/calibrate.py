"""What `capfilt calibrate` does: calibrate, and draw what came of it."""

from capfilt.charts.calibration import calibration_charts, file_name
from capfilt.charts.svg import standalone
from capfilt.core.storage import Folder
from capfilt.pipelines.calibration.calibrate import FOLDER, Calibration, calibrate


def calibrate_and_draw(folder: Folder, labels: str, *, precision: float, images: int, seed: int) -> Calibration:
    """As `pipelines.calibration.calibrate`, and an SVG a chart beside its files; images of an earlier one go."""
    result = calibrate(folder, labels, precision=precision, images=images, seed=seed)
    pictures = {
        f"{FOLDER}/{file_name(column, name)}": standalone(chart)
        for column, charts in calibration_charts(result).items()
        for name, chart in charts.items()
    }
    for name in set(folder.names(FOLDER, ".svg")) - pictures.keys():
        folder.delete(name)
    for name, picture in pictures.items():
        folder.write(name, picture)
    return result
