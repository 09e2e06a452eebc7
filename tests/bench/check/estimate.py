"""How good the estimate of `capfilt check --sample` is: the sample, and then the real run of the same list.

    python tests/bench/check/estimate.py [--images 800] [--sample 300] [--set KEY=VALUE]

The list is that of the demo, whose site this serves: slow pages, pages that never answer and broken ones among it. The
captioner and the filter are the demo's. Both times are taken by the clock; the run's from its start to its end.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import capfilt
from capfilt.demo.runner import PORTS, url_list
from capfilt.demo.world.server import serving
from capfilt.demo.world.site import pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    changes = dict(one.split("=", 1) for one in asked.set) or {"engine.kind": "local"}
    site = pages(asked.images, 0)
    with tempfile.TemporaryDirectory() as folder, serving(asked.images, 0, PORTS) as port:
        urls = Path(folder) / "urls.tsv"
        urls.write_bytes(url_list(site, port))
        found = capfilt.check(urls, recipe="demo", set=changes, sample=asked.sample)
        began = time.perf_counter()
        run = capfilt.run(urls, Path(folder) / "out", recipe="demo", set=changes)
        taken = time.perf_counter() - began
        whole, status = found.report.estimate, run.status()
        assert whole is not None
        sizes = {name: sum(map(_size, (Path(folder) / "out" / name).glob("*.parquet"))) for name in whole.storage}
    print(
        json.dumps(
            {
                "rows": asked.images,
                "sample": asked.sample,
                "settings": changes,
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "estimated_seconds": round(whole.hours * 3600, 1),
                "real_seconds": round(taken, 1),
                "off": round(whole.hours * 3600 / taken - 1, 3),
                "estimated_storage": sum(whole.storage.values()),
                "real_storage": sum(sizes.values()),
                "once_seconds": round(whole.once, 1),
                "stages": {name: round(spent, 2) for name, spent in found.report.sample.timing.seconds.items()},
                "failed": sum(status.failures.values()),
            }
        )
    )


def _size(path: Path) -> int:
    return path.stat().st_size


if __name__ == "__main__":
    main()
