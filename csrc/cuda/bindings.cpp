// The only file of the CUDA core that knows Python. Arrays arrive as device addresses with their sizes, streams as
// addresses (0 is the default stream). Sizes are checked here, contents in fastconcept/kernels/cuda.py; every function
// only queues work, without the GIL, and throws where a launch is refused.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "nnlasso.h"
#include "ranks.h"
#include "resize.h"
#include "saliency.h"

#ifndef FASTCONCEPT_MODULE
#define FASTCONCEPT_MODULE _cuda
#endif

namespace py = pybind11;
using namespace fastconcept::cuda;

namespace {

constexpr int64_t kMaxGrid = (int64_t{1} << 31) - 1;

template <class T>
T* at(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

Stream stream_at(uintptr_t address) { return reinterpret_cast<Stream>(address); }

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("CUDA kernel: ") + what);
}

Similarities similarities_at(uintptr_t data, int64_t rows, int64_t columns, int64_t pitch) {
    require(rows >= 0 && rows <= kMaxGrid && columns >= 0 && pitch >= columns && pitch % 4 == 0 && data % 16 == 0,
            "similarities must have aligned rows of a multiple of 4 floats");
    return {at<const float>(data), rows, columns, pitch};
}

void bind_split_rows(uintptr_t rows, int64_t count, int64_t dims, bool second_high, int64_t pitch, uintptr_t out,
                     uintptr_t invalid, uintptr_t stream) {
    require(count >= 0 && dims >= 1 && pitch >= 3 * dims, "split rows need 3 * dims columns");
    split_rows(at<const float>(rows), count, dims, second_high, pitch, at<Half>(out), at<int32_t>(invalid),
               stream_at(stream));
}

void bind_subtree_maxima(uintptr_t data, int64_t rows, int64_t columns, int64_t pitch, uintptr_t indptr,
                         uintptr_t indices, int64_t count, uintptr_t best, int64_t best_pitch, uintptr_t stream) {
    require(count >= 0 && best_pitch >= count, "one column of maxima per list");
    subtree_maxima(similarities_at(data, rows, columns, pitch), at<const int64_t>(indptr), at<const int32_t>(indices),
                   count, at<float>(best), best_pitch, stream_at(stream));
}

void bind_count_greater(uintptr_t data, int64_t rows, int64_t columns, int64_t pitch, uintptr_t best, int64_t concepts,
                        uintptr_t ranks, uintptr_t stream) {
    require(concepts >= 0 && columns <= (int64_t{65535} << 12), "at most 65535 * 4096 concepts");
    count_greater(similarities_at(data, rows, columns, pitch), at<const float>(best), concepts, at<int32_t>(ranks),
                  stream_at(stream));
}

void bind_all_ranks(uintptr_t data, int64_t rows, int64_t columns, int64_t pitch,
                    const std::array<uintptr_t, 6>& levels, const std::array<int32_t, 3>& sizes, int32_t room,
                    uintptr_t scratch, uintptr_t ranks, uintptr_t stream) {
    require(sizes[0] >= 0 && sizes[1] >= 0 && sizes[2] >= 0, "slots, edges and levels must not be negative");
    const auto table = [&](int i) { return at<const int32_t>(levels[static_cast<size_t>(i)]); };
    const Levels lists{table(0), table(1), table(2), table(3), table(4), table(5), sizes[0], sizes[1], sizes[2]};
    all_ranks(similarities_at(data, rows, columns, pitch), lists, room, at<int32_t>(scratch), at<int32_t>(ranks),
              stream_at(stream));
}

void bind_saliency_maps(uintptr_t values, bool integers, int64_t pitch, int64_t concepts,
                        const std::array<uintptr_t, 4>& coverage, const std::array<int32_t, 2>& shape, int64_t patches,
                        int64_t blocks, uintptr_t means, uintptr_t maps, uintptr_t low, uintptr_t high,
                        uintptr_t stream) {
    require(concepts >= 0 && pitch >= concepts && patches >= 1, "maps need concepts and patches");
    require(shape[0] >= 1 && shape[1] >= 1 && int64_t{shape[0]} * shape[1] <= kMaxGrid,
            "maps need cells, not too many");
    require(blocks >= 0 && blocks <= kMaxGrid && patches < int64_t{1} << kPatchBits, "too many blocks or patches");
    const Coverage cover{at<const int32_t>(coverage[0]),
                         at<const int32_t>(coverage[1]),
                         at<const double>(coverage[2]),
                         at<const double>(coverage[3]),
                         shape[0],
                         shape[1],
                         patches};
    const auto run = [&](auto* typed) {
        saliency_maps(typed, pitch, concepts, cover, blocks, at<double>(means), at<float>(maps), at<double>(low),
                      at<double>(high), stream_at(stream));
    };
    if (integers) run(at<const int32_t>(values));
    else run(at<const float>(values));
}

// One axis of a resize: addresses of sizes, offsets, taps and starts.
TapTables tables_at(const std::array<uintptr_t, 4>& axis, int32_t count, int32_t output) {
    require(count >= 1 && output >= 1, "an axis needs at least one size");
    return {at<const int32_t>(axis[0]),
            at<const int64_t>(axis[1]),
            at<int32_t>(axis[2]),
            at<int32_t>(axis[3]),
            count,
            output};
}

void bind_fill_taps(const std::array<uintptr_t, 4>& axis, int32_t count, int32_t output, int32_t filter,
                    uintptr_t stream) {
    fill_taps(tables_at(axis, count, output), static_cast<Filter>(filter), stream_at(stream));
}

void bind_resize_patches(uintptr_t image, int64_t width, uintptr_t boxes, uintptr_t rows, int64_t count,
                         int64_t tallest, uintptr_t between, const std::array<uintptr_t, 4>& horizontal,
                         const std::array<uintptr_t, 4>& vertical, const std::array<int32_t, 2>& sizes,
                         const std::array<int32_t, 2>& output, int32_t filter, const std::array<float, 3>& scale,
                         const std::array<float, 3>& shift, bool half, uintptr_t out, uintptr_t stream) {
    require(count >= 0 && count <= kMaxGrid && tallest >= 1, "too many boxes");
    ResizeJob job{at<const uint8_t>(image),
                  width,
                  at<const int32_t>(boxes),
                  at<const int64_t>(rows),
                  count,
                  tallest,
                  at<uint8_t>(between),
                  tables_at(horizontal, sizes[1], output[1]),
                  tables_at(vertical, sizes[0], output[0])};
    std::copy(scale.begin(), scale.end(), job.scale);
    std::copy(shift.begin(), shift.end(), job.shift);
    if (half) resize_patches(job, static_cast<Filter>(filter), at<Half>(out), stream_at(stream));
    else resize_patches(job, static_cast<Filter>(filter), at<float>(out), stream_at(stream));
}

// In the order of the fields of Problems.
Problems problems_at(const std::array<uintptr_t, 12>& arrays, int32_t capacity, int32_t dims) {
    require(capacity >= 1 && dims >= 1, "problems need room for a word");
    return {at<const float>(arrays[0]),
            at<const double>(arrays[1]),
            at<int32_t>(arrays[2]),
            at<double>(arrays[3]),
            at<int32_t>(arrays[4]),
            at<int32_t>(arrays[5]),
            at<double>(arrays[6]),
            at<double>(arrays[7]),
            at<double>(arrays[8]),
            at<double>(arrays[9]),
            at<double>(arrays[10]),
            at<int32_t>(arrays[11]),
            capacity,
            dims};
}

Rows rows_at(uintptr_t dictionary, int64_t words) {
    require(words >= 0 && words < (int64_t{1} << 30), "too many words");
    return {at<const float>(dictionary), words};
}

void bind_nnlasso_solve(uintptr_t dictionary, int64_t words, const std::array<uintptr_t, 12>& problems,
                        int32_t capacity, int32_t dims, uintptr_t active, int64_t count, double tolerance, bool doubles,
                        uintptr_t residuals, uintptr_t stream) {
    require(count >= 0 && count <= kMaxGrid, "too many problems");
    const Problems all = problems_at(problems, capacity, dims);
    const Active some{at<const int32_t>(active), count};
    const Rows rows = rows_at(dictionary, words);
    if (doubles) {
        nnlasso_solve(rows, all, some, tolerance, at<double>(residuals), stream_at(stream));
    } else {
        nnlasso_solve(rows, all, some, tolerance, at<float>(residuals), stream_at(stream));
    }
}

void bind_nnlasso_select(uintptr_t correlations, int64_t words, int64_t pitch,
                         const std::array<uintptr_t, 12>& problems, int32_t capacity, int32_t dims, uintptr_t active,
                         int64_t count, bool is_signed, double tolerance, bool doubles, uintptr_t stream) {
    require(count >= 0 && count <= kMaxGrid && words >= 0 && pitch >= words, "one column per word");
    const Problems all = problems_at(problems, capacity, dims);
    const Active some{at<const int32_t>(active), count};
    if (doubles) {
        nnlasso_select(at<const double>(correlations), words, pitch, all, some, is_signed, tolerance,
                       stream_at(stream));
    } else {
        nnlasso_select(at<const float>(correlations), words, pitch, all, some, is_signed, tolerance, stream_at(stream));
    }
}

void bind_nnlasso_pack(uintptr_t dictionary, int64_t words, const std::array<uintptr_t, 12>& problems, int32_t capacity,
                       int32_t dims, int64_t count, uintptr_t indptr, uintptr_t indices, uintptr_t values,
                       uintptr_t stream) {
    require(count >= 0 && count <= kMaxGrid, "too many problems");
    nnlasso_pack(rows_at(dictionary, words), problems_at(problems, capacity, dims), count, at<const int64_t>(indptr),
                 at<int32_t>(indices), at<double>(values), stream_at(stream));
}

// In the order of the fields of Paths.
Paths paths_at(const std::array<uintptr_t, 9>& arrays, int32_t capacity, int32_t dims) {
    require(capacity >= 1 && dims >= 1, "paths need room for a word");
    return {at<const float>(arrays[0]),
            at<int32_t>(arrays[1]),
            at<int32_t>(arrays[2]),
            at<int32_t>(arrays[3]),
            at<double>(arrays[4]),
            at<double>(arrays[5]),
            at<double>(arrays[6]),
            at<double>(arrays[7]),
            at<int32_t>(arrays[8]),
            capacity,
            dims};
}

void bind_nnlasso_path_segment(uintptr_t dictionary, int64_t words, const std::array<uintptr_t, 9>& paths,
                               int32_t capacity, int32_t dims, uintptr_t active, int64_t count, uintptr_t vectors,
                               uintptr_t stream) {
    require(count >= 0 && count <= kMaxGrid, "too many problems");
    nnlasso_path_segment(rows_at(dictionary, words), paths_at(paths, capacity, dims),
                         {at<const int32_t>(active), count}, at<double>(vectors), stream_at(stream));
}

void bind_nnlasso_path_event(uintptr_t correlations, int64_t words, int64_t pitch,
                             const std::array<uintptr_t, 9>& paths, int32_t capacity, int32_t dims, uintptr_t active,
                             int64_t count, bool is_signed, int32_t l0, uintptr_t stream) {
    require(count >= 0 && count <= kMaxGrid && words >= 0 && pitch >= words, "one column per word");
    require(l0 >= 1 && l0 <= capacity, "room for every word of a path");
    nnlasso_path_event(at<const double>(correlations), words, pitch, paths_at(paths, capacity, dims),
                       {at<const int32_t>(active), count}, is_signed, l0, stream_at(stream));
}

}  // namespace

PYBIND11_MODULE(FASTCONCEPT_MODULE, m) {
    m.doc() = "CUDA kernels of fastconcept; call them through fastconcept.kernels.cuda.";
    using Free = py::call_guard<py::gil_scoped_release>;
    m.def("split_rows", &bind_split_rows, Free());
    m.def("subtree_maxima", &bind_subtree_maxima, Free());
    m.def("count_greater", &bind_count_greater, Free());
    m.def("ranks_shared_bytes", &ranks_shared_bytes);
    m.def("all_ranks", &bind_all_ranks, Free());
    m.def("saliency_maps", &bind_saliency_maps, Free());
    m.def("tap_count", [](int64_t input, int64_t output, int32_t filter) {
        require(input >= 1 && output >= 1, "sizes must be positive");
        return tap_count(input, output, static_cast<Filter>(filter));
    });
    m.def("fill_taps", &bind_fill_taps, Free());
    m.def("resize_patches", &bind_resize_patches, Free());
    m.def("solve_shared_bytes", &solve_shared_bytes);
    m.def("nnlasso_solve", &bind_nnlasso_solve, Free());
    m.def("nnlasso_select", &bind_nnlasso_select, Free());
    m.def("nnlasso_pack", &bind_nnlasso_pack, Free());
    m.def("nnlasso_path_segment", &bind_nnlasso_path_segment, Free());
    m.def("nnlasso_path_event", &bind_nnlasso_path_event, Free());
    m.attr("MAX_RANKED_CONCEPTS") = kMaxRankedConcepts;
    m.attr("CONCEPT_TILE") = kConceptTile;
}
