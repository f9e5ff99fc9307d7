// Two passes with 8 bits between them and 22-bit fixed-point taps, which is how Pillow arrives at its pixels: only a
// tap that falls on the edge of its rounding can differ.
#include "resize.h"

namespace fastconcept::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kFixedPoint = 22;
constexpr int kPerThread = 4;  // horizontally adjacent results of one thread in the vertical pass

__host__ __device__ inline double support_of(Filter filter) { return filter == Filter::kBicubic ? 2.0 : 1.0; }

__host__ __device__ inline int64_t taps_for(int64_t input, int64_t output, Filter filter) {
    const double scale = static_cast<double>(input) / static_cast<double>(output);
    return static_cast<int64_t>(ceil(support_of(filter) * (scale < 1.0 ? 1.0 : scale))) * 2 + 1;
}

// Keys' cubic with a = -1/2, or the triangle.
__device__ inline double filter_value(Filter filter, double x) {
    x = x < 0 ? -x : x;
    if (filter == Filter::kBilinear) return x < 1.0 ? 1.0 - x : 0.0;
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0);
    return 0.0;
}

// One thread per output position of one size.
__global__ void fill_taps_kernel(TapTables tables, Filter filter) {
    const int32_t position = static_cast<int32_t>(blockIdx.y * blockDim.x + threadIdx.x), table = blockIdx.x;
    if (position >= tables.output) return;
    const int64_t input = tables.sizes[table], taps = taps_for(input, tables.output, filter);
    int32_t* row = tables.taps + tables.offsets[table] + position * taps;
    const double scale = static_cast<double>(input) / tables.output, stretch = scale < 1.0 ? 1.0 : scale;
    const double support = support_of(filter) * stretch, shrink = 1.0 / stretch;
    const double center = __dmul_rn(position + 0.5, scale);  // rounded, as on the CPU: no fused multiply-add below
    const int64_t first = max(static_cast<int64_t>(center - support + 0.5), static_cast<int64_t>(0));
    const int64_t last = min(static_cast<int64_t>(center + support + 0.5), input);
    double total = 0.0;
    for (int64_t x = first; x < last; ++x) total += filter_value(filter, (x - center + 0.5) * shrink);
    for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t x = first + tap;
        const double weight = x < last ? filter_value(filter, (x - center + 0.5) * shrink) / total : 0.0;
        row[tap] = static_cast<int32_t>(weight * (1 << kFixedPoint) + (weight < 0 ? -0.5 : 0.5));
    }
    tables.starts[static_cast<int64_t>(table) * tables.output + position] = static_cast<int32_t>(first);
}

__device__ inline uint8_t to_pixel(int32_t sum) {
    const int32_t value = sum >> kFixedPoint;
    return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// Rows of the box, resized horizontally, one plane per channel.
__global__ void horizontal_kernel(ResizeJob job, Filter filter) {
    const int32_t* box = job.boxes + 6 * static_cast<int64_t>(blockIdx.x);
    const int64_t width = box[2], height = box[3], output = job.horizontal.output;
    const int64_t taps = taps_for(width, output, filter), plane = height * output;
    const int32_t* weights = job.horizontal.taps + job.horizontal.offsets[box[4]];
    const int32_t* starts = job.horizontal.starts + box[4] * output;
    uint8_t* between = job.between + job.rows[blockIdx.x];
    const int64_t step = static_cast<int64_t>(gridDim.y) * kBlock;
    for (int64_t i = static_cast<int64_t>(blockIdx.y) * kBlock + threadIdx.x; i < plane; i += step) {
        const int64_t y = i / output, x = i - y * output, start = starts[x];
        const uint8_t* source = job.image + ((box[1] + y) * job.width + box[0] + start) * 3;
        const int64_t count = min(taps, width - start);
        int32_t sums[3] = {1 << (kFixedPoint - 1), 1 << (kFixedPoint - 1), 1 << (kFixedPoint - 1)};
        for (int64_t tap = 0; tap < count; ++tap) {
            const int32_t weight = weights[x * taps + tap];
            for (int channel = 0; channel < 3; ++channel) sums[channel] += weight * source[3 * tap + channel];
        }
        for (int channel = 0; channel < 3; ++channel) between[channel * plane + i] = to_pixel(sums[channel]);
    }
}

__device__ inline void store(float* out, float value) { *out = value; }
__device__ inline void store(Half* out, float value) { *out = to_half(value); }

// Columns, then normalisation. A thread makes kWidth adjacent results: reads of neighbouring threads join up.
template <class Value, int kWidth>
__global__ void vertical_kernel(ResizeJob job, Filter filter, Value* out) {
    const int32_t* box = job.boxes + 6 * static_cast<int64_t>(blockIdx.x);
    const int64_t height = box[3], output_width = job.horizontal.output, output_height = job.vertical.output;
    const int64_t taps = taps_for(height, output_height, filter), across = output_width / kWidth;
    const int64_t groups = 3 * output_height * across, step = static_cast<int64_t>(gridDim.y) * kBlock;
    const int32_t* weights = job.vertical.taps + job.vertical.offsets[box[5]];
    const int32_t* starts = job.vertical.starts + box[5] * output_height;
    const uint8_t* between = job.between + job.rows[blockIdx.x];
    Value* result = out + static_cast<int64_t>(blockIdx.x) * 3 * output_height * output_width;
    for (int64_t i = static_cast<int64_t>(blockIdx.y) * kBlock + threadIdx.x; i < groups; i += step) {
        const int64_t line = i / across, x = (i - line * across) * kWidth, channel = line / output_height;
        const int64_t y = line - channel * output_height, start = starts[y], count = min(taps, height - start);
        const uint8_t* source = between + (channel * height + start) * output_width + x;
        int32_t sums[kWidth];
        for (int w = 0; w < kWidth; ++w) sums[w] = 1 << (kFixedPoint - 1);
        for (int64_t tap = 0; tap < count; ++tap, source += output_width) {
            const int32_t weight = weights[y * taps + tap];
            if constexpr (kWidth == 4) {
                const uchar4 four = *reinterpret_cast<const uchar4*>(source);
                sums[0] += weight * four.x;
                sums[1] += weight * four.y;
                sums[2] += weight * four.z;
                sums[3] += weight * four.w;
            } else {
                for (int w = 0; w < kWidth; ++w) sums[w] += weight * source[w];
            }
        }
        const float scale = job.scale[channel], shift = job.shift[channel];
        for (int w = 0; w < kWidth; ++w) store(result + line * output_width + x + w, to_pixel(sums[w]) * scale + shift);
    }
}

unsigned parts(int64_t items) {
    return static_cast<unsigned>(max(min(ceil_div(items, kBlock), int64_t{64}), int64_t{1}));
}

}  // namespace

int64_t tap_count(int64_t input, int64_t output, Filter filter) { return taps_for(input, output, filter); }

void fill_taps(const TapTables& tables, Filter filter, Stream stream) {
    const dim3 grid(static_cast<unsigned>(tables.count), static_cast<unsigned>(ceil_div(tables.output, kBlock)));
    launch("resize taps", fill_taps_kernel, grid, kBlock, 0, stream, tables, filter);
}

template <class Value>
void resize_patches(const ResizeJob& job, Filter filter, Value* out, Stream stream) {
    const unsigned count = static_cast<unsigned>(job.count);
    const int64_t width = job.horizontal.output, results = 3 * job.vertical.output * width;
    launch("resize rows", horizontal_kernel, dim3(count, parts(job.tallest * width)), kBlock, 0, stream, job, filter);
    if (width % kPerThread == 0) {
        launch("resize columns", vertical_kernel<Value, kPerThread>, dim3(count, parts(results / kPerThread)), kBlock,
               0, stream, job, filter, out);
    } else {
        launch("resize columns", vertical_kernel<Value, 1>, dim3(count, parts(results)), kBlock, 0, stream, job, filter,
               out);
    }
}

template void resize_patches<float>(const ResizeJob&, Filter, float*, Stream);
template void resize_patches<Half>(const ResizeJob&, Filter, Half*, Stream);

}  // namespace fastconcept::cuda
