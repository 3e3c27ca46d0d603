"""A chip that knows nothing of madem: it reads a line of JSON, does what it asks, answers a line.

    python scripted_chip.py INPUTS OUTPUTS SEED

One array of pairs of cells between the input lines, a bias line and the outputs. A laboratory's
controller takes its place; ``docs/machines.md`` says what it has to answer.
"""

import json
import random
import sys

UNIT, BASE, HIGH, ERROR = 400e-6, 20e-6, 200e-6, 1e-6
"""Of a weight of one, at the start, the largest, the error of a write; all in siemens."""


class Chip:
    """Pairs of cells, their weights being ``(G+ - G-) / UNIT``; the last line is the bias's."""

    def __init__(self, inputs: int, outputs: int, seed: int) -> None:
        """Begin with all weights at zero."""
        self.draws = random.Random(seed)
        self.cells = [[[BASE, BASE] for _ in range(inputs + 1)] for _ in range(outputs)]

    def _weights(self) -> list[list[float]]:
        return [[(plus - minus) / UNIT for plus, minus in row] for row in self.cells]

    def show(self) -> dict[str, object]:
        """Return what the cells hold: the weight and the bias."""
        rows = self._weights()
        return {"parameters": [[row[:-1] for row in rows], [row[-1] for row in rows]]}

    def settle(self, x: list[list[float]], push: list[list[float]] | None) -> dict[str, object]:
        """Drive the lines with every sample of ``x``, draw the currents ``push``, and sense."""
        rows = self._weights()
        output = []
        for number, sample in enumerate(x):
            lines = [*sample, 1.0]
            sums = [sum(map(float.__mul__, row, lines)) for row in rows]
            drawn = push[number] if push else [0.0] * len(sums)
            output.append([y - p for y, p in zip(sums, drawn, strict=True)])
        return {"states": [output], "output": output, "converged": [1] * len(x)}

    def write(self, changes: list[list]) -> dict[str, object]:
        """Change the weights by pulses: one cell of a pair down, or where it ends the other up."""
        weight, bias = changes
        for row, own, last in zip(self.cells, weight, bias, strict=True):
            for pair, change in zip(row, [*own, last], strict=True):
                if not change:
                    continue
                up, down = (0, 1) if change > 0 else (1, 0)
                step = abs(change) * UNIT + self.draws.gauss(0, ERROR)
                if pair[down] >= step:
                    pair[down] = min(pair[down] - step, HIGH)
                else:
                    pair[up] = min(max(pair[up] + step, 0.0), HIGH)
        return self.show()


if __name__ == "__main__":
    chip = Chip(*map(int, sys.argv[1:]))
    for line in sys.stdin:
        question = json.loads(line)
        verb = question.pop("verb")
        print(json.dumps(getattr(chip, verb)(**question)), flush=True)
