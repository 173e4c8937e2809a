# The vector type of vec.h. Cython is told that it is a float: arithmetic, float * vf and <vf*> loads then compile to
# vector operations; what a float cannot do (lane access, comparison masks) goes through the functions below.
cdef extern from "vec.h" nogil:
    enum:
        VF_LANES
    ctypedef float vf
    ctypedef int vi
    vf vf_load(const float* p)
    void vf_store(float* p, vf v)
    vf vf_set(float s)
    void fetch_part(const float* p, Py_ssize_t n, int i, int parts)
    vi vf_bits(vf v)
    vf vi_as_float(vi v)
    vf vi_to_float(vi v)
    vf vf_select(vi m, vf a, vf b)
    vf vf_max(vf a, vf b)
    vf vf_sqrt(vf v)
    void transpose_4x4(const float* src, Py_ssize_t src_stride, float* dst, Py_ssize_t dst_stride)
    vf vf_triangles_4(const float* x, const int* at, const float* w, int n, vf rise, vf* out)
    void transpose_8x4(const float* src, Py_ssize_t src_stride, float* dst, Py_ssize_t dst_stride)
