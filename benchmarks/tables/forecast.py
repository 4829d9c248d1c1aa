"""The table of what was forecast for one block of language models, and what it took."""

from benchmarks.measuring.results_file import committed
from benchmarks.tables.markdown import table


def forecast() -> str:
    """Bytes, FLOPs and seconds: measured, and the forecast as a part of that."""
    heads = ["a block of", "moments, MB", "forecast", "FLOPs of a batch", "forecast"]
    heads += ["seconds of a batch", "forecast", "decompositions, s", "forecast"]
    return table(
        heads,
        [
            [
                row["network"],
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['bytes_forecast'] / row['bytes']:.3f}",
                f"{row['flops']:.3g}",
                f"{row['flops_forecast'] / row['flops']:.3f}",
                f"{row['calibrate_s']:.2f}",
                f"{row['calibrate_forecast_s'] / row['calibrate_s']:.2f}",
                f"{row['decompose_s']:.2f}",
                f"{row['decompose_forecast_s'] / row['decompose_s']:.2f}",
            ]
            for row in committed("forecast")
        ],
    )


SECTIONS = {"forecast": forecast}
