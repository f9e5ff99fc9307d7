// The only file of the core that knows Python. Every function checks dtype, layout and shape at this door, copies
// nothing, and releases the GIL before it works.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bank.h"
#include "blas.h"
#include "nnlasso.h"
#include "product.h"
#include "ranks.h"
#include "resize.h"
#include "resize_images.h"
#include "saliency.h"
#include "simd.h"
#include "watch.h"

namespace py = pybind11;
using namespace fastconcept;

namespace {

// Threads that come back from a kernel while the interpreter shuts down must not ask for the GIL: Python would end
// them in a way that C++ does not survive. leave() is called first, at exit: it waits for those on their way.
std::atomic<bool> leaving{false};
std::atomic<int> returning{0};

bool is_main_thread() { return syscall(SYS_gettid) == getpid(); }

void leave() {
    leaving.store(true);
    const py::gil_scoped_release release;
    for (int waits = 0; returning.load() > 0 && waits < 5000; ++waits) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

// No GIL inside; signals that Python has a handler for (Ctrl-C) are looked at, by the main thread.
class Released : public Watch {
public:
    Released() : state_(PyEval_SaveThread()) {}
    ~Released() override {
        returning.fetch_add(1);
        if (leaving.load() && !is_main_thread()) {
            returning.fetch_sub(1);
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
        PyEval_RestoreThread(state_);
        returning.fetch_sub(1);
    }

protected:
    bool stop() override {
        if (!is_main_thread()) return false;
        PyEval_RestoreThread(state_);
        const bool signalled = PyErr_CheckSignals() != 0;
        state_ = PyEval_SaveThread();
        return signalled;
    }

private:
    PyThreadState* state_;
};

template <class Work>
void without_gil(const Work& work) {
    bool interrupted = false;
    {
        Released released;
        const Watch::Use use(&released);
        try {
            work();
        } catch (const Interrupted&) {
            interrupted = true;
        }
    }
    if (interrupted) throw py::error_already_set();  // what the handler of the signal has raised
}

void set_blas(uintptr_t sgemm, uintptr_t sgemv) {
    blas().sgemm = reinterpret_cast<Sgemm>(sgemm);
    blas().sgemv = reinterpret_cast<Sgemv>(sgemv);
}

// C-contiguous array of exactly this type; with noconvert() nothing else is accepted.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

void require_threads(int num_threads) { require(num_threads >= 1 && num_threads <= 1024, "num_threads: 1 to 1024"); }

template <class T>
void require_shape(const Array<T>& array, std::initializer_list<int64_t> shape, const char* name) {
    bool equal = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const int64_t size : shape) {
        equal = equal && (size < 0 || array.shape(axis) == size);
        ++axis;
    }
    if (!equal) throw std::invalid_argument(std::string(name) + " has the wrong shape");
}

Rows rows_of(const Array<float>& matrix, int64_t dims, const char* name) {
    require_shape(matrix, {-1, dims}, name);
    return {matrix.data(), matrix.shape(0), matrix.shape(1)};
}

// BLAS counts in int: no factor and no row stride may pass it.
void require_products_fit(const Rows& patches, const Rows& bank, const Rows& queries) {
    constexpr int64_t most = int64_t{1} << 30;
    require(bank.rows + queries.rows < most && bank.dims < most && patches.rows < most,
            "patches, bank and queries must have fewer than 2^30 rows and columns");
    require(bank.dims >= 1, "embeddings must have at least one dimension");
    require(blas().sgemm != nullptr, "no BLAS: import fastconcept.kernels.cpu");
}

Lists lists_of(const Array<int64_t>& indptr, const Array<int64_t>& indices) {
    require(indptr.ndim() == 1 && indptr.shape(0) >= 1 && indices.ndim() == 1, "indptr and indices must be vectors");
    return {indptr.data(), indices.data(), indptr.shape(0) - 1, indices.shape(0)};
}

// A bank, with what was made of it beforehand where it is prepared, by so many threads.
struct Bank {
    Bank(const Array<float>& given, std::optional<int> num_threads) : rows(given) {
        const Rows bank = rows_of(rows, -1, "bank");
        require_products_fit({}, bank, {});
        if (!num_threads) return;
        require_threads(*num_threads);
        without_gil([&] { prepared = std::make_unique<PreparedBank>(bank, *num_threads); });
    }
    int64_t nbytes() const { return rows.nbytes() + (prepared ? prepared->nbytes() : 0); }
    Rows view() const {
        Rows bank = rows_of(rows, -1, "bank");
        bank.prepared = prepared.get();
        return bank;
    }

    Array<float> rows;
    std::unique_ptr<PreparedBank> prepared;
};

py::tuple bind_subtree_ranks(const Array<float>& patches, const Bank& bank, const Array<int64_t>& indptr,
                             const Array<int64_t>& indices, const Array<float>& queries,
                             const std::optional<Array<float>>& known, int num_threads) {
    require_threads(num_threads);
    const Rows bank_rows = bank.view(), query_rows = rows_of(queries, bank_rows.dims, "queries");
    const Rows patch_rows = rows_of(patches, bank_rows.dims, "patches");
    const Lists subtrees = lists_of(indptr, indices);
    require_products_fit(patch_rows, bank_rows, query_rows);
    if (known) require_shape(*known, {patch_rows.rows, bank_rows.rows}, "known");
    const float* given = known ? known->data() : nullptr;
    const int64_t concepts = subtrees.count + query_rows.rows;
    Array<int32_t> ranks({patch_rows.rows, concepts});
    Array<float> similarities({patch_rows.rows, concepts});
    int32_t* rank = ranks.mutable_data();
    float* similarity = similarities.mutable_data();
    without_gil(
        [&] { subtree_ranks(patch_rows, bank_rows, subtrees, query_rows, given, rank, similarity, num_threads); });
    return py::make_tuple(ranks, similarities);
}

Array<float> bind_multiply_all(const Array<float>& patches, const Bank& bank, int num_threads) {
    require_threads(num_threads);
    const Rows bank_rows = bank.view(), patch_rows = rows_of(patches, bank_rows.dims, "patches");
    require_products_fit(patch_rows, bank_rows, {});
    Array<float> similarities({patch_rows.rows, bank_rows.rows});
    float* similarity = similarities.mutable_data();
    without_gil([&] { multiply_all(patch_rows, bank_rows, similarity, num_threads); });
    return similarities;
}

Array<int32_t> bind_all_ranks(const Array<float>& patches, const Bank& bank, const Array<int64_t>& child_indptr,
                              const Array<int64_t>& child_indices, const Array<int64_t>& order, int num_threads) {
    require_threads(num_threads);
    const Rows bank_rows = bank.view(), patch_rows = rows_of(patches, bank_rows.dims, "patches");
    const Lists children = lists_of(child_indptr, child_indices);
    require(children.count == bank_rows.rows, "child_indptr must have one entry more than the bank has rows");
    require_shape(order, {bank_rows.rows}, "order");
    require_products_fit(patch_rows, bank_rows, {});
    Array<int32_t> ranks({patch_rows.rows, bank_rows.rows});
    int32_t* rank = ranks.mutable_data();
    without_gil([&] { all_ranks(patch_rows, bank_rows, children, order.data(), rank, num_threads); });
    return ranks;
}

template <class Value>
py::tuple bind_saliency_maps(const Array<Value>& values, const Array<int32_t>& boxes, const Array<double>& weights,
                             int64_t height, int64_t width, int num_threads) {
    require_threads(num_threads);
    require_shape(values, {-1, -1}, "values");
    const int64_t count = values.shape(0), concepts = values.shape(1);
    require_shape(boxes, {count, 4}, "boxes");
    require_shape(weights, {count}, "weights");
    require(height >= 1 && width >= 1 && height <= (1 << 24) / width, "shape must be 1 to 2^24 cells");
    Array<float> maps({concepts, height, width});
    Array<double> low(concepts), high(concepts);
    float* map = maps.mutable_data();
    double *least = low.mutable_data(), *most = high.mutable_data();
    without_gil([&] {
        saliency_maps(values.data(), concepts, {boxes.data(), weights.data(), count}, height, width, map, least, most,
                      num_threads);
    });
    return py::make_tuple(maps, low, high);
}

Target target_of(const Array<float>& out, const Array<double>& mean, const Array<double>& std, bool bicubic) {
    require_shape(mean, {3}, "mean");
    require_shape(std, {3}, "std");
    Target target{out.shape(2), out.shape(3), bicubic ? Filter::kBicubic : Filter::kBilinear, {}, {}};
    require(target.height >= 1 && target.height <= 1 << 14 && target.width >= 1 && target.width <= 1 << 14,
            "size must be 1 to 16384 on each side");
    for (int channel = 0; channel < 3; ++channel) {
        target.mean[channel] = mean.at(channel);
        target.deviation[channel] = std.at(channel);
    }
    return target;
}

void bind_resize_patches(const Array<uint8_t>& image, const Array<int32_t>& boxes, const Array<double>& mean,
                         const Array<double>& std, bool bicubic, Array<float>& out, int num_threads) {
    require_threads(num_threads);
    require_shape(image, {-1, -1, 3}, "image");
    require_shape(boxes, {-1, 4}, "boxes");
    require_shape(out, {boxes.shape(0), 3, -1, -1}, "out");
    const Target target = target_of(out, mean, std, bicubic);
    const Image source{image.data(), image.shape(0), image.shape(1)};
    float* result = out.mutable_data();
    without_gil([&] { resize_patches(source, boxes.data(), boxes.shape(0), target, result, num_threads); });
}

void bind_resize_images(const std::vector<Array<uint8_t>>& images, const Array<int64_t>& placements,
                        const Array<double>& mean, const Array<double>& std, bool bicubic, int fill, Array<float>& out,
                        int num_threads) {
    require_threads(num_threads);
    const auto count = static_cast<int64_t>(images.size());
    require_shape(placements, {count, 4}, "placements");
    require_shape(out, {count, 3, -1, -1}, "out");
    require(fill >= 0 && fill <= 255, "fill must be 0 to 255");
    const Target target = target_of(out, mean, std, bicubic);
    std::vector<Image> sources;
    std::vector<Placement> places;
    for (int64_t i = 0; i < count; ++i) {
        const Array<uint8_t>& image = images[static_cast<size_t>(i)];
        require_shape(image, {-1, -1, 3}, "image");
        require(image.shape(0) >= 1 && image.shape(1) >= 1, "images must not be empty");
        require(image.shape(0) < (1 << 30) && image.shape(1) < (1 << 30), "images must have sides below 2^30");
        sources.push_back({image.data(), image.shape(0), image.shape(1)});
        const int64_t* at = placements.data() + 4 * i;
        constexpr int64_t most = int64_t{1} << 50;
        require(at[0] >= 1 && at[0] <= most && at[1] >= 1 && at[1] <= most, "placements: sizes must be 1 to 2^50");
        require(at[2] >= -most && at[2] <= most && at[3] >= -most && at[3] <= most, "placements: corners within 2^50");
        places.push_back({at[0], at[1], at[2], at[3]});
    }
    float* result = out.mutable_data();
    without_gil([&] {
        resize_images(sources.data(), places.data(), count, target, static_cast<uint8_t>(fill), result, num_threads);
    });
}

void bind_resize_image(const Array<uint8_t>& image, Array<uint8_t>& out, int num_threads) {
    require_threads(num_threads);
    constexpr int64_t most = int64_t{1} << 30;
    for (const Array<uint8_t>* array : {&image, static_cast<const Array<uint8_t>*>(&out)}) {
        require_shape(*array, {-1, -1, 3}, "image and out");
        require(array->shape(0) >= 1 && array->shape(1) >= 1, "image and out must not be empty");
        require(array->shape(0) < most && array->shape(1) < most, "image and out must have sides below 2^30");
    }
    const Image source{image.data(), image.shape(0), image.shape(1)};
    const int64_t height = out.shape(0), width = out.shape(1);
    uint8_t* result = out.mutable_data();
    without_gil([&] { resize_image(source, height, width, Filter::kBicubic, result, num_threads); });
}

// Instruction sets of this CPU that matter here, and which clone of the kernels (simd.h) the loader picked.
py::dict bind_cpu_features() {
    py::dict features;
    const char* clone = "baseline";
#if defined(__x86_64__)
    __builtin_cpu_init();
    features["sse4.2"] = __builtin_cpu_supports("sse4.2") != 0;
    features["avx2"] = __builtin_cpu_supports("avx2") != 0;
    features["fma"] = __builtin_cpu_supports("fma") != 0;
    features["avx512f"] = __builtin_cpu_supports("avx512f") != 0;
    features["avx512bw"] = __builtin_cpu_supports("avx512bw") != 0;
    features["avx512vnni"] = __builtin_cpu_supports("avx512vnni") != 0;
#if FASTCONCEPT_HAS_CLONES
    clone = __builtin_cpu_supports("x86-64-v4")   ? "x86-64-v4"
            : __builtin_cpu_supports("x86-64-v3") ? "x86-64-v3"
                                                  : "x86-64-v2";
#endif
#elif defined(__aarch64__)
    features["neon"] = true;
#endif
    features["clone"] = clone;
    return features;
}

// A dictionary prepared for nnlasso, with the array it refers to.
struct NnlassoDictionary {
    NnlassoDictionary(const Array<float>& rows_, const std::optional<Array<float>>& basis, int num_threads)
        : rows(rows_) {
        require(rows.ndim() == 2 && rows.shape(1) >= 1, "rows must be (N, d)");
        require(rows.shape(0) < (int64_t{1} << 30) && rows.shape(1) <= 65536, "rows are too many or too wide");
        if (basis) {
            require(basis->ndim() == 2 && basis->shape(0) == rows.shape(1) && basis->shape(1) >= 1 &&
                        basis->shape(1) <= basis->shape(0),
                    "basis must be (d, rank)");
        }
        require_threads(num_threads);
        const float* basis_data = basis ? basis->data() : nullptr;
        const int64_t rank = basis ? basis->shape(1) : 0;
        const float* data = rows.data();
        const int64_t count = rows.shape(0), width = rows.shape(1);
        without_gil([&] { solver = std::make_unique<Nnlasso>(data, count, width, basis_data, rank, num_threads); });
    }

    Array<float> rows;
    const ScreenedDictionary& screened() const { return solver->dictionary(); }

    std::unique_ptr<Nnlasso> solver;
};

py::tuple csr(const std::vector<SparseCode>& codes) {
    const auto n = static_cast<py::ssize_t>(codes.size());
    Array<int64_t> indptr(n + 1);
    Array<double> penalty(n), gap(n), kkt(n);
    Array<int32_t> rounds(n);
    indptr.mutable_at(0) = 0;
    for (py::ssize_t i = 0; i < n; ++i) {
        const SparseCode& code = codes[static_cast<size_t>(i)];
        indptr.mutable_at(i + 1) = indptr.at(i) + static_cast<int64_t>(code.indices.size());
        penalty.mutable_at(i) = code.penalty;
        gap.mutable_at(i) = code.gap;
        kkt.mutable_at(i) = code.kkt;
        rounds.mutable_at(i) = code.rounds;
    }
    Array<int32_t> indices(indptr.at(n));
    Array<double> values(indptr.at(n));
    for (py::ssize_t i = 0; i < n; ++i) {
        const SparseCode& code = codes[static_cast<size_t>(i)];
        std::copy(code.indices.begin(), code.indices.end(), indices.mutable_data() + indptr.at(i));
        std::copy(code.values.begin(), code.values.end(), values.mutable_data() + indptr.at(i));
    }
    return py::make_tuple(indptr, indices, values, penalty, gap, kkt, rounds);
}

py::tuple run_nnlasso(const NnlassoDictionary& dictionary, const Array<float>& targets, const Array<double>& penalties,
                      const Array<int64_t>& warm_indptr, const Array<int32_t>& warm_indices, bool is_signed,
                      double tolerance, int num_threads) {
    require(targets.ndim() == 2 && targets.shape(1) == dictionary.screened().dimension, "targets must be (n, d)");
    require_threads(num_threads);
    const int64_t n = targets.shape(0);
    require(penalties.ndim() == 1 && penalties.shape(0) == n, "penalties must be (n,)");
    require(warm_indptr.ndim() == 1 && warm_indptr.shape(0) == n + 1 && warm_indices.ndim() == 1,
            "warm start must be in CSR layout");
    require(warm_indptr.at(0) == 0 && warm_indptr.at(n) == warm_indices.shape(0), "warm start does not add up");
    for (int64_t i = 0; i < n; ++i) {
        require(warm_indptr.at(i) <= warm_indptr.at(i + 1), "warm_indptr must not fall");
        require(penalties.at(i) > 0, "penalties must be positive");
    }
    for (py::ssize_t i = 0; i < warm_indices.shape(0); ++i) {
        require(warm_indices.at(i) >= 0 && warm_indices.at(i) < (is_signed ? 2 : 1) * dictionary.screened().count,
                "warm start is out of range");
    }
    std::vector<SparseCode> codes(static_cast<size_t>(n));
    without_gil([&] {
        dictionary.solver->solve(targets.data(), n, penalties.data(), {warm_indptr.data(), warm_indices.data()},
                                 is_signed, tolerance, num_threads, codes.data());
    });
    return csr(codes);
}

py::tuple run_nnlasso_l0(const NnlassoDictionary& dictionary, const Array<float>& targets, int64_t l0, bool is_signed,
                         double tolerance, int num_threads) {
    require(targets.ndim() == 2 && targets.shape(1) == dictionary.screened().dimension, "targets must be (n, d)");
    require(l0 >= 1 && l0 < (int64_t{1} << 31), "l0 must be positive");
    require_threads(num_threads);
    std::vector<SparseCode> codes(static_cast<size_t>(targets.shape(0)));
    without_gil([&] {
        dictionary.solver->solve_l0(targets.data(), targets.shape(0), l0, is_signed, tolerance, num_threads,
                                    codes.data());
    });
    return csr(codes);
}

py::tuple run_screen(const NnlassoDictionary& dictionary, const Array<float>& targets, double value, int num_threads) {
    require(targets.ndim() == 2 && targets.shape(1) == dictionary.screened().dimension, "targets must be (n, d)");
    require_threads(num_threads);
    require(std::isfinite(value), "least must be finite");
    std::vector<std::vector<Candidate>> found(static_cast<size_t>(targets.shape(0)));
    without_gil([&] { dictionary.solver->screen(targets.data(), targets.shape(0), value, num_threads, found.data()); });
    Array<int64_t> indptr(targets.shape(0) + 1);
    indptr.mutable_at(0) = 0;
    for (size_t i = 0; i < found.size(); ++i) {
        const auto at = static_cast<py::ssize_t>(i);
        indptr.mutable_at(at + 1) = indptr.at(at) + static_cast<int64_t>(found[i].size());
    }
    Array<int32_t> rows(indptr.at(targets.shape(0)));
    int32_t* next = rows.mutable_data();
    for (const auto& list : found) {
        for (const Candidate& candidate : list) *next++ = candidate.row;
    }
    return py::make_tuple(indptr, rows);
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "Compiled CPU kernels of fastconcept; call them through fastconcept.kernels.cpu.";
    py::module_::import("atexit").attr("register")(py::cpp_function(&leave));
    m.def("set_blas", &set_blas, py::arg("sgemm"), py::arg("sgemv"), "Addresses of cblas_sgemm and cblas_sgemv.");
    py::class_<NnlassoDictionary>(m, "NnlassoDictionary")
        .def(py::init<const Array<float>&, const std::optional<Array<float>>&, int>(), py::arg("rows").noconvert(),
             py::arg("basis"), py::arg("num_threads"))
        .def_property_readonly("shape", [](const NnlassoDictionary& self) {
            return py::make_tuple(self.screened().count, self.screened().dimension);
        });
    m.def("nnlasso_screen", &run_screen, py::arg("dictionary"), py::arg("targets").noconvert(), py::arg("value"),
          py::arg("num_threads"));
    m.def("nnlasso", &run_nnlasso, py::arg("dictionary"), py::arg("targets").noconvert(),
          py::arg("penalties").noconvert(), py::arg("warm_indptr").noconvert(), py::arg("warm_indices").noconvert(),
          py::arg("signed"), py::arg("tolerance"), py::arg("num_threads"));
    m.def("nnlasso_l0", &run_nnlasso_l0, py::arg("dictionary"), py::arg("targets").noconvert(), py::arg("l0"),
          py::arg("signed"), py::arg("tolerance"), py::arg("num_threads"));
    // What a kernel rejects is an error of ours in Python.
    py::register_local_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const std::invalid_argument& error) {
            const py::object type = py::module_::import("fastconcept.errors").attr("InputError");
            PyErr_SetString(type.ptr(), error.what());
        }
    });
    using py::arg;
    m.def("cpu_features", &bind_cpu_features);
    py::class_<Bank>(m, "Bank")
        .def(py::init<const Array<float>&, std::optional<int>>(), arg("rows").noconvert(), arg("num_threads"))
        .def_property_readonly("nbytes", &Bank::nbytes);
    py::enum_<Product>(m, "Product")
        .value("BLAS", Product::kBlas)
        .value("AVX2", Product::kAvx2)
        .value("AVX512", Product::kAvx512)
        .value("TWIN", Product::kTwin);
    m.def("product", &product);
    m.def("choose_product", &choose_product, arg("wanted"));
    m.def("subtree_ranks", &bind_subtree_ranks, arg("patches").noconvert(), arg("bank"), arg("indptr").noconvert(),
          arg("indices").noconvert(), arg("queries").noconvert(), arg("known").noconvert(), arg("num_threads"));
    m.def("multiply_all", &bind_multiply_all, arg("patches").noconvert(), arg("bank"), arg("num_threads"));
    m.def("all_ranks", &bind_all_ranks, arg("patches").noconvert(), arg("bank"), arg("child_indptr").noconvert(),
          arg("child_indices").noconvert(), arg("order").noconvert(), arg("num_threads"));
    m.def("saliency_maps", &bind_saliency_maps<float>, arg("values").noconvert(), arg("boxes").noconvert(),
          arg("weights").noconvert(), arg("height"), arg("width"), arg("num_threads"));
    m.def("saliency_maps", &bind_saliency_maps<int32_t>, arg("values").noconvert(), arg("boxes").noconvert(),
          arg("weights").noconvert(), arg("height"), arg("width"), arg("num_threads"));
    m.def("resize_patches", &bind_resize_patches, arg("image").noconvert(), arg("boxes").noconvert(),
          arg("mean").noconvert(), arg("std").noconvert(), arg("bicubic"), arg("out").noconvert(), arg("num_threads"));
    m.def("resize_image", &bind_resize_image, arg("image").noconvert(), arg("out").noconvert(), arg("num_threads"));
    m.def("resize_images", &bind_resize_images, arg("images"), arg("placements").noconvert(), arg("mean").noconvert(),
          arg("std").noconvert(), arg("bicubic"), arg("fill"), arg("out").noconvert(), arg("num_threads"));
}
