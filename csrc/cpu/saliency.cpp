#include "saliency.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.h"
#include "simd.h"

namespace fastconcept {
namespace {

// A map whose means span less than this part of its largest value is constant: rounding cannot reach it, and real
// differences (one rank in 82,000, averaged over 1,800 patches, is 7e-9) lie above it.
constexpr double kConstantSpan = 1e-10;
constexpr int64_t kConcepts = 32;          // concepts side by side in a vector loop
constexpr int64_t kScratchDoubles = 1 << 20;  // narrower blocks keep huge maps within this much scratch

// A patch cut to the map, as corners in a difference array with one spare row and column.
struct Corners {
    int64_t patch, top_left, top_right, bottom_left, bottom_right;
};

// Patches of one weight. Their values are summed unweighted, which is exact for ranks, and weighted afterwards:
// difference arrays of weighted values would leave rounding behind where a heavy patch ends.
struct Group {
    double weight;
    std::vector<Corners> members;
};

struct Layout {
    int64_t height, width, cells;  // cells counts the spare row and column
    std::vector<Group> groups;
    std::vector<double> coverage;  // height * width, sum of the weights over every cell
};

// Turns differences into values in place: (height + 1, width + 1) cells of `wide` doubles each.
FASTCONCEPT_CLONES
void integrate(double* cells, int64_t height, int64_t width, int64_t wide) {
    const int64_t stride = (width + 1) * wide;
    for (int64_t y = 0; y < height; ++y) {
        double* row = cells + y * stride;
        for (int64_t i = wide; i < width * wide; ++i) row[i] += row[i - wide];
        if (y > 0)
            for (int64_t i = 0; i < width * wide; ++i) row[i] += row[i - stride];
    }
}

Layout lay_out(const Patches& patches, int64_t height, int64_t width) {
    Layout layout{height, width, (height + 1) * (width + 1), {}, {}};
    std::vector<int64_t> order(static_cast<size_t>(patches.count));
    std::iota(order.begin(), order.end(), 0);
    for (const int64_t i : order) {
        const double weight = patches.weights[i];
        if (!(weight > 0) || !std::isfinite(weight))
            throw std::invalid_argument("weights[" + std::to_string(i) + "] is " + std::to_string(weight) +
                                        ", expected a positive number");
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return patches.weights[a] < patches.weights[b]; });
    for (const int64_t i : order) {
        const int32_t* box = patches.boxes + 4 * i;
        if (box[2] <= box[0] || box[3] <= box[1])
            throw std::invalid_argument("boxes[" + std::to_string(i) + "] is empty, expected x0 < x1 and y0 < y1");
        const int64_t x0 = std::clamp<int64_t>(box[0], 0, width), x1 = std::clamp<int64_t>(box[2], 0, width);
        const int64_t y0 = std::clamp<int64_t>(box[1], 0, height), y1 = std::clamp<int64_t>(box[3], 0, height);
        if (x0 == x1 || y0 == y1) continue;
        if (layout.groups.empty() || layout.groups.back().weight != patches.weights[i])
            layout.groups.push_back({patches.weights[i], {}});
        const int64_t stride = width + 1;
        layout.groups.back().members.push_back(
            {i, y0 * stride + x0, y0 * stride + x1, y1 * stride + x0, y1 * stride + x1});
    }
    return layout;
}

void cover(Layout& layout) {
    const int64_t height = layout.height, width = layout.width;
    layout.coverage.assign(static_cast<size_t>(height * width), 0.0);
    std::vector<double> counts(static_cast<size_t>(layout.cells));
    for (const Group& group : layout.groups) {
        std::fill(counts.begin(), counts.end(), 0.0);
        for (const Corners& corners : group.members) {
            counts[static_cast<size_t>(corners.top_left)] += 1;
            counts[static_cast<size_t>(corners.top_right)] -= 1;
            counts[static_cast<size_t>(corners.bottom_left)] -= 1;
            counts[static_cast<size_t>(corners.bottom_right)] += 1;
        }
        integrate(counts.data(), height, width, 1);
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
                layout.coverage[static_cast<size_t>(y * width + x)] +=
                    group.weight * counts[static_cast<size_t>(y * (width + 1) + x)];
    }
    for (int64_t cell = 0; cell < height * width; ++cell)
        if (layout.coverage[static_cast<size_t>(cell)] == 0)
            throw std::invalid_argument("boxes leave cell (x " + std::to_string(cell % width) + ", y " +
                                        std::to_string(cell / width) + ") uncovered");
}

// Adds the values of a group's patches, (patches, wide), at their four corners.
FASTCONCEPT_CLONES
void scatter(const double* values, const Corners* members, size_t count, int64_t wide, double* cells) {
    for (const Corners* corners = members; corners != members + count; ++corners) {
        const double* value = values + corners->patch * wide;
        double* top_left = cells + corners->top_left * wide;
        double* top_right = cells + corners->top_right * wide;
        double* bottom_left = cells + corners->bottom_left * wide;
        double* bottom_right = cells + corners->bottom_right * wide;
        for (int64_t j = 0; j < wide; ++j) top_left[j] += value[j];
        for (int64_t j = 0; j < wide; ++j) top_right[j] -= value[j];
        for (int64_t j = 0; j < wide; ++j) bottom_left[j] -= value[j];
        for (int64_t j = 0; j < wide; ++j) bottom_right[j] += value[j];
    }
}

// sums[cell] += weight * counts[cell], leaving out the spare row and column of counts.
FASTCONCEPT_CLONES
void add_weighted(const double* counts, double weight, int64_t height, int64_t width, int64_t wide, double* sums) {
    for (int64_t y = 0; y < height; ++y) {
        const double* from = counts + y * (width + 1) * wide;
        double* to = sums + y * width * wide;
        for (int64_t i = 0; i < width * wide; ++i) to[i] += weight * from[i];
    }
}

// Scratch of one thread, for `wide` concepts.
struct Scratch {
    std::vector<double> values, counts, sums;

    Scratch(const Layout& layout, int64_t patches, int64_t wide)
        : values(static_cast<size_t>(patches * wide)),
          counts(static_cast<size_t>(layout.cells * wide)),
          sums(static_cast<size_t>(layout.height * layout.width * wide)) {}
};

// Copies one block of concepts as doubles and returns the largest magnitude of each.
template <class Value>
void load(const Value* values, int64_t patches, int64_t stride, int64_t wide, double* block, double* largest) {
    std::fill(largest, largest + wide, 0.0);
    for (int64_t i = 0; i < patches; ++i)
        for (int64_t j = 0; j < wide; ++j) {
            const double value = static_cast<double>(values[i * stride + j]);
            if (!std::isfinite(value)) throw std::invalid_argument("values contains NaN or infinity");
            block[i * wide + j] = value;
            largest[j] = std::max(largest[j], std::abs(value));
        }
}

// means (cells, wide) -> maps (wide, cells) in [0, 1], high where the mean is low.
void stretch(const double* means, const double* largest, int64_t cells, int64_t wide, float* maps, double* low,
             double* high) {
    for (int64_t j = 0; j < wide; ++j) {
        double least = means[j], most = means[j];
        for (int64_t cell = 1; cell < cells; ++cell) {
            least = std::min(least, means[cell * wide + j]);
            most = std::max(most, means[cell * wide + j]);
        }
        const bool constant = most - least <= kConstantSpan * largest[j];
        const double span = constant ? 1.0 : most - least;
        for (int64_t cell = 0; cell < cells; ++cell)
            maps[j * cells + cell] =
                constant ? 1.0f : static_cast<float>(1.0 - (means[cell * wide + j] - least) / span);
        low[j] = least;
        high[j] = most;
    }
}

}  // namespace

template <class Value>
void saliency_maps(const Value* values, int64_t concepts, const Patches& patches, int64_t height, int64_t width,
                   float* maps, double* low, double* high, int num_threads) {
    Layout layout = lay_out(patches, height, width);
    cover(layout);
    const int64_t cells = height * width;
    const int64_t block = std::clamp<int64_t>(kScratchDoubles / (cells + patches.count), 1, kConcepts);
    std::vector<std::unique_ptr<Scratch>> scratch(static_cast<size_t>(num_threads));
    parallel_for((concepts + block - 1) / block, num_threads, [&](int64_t task, int thread) {
        std::unique_ptr<Scratch>& mine = scratch[static_cast<size_t>(thread)];
        if (!mine) mine = std::make_unique<Scratch>(layout, patches.count, block);
        const int64_t first = task * block, wide = std::min(block, concepts - first);
        double largest[kConcepts];
        load(values + first, patches.count, concepts, wide, mine->values.data(), largest);
        std::fill(mine->sums.begin(), mine->sums.end(), 0.0);
        for (const Group& group : layout.groups) {
            std::fill(mine->counts.begin(), mine->counts.end(), 0.0);
            scatter(mine->values.data(), group.members.data(), group.members.size(), wide, mine->counts.data());
            integrate(mine->counts.data(), height, width, wide);
            add_weighted(mine->counts.data(), group.weight, height, width, wide, mine->sums.data());
        }
        for (int64_t cell = 0; cell < cells; ++cell)
            for (int64_t j = 0; j < wide; ++j)
                mine->sums[static_cast<size_t>(cell * wide + j)] /= layout.coverage[static_cast<size_t>(cell)];
        stretch(mine->sums.data(), largest, cells, wide, maps + first * cells, low + first, high + first);
    });
}

template void saliency_maps<float>(const float*, int64_t, const Patches&, int64_t, int64_t, float*, double*, double*,
                                   int);
template void saliency_maps<int32_t>(const int32_t*, int64_t, const Patches&, int64_t, int64_t, float*, double*,
                                     double*, int);

}  // namespace fastconcept
