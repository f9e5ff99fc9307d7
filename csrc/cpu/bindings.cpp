// The only file of the core that knows Python. Every function checks dtype, layout and shape at this door, copies
// nothing, and releases the GIL before it works.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "blas.h"

namespace py = pybind11;
using namespace fastconcept;

namespace {

void set_blas(uintptr_t sgemm, uintptr_t sgemv) {
    blas().sgemm = reinterpret_cast<Sgemm>(sgemm);
    blas().sgemv = reinterpret_cast<Sgemv>(sgemv);
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "Compiled CPU kernels of fastconcept; call them through fastconcept.kernels.cpu.";
    m.def("set_blas", &set_blas, py::arg("sgemm"), py::arg("sgemv"), "Addresses of cblas_sgemm and cblas_sgemv.");
}
