"""What a benchmark prints: figures, each beside its floor or its aim."""

import statistics


class Table:
    """Lines of a figure, its floor, their ratio and the ratio aimed at."""

    def __init__(self) -> None:
        self.missed = 0

    def row(self, what: str, figures: list[tuple[float, float]], aim: float | None) -> None:
        ratio = statistics.median(figure / floor for figure, floor in figures)
        figure = statistics.median(figure for figure, _ in figures)
        floor = statistics.median(floor for _, floor in figures)
        verdict = ""
        if aim is not None:
            verdict = f"  aim {aim:.1f} {'ok' if ratio <= aim else 'MISSED'}"
            self.missed += ratio > aim
        print(f"{what:<58} {figure:7.1f} µs  floor {floor:5.1f}  ratio {ratio:5.2f}{verdict}")

    def value(self, what: str, value: float, unit: str, aim: float | None) -> None:
        verdict = ""
        if aim is not None:
            verdict = f"  aim {aim:g} {'ok' if value <= aim else 'MISSED'}"
            self.missed += value > aim
        figure = f"{value:7.2f}" if value < 1 else f"{value:7,.1f}"
        print(f"{what:<58} {figure} {unit}{verdict}")

    def tell_missed(self) -> None:
        if self.missed:
            print(f"\n{self.missed} figures miss their aim")
