# The vector type of vec.h. Cython is told that it is a float: arithmetic, float * vf and <vf*> loads then compile to
# vector operations; what a float cannot do (lane access, comparison masks) goes through the functions below.
cdef extern from "vec.h" nogil:
    enum:
        VF_LANES
    ctypedef float vf
    vf vf_load(const float* p)
    void vf_store(float* p, vf v)
    vf vf_set(float s)
