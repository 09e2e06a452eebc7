"""`make bench-models`: how fast, how right and how large the models are, beside `transformers` in the same run."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "support" / "inputs"))

PARTS: Final = ("captions", "judging", "chunk", "parity", "agreement")


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python tests/bench/models", description=__doc__)
    sizes = ("base", "large")
    parser.add_argument("--seconds", type=float, default=1500, help="nothing is begun that would end after so long")
    parser.add_argument("--sizes", nargs="+", default=["base"], choices=sizes)
    parser.add_argument("--parity-sizes", nargs="+", default=list(sizes), choices=sizes)
    parser.add_argument("--dtypes", nargs="+", help="else float32, and bfloat16 where the device computes in it")
    parser.add_argument("--batches", nargs="+", type=int, help="else 8 and 1, and on CUDA 256, 128 and 32 before")
    parser.add_argument("--chunk", type=int, default=8, help="images of the chunk")
    parser.add_argument("--clip", default="ViT-B-32", help="a model of open_clip by name")
    parser.add_argument("--repeat", type=int, default=2, help="turns; the fastest counts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="of torch; else as many as it takes by itself")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: of this process, for a busy machine"
    )
    parser.add_argument("--folder", type=Path, help="where checkpoints are made, and kept; else a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where results.json is written")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.batches = asked.batches or [*[256, 128, 32] * (asked.device == "cuda"), 8, 1]
    asked.dtypes = asked.dtypes or ["float32", *["bfloat16"] * _has_bfloat16(asked.device)]
    told = _told(sys.argv[1:])
    asked.command = " ".join(["python tests/bench/models", *told]) if told else "make bench-models"
    return asked


def _has_bfloat16(device: str) -> bool:
    """A CPU without it would be asked for ten times the time, to show what nobody should do there."""
    return device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _told(words: list[str]) -> list[str]:
    """What was typed, less where checkpoints and results are kept: that says nothing of the results."""
    places = ("--folder", "--out")
    return [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & set(places)]


def main() -> None:
    """Run it; what matters most comes first."""
    import cases
    import report
    from bench import Bench

    asked = arguments()
    os.environ["BENCH_CLOCK"] = asked.clock
    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.child:
        print(json.dumps(cases.child(asked.child)))
        return
    with tempfile.TemporaryDirectory(prefix="capfilt-bench-") as temporary:
        bench = Bench(asked, asked.folder or Path(temporary))
        for size in asked.sizes:
            for dtype in asked.dtypes:
                for part in (cases.captions, cases.judging, cases.chunk):
                    if part.__name__ in asked.only:
                        part(bench, size, dtype)
        for size in asked.parity_sizes:
            if "parity" in asked.only:
                cases.same_as_transformers(bench, size)
        if "agreement" in asked.only and "bfloat16" in asked.dtypes:
            cases.agreement(bench, asked.sizes[0])
    print(f"\n{report.markdown(bench.results)}")


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    main()
