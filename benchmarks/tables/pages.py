"""Write the committed results into the documents: tables between markers, figures, one page."""

from pathlib import Path

from benchmarks.measuring.results_file import committed
from benchmarks.tables import (
    bits,
    bits_ablation,
    bits_language,
    bits_sentences,
    channels,
    factorisation_kit,
    figures,
    forecast,
    healing,
    language,
    main_path,
    memory,
    networks,
    readme,
    robustness,
    seconds,
    shrinkage,
    speed,
    studies,
    zoo,
)

PAGES = (
    "README.md",
    "docs/guides/large-runs.md",
    "docs/studies.md",
    "docs/transformers.md",
    "docs/results/main-path.md",
    "docs/results/bits.md",
    "docs/results/bits-language.md",
    "docs/results/bits-ablation.md",
    "docs/results/shrinkage.md",
    "docs/results/channels.md",
    "docs/results/factorisation-kit.md",
    "docs/results/healing.md",
    "docs/results/robustness.md",
    "docs/results/seconds.md",
    "docs/results/speed.md",
    "docs/results/networks.md",
    "docs/results/zoo.md",
)
PARTS = (
    main_path,
    bits,
    bits_ablation,
    bits_language,
    bits_sentences,
    channels,
    factorisation_kit,
    forecast,
    healing,
    language,
    networks,
    readme,
    robustness,
    seconds,
    shrinkage,
    speed,
    studies,
    zoo,
)
SECTIONS = {name: make for part in PARTS for name, make in part.SECTIONS.items()}


def filled(text: str) -> str:
    """The text with a new table or sentence between each pair of markers."""
    for name, make in SECTIONS.items():
        start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"
    return text


def write_pages() -> None:
    """Write all pages; run in the root of the repository."""
    for path in map(Path, PAGES):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{path}: tables written")
    path = Path("docs/results/memory.md")
    path.write_text(memory.page(committed("memory")), encoding="utf-8")
    print(f"{path}: written")
    for path in figures.draw():
        print(f"{path}: drawn")
