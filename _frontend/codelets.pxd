# The generated DFT codelets (codelets.py) and the tables by which a plan finds them.
from vec cimport vf

cdef extern from "codelets.h" nogil:
    ctypedef void (*row_codelet)(const float* block, const int* offset, const float* window, vf level, vf* y, Py_ssize_t stride) noexcept nogil
    ctypedef void (*column_codelet)(vf* y, const float* twiddle) noexcept nogil
    ctypedef void (*edge_codelet)(vf* y) noexcept nogil
    ctypedef struct row_entry:
        int points
        int inputs
        int operations
        row_codelet plain
        row_codelet levelled
    ctypedef struct column_entry:
        int points
        int wanted
        int operations
        column_codelet column
        edge_codelet first
        edge_codelet middle
    enum:
        ROW_ENTRIES
        COLUMN_ENTRIES
    const row_entry* row_entries
    const column_entry* column_entries
