// Ranks of one row without sorting it, one block a row: splitters from a sorted sample send values into buckets; what
// lies in higher buckets is counted by a prefix sum, what lies in the same bucket by comparison. A value equal to a
// splitter has a bucket for itself, in which nothing is greater, so that repeated values cost nothing.
//
// Values are compared in shared memory, a chunk of whole buckets at a time, because stores all over a row of device
// memory are what such a kernel waits for. Until its rank is known, a concept's place among the values in bucket order
// stands in `ranks`.
#include "ranks.h"

namespace fastconcept::cuda {
namespace {

constexpr unsigned kBlock = 1024;
constexpr unsigned kWarps = kBlock / kWarp;
constexpr int kAhead = 4;  // loads in flight per thread

constexpr int kSamples = 2048;
constexpr int kBuckets = 2 * (kSamples - 1) + 1;  // around kSamples - 1 splitters
constexpr int kPlaceBits = 19;                    // kBuckets takes 12 more
constexpr uint32_t kRanked = 1u << 31;            // marks a rank among places

static_assert(kMaxRankedConcepts == int64_t{1} << kPlaceBits);

// Rising order; count is a power of two.
__device__ void sort_block(float* values, int count) {
    for (int run = 2; run <= count; run *= 2) {
        for (int step = run / 2; step > 0; step /= 2) {
            for (int i = threadIdx.x; i < count; i += kBlock) {
                const int other = i ^ step;
                if (other > i && (values[i] > values[other]) == ((i & run) == 0)) {
                    const float kept = values[i];
                    values[i] = values[other];
                    values[other] = kept;
                }
            }
            __syncthreads();
        }
    }
}

// Splitters as a search tree, root first and level by level: a search reads each level within a few banks, where
// halving a sorted array reads one bank all the time.
__device__ void plant(const float* sorted, int depth, float* tree) {
    for (int node = 1 + static_cast<int>(threadIdx.x); node < 1 << depth; node += kBlock) {
        int level = 0;
        while (node >> (level + 1) > 0) ++level;
        const int across = node - (1 << level);
        tree[node] = sorted[(2 * across + 1) * (1 << (depth - 1 - level)) - 1];
    }
    __syncthreads();
}

__device__ inline int bucket_of(const float* tree, int depth, float value) {
    int node = 1;
    float next = NAN;  // smallest splitter that is not below the value
    for (int level = 0; level < depth; ++level) {
        const float splitter = tree[node];
        const bool above = splitter < value;
        if (!above) next = splitter;
        node = 2 * node + (above ? 1 : 0);
    }
    return 2 * (node - (1 << depth)) + (next == value ? 1 : 0);
}

// Turns counts into their exclusive prefix sums, in place.
__device__ void exclusive_sums(int32_t* counts, int length, int32_t* warp_totals) {
    const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int stretch = static_cast<int>(ceil_div(length, kBlock));
    const int begin = min(static_cast<int>(threadIdx.x) * stretch, length), end = min(begin + stretch, length);
    int32_t total = 0;
    for (int i = begin; i < end; ++i) total += counts[i];
    int32_t upto = total;
    for (unsigned step = 1; step < kWarp; step *= 2) {
        const int32_t before = __shfl_up_sync(kAllLanes, upto, step);
        if (lane >= step) upto += before;
    }
    if (lane == kWarp - 1) warp_totals[warp] = upto;
    __syncthreads();
    int32_t running = upto - total;
    for (unsigned other = 0; other < warp; ++other) running += warp_totals[other];
    for (int i = begin; i < end; ++i) {
        const int32_t count = counts[i];
        counts[i] = running;
        running += count;
    }
    __syncthreads();
}

struct Row {
    const float* values;
    int columns;
    uint32_t* words;        // places, then ranks
    const int32_t* starts;  // of the buckets, and the end of the last
    int buckets;
};

// Whole buckets that are compared together, or one that is larger than there is room for.
struct Chunk {
    int first = 0, last = 0;  // buckets
    int begin = 0, end = 0;   // places
    bool fits = true;
};

__device__ inline Chunk chunk_from(const Row& row, int first, int room) {
    int low = first, high = row.buckets;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (row.starts[middle] - row.starts[first] <= room) low = middle;
        else high = middle - 1;
    }
    Chunk chunk;
    chunk.fits = low > first || first == row.buckets;
    chunk.first = first;
    chunk.last = chunk.fits ? low : first + 1;
    chunk.begin = row.starts[chunk.first];
    chunk.end = row.starts[chunk.last];
    return chunk;
}

// The rank of a value whose bucket is too large to compare in shared memory.
__device__ int32_t rank_beyond(const Row& row, const Chunk& bucket, float value) {
    int32_t greater = row.columns - bucket.end;
    if (bucket.first % 2 != 0) return greater;
    greater = 0;
    for (int other = 0; other < row.columns; ++other) greater += row.values[other] > value;
    return greater;
}

// Ranks of the chunk `before` go out, values of the chunk `here` come in. kFirst: words are bucket and place within it.
template <bool kFirst>
__device__ void exchange(const Row& row, const Chunk& before, const Chunk& here, const int32_t* ranked, float* placed) {
    const bool is_last = here.first == row.buckets;
    for (int base = threadIdx.x; base < row.columns; base += kAhead * kBlock) {
        uint32_t words[kAhead];
        float values[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int i = base + a * static_cast<int>(kBlock);
            words[a] = i < row.columns ? row.words[i] : kRanked;
            if constexpr (kFirst) {
                values[a] = i < row.columns ? row.values[i] : 0.0f;
                if (i < row.columns)
                    words[a] = row.starts[words[a] >> kPlaceBits] + (words[a] & ((1u << kPlaceBits) - 1));
            } else {
                const bool wanted =
                    words[a] >= static_cast<uint32_t>(here.begin) && words[a] < static_cast<uint32_t>(here.end);
                values[a] = wanted && here.fits ? row.values[i] : 0.0f;
            }
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int i = base + a * static_cast<int>(kBlock);
            if (i >= row.columns) break;
            const uint32_t word = words[a];
            if (word & kRanked) {
                if (is_last) row.words[i] = word & ~kRanked;
                continue;
            }
            const int place = static_cast<int>(word);
            if (place < before.end) {
                const int32_t rank =
                    before.fits ? ranked[place - before.begin] : rank_beyond(row, before, row.values[i]);
                row.words[i] = static_cast<uint32_t>(rank) | (is_last ? 0 : kRanked);
                continue;
            }
            if (place < here.end && here.fits) placed[place - here.begin] = values[a];
            if constexpr (kFirst) row.words[i] = word;
        }
    }
    __syncthreads();
}

// A warp ranks a bucket. Four values are read at once, and so some of the neighbours': what lies before is smaller,
// what lies after is greater and taken off again.
__device__ void rank_chunk(const Row& row, const Chunk& chunk, float* placed, int32_t* ranked) {
    const int count = chunk.end - chunk.begin;
    if (threadIdx.x < 4) placed[count + static_cast<int>(threadIdx.x)] = -INFINITY;
    __syncthreads();
    for (int bucket = chunk.first + static_cast<int>(threadIdx.x / kWarp); bucket < chunk.last; bucket += kWarps) {
        const int begin = row.starts[bucket] - chunk.begin, end = row.starts[bucket + 1] - chunk.begin;
        const int from = begin / 4 * 4, to = (end + 3) / 4 * 4;
        const int32_t above = row.columns - row.starts[bucket + 1] - (min(to, count) - end);
        for (int i = begin + static_cast<int>(threadIdx.x % kWarp); i < end; i += kWarp) {
            if (bucket % 2 != 0) {
                ranked[i] = row.columns - row.starts[bucket + 1];
                continue;
            }
            const float own = placed[i];
            int32_t rank = above;
            for (int other = from; other < to; other += 4) {
                const float4 four = *reinterpret_cast<const float4*>(placed + other);
                rank += (four.x > own) + (four.y > own) + (four.z > own) + (four.w > own);
            }
            ranked[i] = rank;
        }
    }
    __syncthreads();
}

// A concept's subtree holds the best of its own rank and its children's.
__device__ void spread_best(const Levels& levels, int32_t* ranks, int32_t* best) {
    for (int slot = threadIdx.x; slot < levels.slots; slot += kBlock) best[slot] = INT32_MAX;
    __syncthreads();
    for (int edge = threadIdx.x; edge < levels.leaf_edges; edge += kBlock)
        atomicMin(&best[levels.leaf_slot[edge]], ranks[levels.leaf[edge]]);
    __syncthreads();
    for (int level = 0; level < levels.count; ++level) {
        for (int edge = levels.edge_indptr[level] + static_cast<int>(threadIdx.x); edge < levels.edge_indptr[level + 1];
             edge += kBlock)
            atomicMin(&best[levels.parent_slot[edge]], best[levels.child_slot[edge]]);
        __syncthreads();
    }
    for (int slot = threadIdx.x; slot < levels.slots; slot += kBlock) ranks[levels.nodes[slot]] = best[slot];
}

__global__ void __launch_bounds__(kBlock)
    all_ranks_kernel(Similarities similarities, Levels levels, int depth, int room, int32_t* scratch, int32_t* ranks) {
    DYNAMIC_SHARED(bytes);
    SHARED_ARRAY(float, sample, kSamples);
    SHARED_ARRAY(float, tree, kSamples);
    SHARED_ARRAY(int32_t, starts, kBuckets + 1);
    SHARED_ARRAY(int32_t, warp_totals, kWarps);
    float* placed = reinterpret_cast<float*>(bytes);
    int32_t* ranked = reinterpret_cast<int32_t*>(placed + room + 4);
    const int columns = static_cast<int>(similarities.columns), samples = 1 << depth;
    int32_t* out = ranks + static_cast<int64_t>(blockIdx.x) * columns;
    const Row row{similarities.data + static_cast<int64_t>(blockIdx.x) * similarities.pitch, columns,
                  reinterpret_cast<uint32_t*>(out), starts, 2 * (samples - 1) + 1};
    for (int i = threadIdx.x; i < samples; i += kBlock)
        sample[i] = row.values[static_cast<int64_t>(i) * columns / samples];
    for (int i = threadIdx.x; i <= row.buckets; i += kBlock) starts[i] = 0;
    __syncthreads();
    sort_block(sample, samples);
    plant(sample, depth, tree);
    for (int base = threadIdx.x; base < columns; base += kAhead * kBlock) {
        float values[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int i = base + a * static_cast<int>(kBlock);
            values[a] = i < columns ? row.values[i] : 0.0f;
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int i = base + a * static_cast<int>(kBlock);
            if (i >= columns) break;
            const int bucket = bucket_of(tree, depth, values[a]);
            row.words[i] =
                static_cast<uint32_t>(bucket) << kPlaceBits | static_cast<uint32_t>(atomicAdd(&starts[bucket], 1));
        }
    }
    __syncthreads();
    exclusive_sums(starts, row.buckets + 1, warp_totals);
    Chunk before, here = chunk_from(row, 0, room);
    exchange<true>(row, before, here, ranked, placed);
    while (here.first < row.buckets) {
        if (here.fits) rank_chunk(row, here, placed, ranked);
        before = here;
        here = chunk_from(row, before.last, room);
        exchange<false>(row, before, here, ranked, placed);
    }
    if (levels.slots > 0)
        spread_best(levels, out,
                    scratch == nullptr ? reinterpret_cast<int32_t*>(bytes)
                                       : scratch + static_cast<int64_t>(blockIdx.x) * levels.slots);
}

}  // namespace

void all_ranks(const Similarities& similarities, const Levels& levels, int32_t room, int32_t* scratch, int32_t* ranks,
               Stream stream) {
    if (similarities.columns == 0) return;
    if (similarities.columns > kMaxRankedConcepts) throw std::invalid_argument("too many concepts to rank");
    if (room < 4 || room % 4 != 0) throw std::invalid_argument("room for a multiple of four values");
    if (scratch == nullptr && levels.slots > 2 * room)
        throw std::invalid_argument("no room for the concepts with children");
    int depth = 0;
    while (1 << depth < kSamples && (16 << depth) < similarities.columns) ++depth;
    launch("all ranks", all_ranks_kernel, dim3(static_cast<unsigned>(similarities.rows)), kBlock,
           (2 * static_cast<size_t>(room) + 4) * sizeof(float), stream, similarities, levels, depth, room, scratch,
           ranks);
}

}  // namespace fastconcept::cuda
