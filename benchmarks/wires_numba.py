"""The algorithm of ``native/wires.inl`` as plain loops over reads, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(fastmath=True)
def lines(g, wire):
    m, n = g.shape
    wl, wk, bl, bk = np.empty((m, n)), np.empty((m, n)), np.empty((m, n)), np.empty((m, n))
    for i in range(m):
        beyond = 0.0
        for j in range(n - 1, -1, -1):
            here = g[i, j] + beyond
            wl[i, j] = 1 / (here + wire)
            wk[i, j] = here * wl[i, j]
            beyond = wire * wk[i, j]
    for j in range(n):
        beyond = 0.0
        for i in range(m):
            here = g[i, j] + beyond
            bl[i, j] = 1 / (here + wire)
            bk[i, j] = here * bl[i, j]
            beyond = wire * bk[i, j]
    return wl, wk, bl, bk


@njit(fastmath=True)
def words(g, wl, wk, source, push, u):
    m, n = g.shape
    for i in range(m):
        going = source.dtype.type(0)
        for j in range(n - 1, -1, -1):
            u[i, j] = source[i, j] * g[i, j] + going
            going = u[i, j] - wk[i, j] * u[i, j]
        before = push[i]
        for j in range(n):
            before = before + wl[i, j] * u[i, j] - wk[i, j] * before
            u[i, j] = before


@njit(fastmath=True)
def bits(g, bl, bk, source, u):
    m, n = g.shape
    for j in range(n):
        u[0, j] = source[0, j] * g[0, j]
    for i in range(1, m):
        for j in range(n):
            u[i, j] = source[i, j] * g[i, j] + u[i - 1, j] - bk[i - 1, j] * u[i - 1, j]
    for j in range(n):
        u[m - 1, j] = bl[m - 1, j] * u[m - 1, j]
    for i in range(m - 2, -1, -1):
        for j in range(n):
            u[i, j] = bl[i, j] * u[i, j] + u[i + 1, j] - bk[i, j] * u[i + 1, j]


@njit(fastmath=True)
def inner(g, wire, x):
    m, n = g.shape
    total = 0.0
    for i in range(m):
        for j in range(n):
            drop = x[i, j] - x[i + 1, j] if i + 1 < m else x[i, j]
            total += g[i, j] * x[i, j] * x[i, j] + wire * drop * drop
    return total


@njit(fastmath=True)
def solve(g, v, wire, tolerance, wl, wk, bl, bk, out):
    m, n = g.shape
    none, b = np.zeros_like(v[0]), np.zeros_like(g)
    w, u, z, p = np.empty_like(g), np.empty_like(g), np.empty_like(g), np.empty_like(g)
    for q in range(len(v)):
        b[:] = 0
        words(g, wl, wk, b, v[q], w)
        bits(g, bl, bk, w, z)
        p[:] = z
        first = size = inner(g, wire, z)
        for _ in range(200):
            if size <= tolerance * tolerance * first:
                break
            words(g, wl, wk, p, none, w)
            way = inner(g, wire, p)
            for i in range(m):
                for j in range(n):
                    way -= p[i, j] * g[i, j] * w[i, j]
            alpha = g.dtype.type(size / way)
            bits(g, bl, bk, w, u)
            for i in range(m):
                for j in range(n):
                    b[i, j] += alpha * p[i, j]
                    z[i, j] -= alpha * (p[i, j] - u[i, j])
            now = inner(g, wire, z)
            beta = g.dtype.type(now / size)
            size = now
            for i in range(m):
                for j in range(n):
                    p[i, j] = z[i, j] + beta * p[i, j]
        words(g, wl, wk, b, v[q], w)
        out[q, : m * n] = w.ravel()
        out[q, m * n :] = b.ravel()
