"""Derives the polynomial of ``ln.pxd``: run it to see the coefficients and the error they leave.

    ln(1 + r) = r - r²/2 + r³·P(r)   for 1 + r in [sqrt(1/2), sqrt(2))

P is the minimax polynomial in the sense of the relative error of ln(1 + r), found by Remez exchange in double
precision; the coefficients are then rounded to float32 one at a time, the rest being fitted again after each, which
keeps the rounded polynomial as good as the exact one.
"""

from __future__ import annotations

import numpy as np

DEGREE = 7
LOW, HIGH = np.sqrt(0.5) - 1, np.sqrt(2.0) - 1


def remainder(r: np.ndarray) -> np.ndarray:
    """(ln(1 + r) - r + r²/2) / r³, by its series near zero, where the difference would cancel."""
    small = np.abs(r) < 0.02
    safe = np.where(small, 0.1, r)
    series = sum((-1) ** k * r**k / (k + 3) for k in range(10))
    return np.where(small, series, (np.log1p(safe) - safe + safe**2 / 2) / safe**3)


def weight(r: np.ndarray) -> np.ndarray:
    """What an error in P does to ln(1 + r), relatively."""
    safe = np.where(np.abs(r) < 1e-9, 1e-9, r)
    return np.abs(safe**3 / np.log1p(safe))


def remez(target: np.ndarray, grid: np.ndarray, powers: list[int]) -> np.ndarray:
    """Minimax coefficients of sum(c_k·r^k, k in powers) against ``target`` on ``grid`` by iterated reweighting."""
    basis = np.stack([grid**k for k in powers], axis=1)
    scale = weight(grid)
    # Lawson's iteration: weighted least squares whose weights follow the error converge to the minimax solution.
    lawson = np.full(grid.size, 1.0 / grid.size)
    best, best_error = np.zeros(len(powers)), np.inf
    for _ in range(400):
        root = np.sqrt(lawson) * scale
        coefficients = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
        error = np.abs((basis @ coefficients - target) * scale)
        if error.max() < best_error:
            best, best_error = coefficients, float(error.max())
        lawson *= error
        lawson /= lawson.sum()
    return best


def main() -> None:
    nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
    grid = (LOW + HIGH) / 2 + (HIGH - LOW) / 2 * nodes
    target = remainder(grid)
    fixed = np.zeros(0, dtype=np.float32)
    for first in range(DEGREE + 1):
        known = sum((float(c) * grid**k for k, c in enumerate(fixed)), np.zeros_like(grid))
        rest = remez(target - known, grid, list(range(first, DEGREE + 1)))
        fixed = np.append(fixed, np.float32(rest[0]))
    polynomial = sum(float(c) * grid**k for k, c in enumerate(fixed))
    print("largest relative error before float32 arithmetic:", np.max(np.abs(polynomial - target) * weight(grid)))
    for k, c in enumerate(fixed):
        print(f"r^{k}: {c!s:>14}  {float(c).hex()}")


if __name__ == "__main__":
    main()
