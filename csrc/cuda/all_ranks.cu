// Ranks of one row without sorting it, one block a row. Values go into buckets of about ten: where a value lies among
// all is read off a histogram, straight within its bins, and that place cut into equal parts. What lies in higher
// buckets is counted by a prefix sum, what lies in the same bucket by comparison.
//
// Values are compared in shared memory, a chunk of whole buckets at a time, because stores all over a row of device
// memory are what such a kernel waits for. Until its rank is known, a concept's place among the values in bucket order
// stands in `ranks`.
#include "ranks.h"

namespace fastconcept::cuda {
namespace {

constexpr unsigned kBlock = 1024;
constexpr unsigned kWarps = kBlock / kWarp;
// Loads of a thread that do not wait for each other: of values alone, of values and places, and of edges.
constexpr int kAhead = 8;
constexpr int kPairsAhead = 4;
constexpr int kEdgesAhead = 4;

constexpr int kMostBuckets = 8192;
constexpr int kOfBucket = 10;           // values, about
constexpr int kBucketsOfBin = 4;
constexpr int kSampled = 4;             // of so many values, one is counted in the bins
constexpr int kLarge = 128;             // values of a bucket that are sorted rather than compared one by one
constexpr uint32_t kRanked = 1u << 31;  // marks a rank among places

// Of a bin: the shares of the sample that lie below its beginning and below its end, times the number of buckets.
struct alignas(8) Bin {
    float begin, end;
};

// The nearest whole number, for 0 <= x < 2^22: cheaper than a conversion.
__device__ inline int nearest(float x, float& whole) {
    constexpr float kShift = 8388608.0f;  // 2^23: the last bit of such a number is worth one
    const float shifted = x + kShift;
    whole = shifted - kShift;
    return static_cast<int>(__float_as_uint(shifted) & 0x7fffffu);
}

// From a value to its bucket, the same or a higher one for a larger value, because no step of it falls with its
// argument.
struct Cut {
    float low, scale;  // the smallest value of a few, and bins per unit
    int bins, buckets;
    Bin* shares;       // (bins,)

    __device__ int bin(float value, float& part) const {
        const float along = fminf(fmaxf((value - low) * scale, 0.0f), static_cast<float>(bins - 1));
        float whole;
        const int here = nearest(along, whole);
        part = along - whole + 0.5f;  // a bin reaches from half below its number to half above
        return here;
    }
    __device__ int bucket(float value) const {
        float part, whole;
        const Bin here = shares[bin(value, part)];
        const float place = fminf(fmaf(part, here.end - here.begin, here.begin), here.end);
        return nearest(fminf(fmaxf(place - 0.5f, 0.0f), static_cast<float>(buckets - 1)), whole);
    }
};

struct Row {
    const float* values;
    int columns;
    uint32_t* words;      // places, then ranks
    int32_t* cursors;     // (buckets + 1,) where the buckets begin; once they are filled, where they end
    float* placed;        // (room,) values of a chunk, bucket after bucket
    uint16_t* ranked;     // (room,) values of the chunk that are not greater
    int room;
};

// Whole buckets that are compared together: as many as there is room for, or one that is large.
struct Chunk {
    int first = 0, last = 0;  // buckets
    int begin = 0, end = 0;   // places
    bool fits = true, same = false;

    __device__ bool large() const { return last == first + 1 && end - begin > kLarge; }
};

// Calls work(column, value) for the columns of a row, or for every kSampled-th stretch of them, with the next loads on
// their way.
template <int kEvery, class Work>
__device__ void for_values(const Row& row, Work work) {
    constexpr int kStep = kEvery * static_cast<int>(kBlock);
    float next[kAhead];
    const auto load = [&](int base) {
#pragma unroll
        for (int a = 0; a < kAhead; ++a) next[a] = base + a * kStep < row.columns ? row.values[base + a * kStep] : 0.0f;
    };
    load(static_cast<int>(threadIdx.x));
    for (int base = static_cast<int>(threadIdx.x); base < row.columns; base += kAhead * kStep) {
        float values[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) values[a] = next[a];
        load(base + kAhead * kStep);
#pragma unroll
        for (int a = 0; a < kAhead; ++a)
            if (base + a * kStep < row.columns) work(base + a * kStep, values[a]);
    }
    __syncthreads();
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

// Bins between the extremes of a few values; what lies beyond them is little, and goes to the outer bins.
__device__ void count_bins(const Row& row, Cut& cut, float* scratch, int32_t* warp_totals) {
    const int few = min(row.columns, static_cast<int>(kBlock));
    const int own = min(static_cast<int>(threadIdx.x), few - 1);
    const float value = row.values[static_cast<int64_t>(own) * row.columns / few];
    const float high = block_max(value, scratch);
    cut.low = -block_max(-value, scratch);
    cut.scale = high > cut.low ? static_cast<float>(cut.bins) / (high - cut.low) : 0.0f;
    if (!(cut.scale < INFINITY)) cut.scale = 0.0f;
    for (int i = threadIdx.x; i <= cut.buckets; i += kBlock) row.cursors[i] = 0;
    __syncthreads();
    float part;
    if (row.columns > kSampled * kAhead * static_cast<int>(kBlock))
        for_values<kSampled>(row, [&](int, float v) { atomicAdd(&row.cursors[cut.bin(v, part)], 1); });
    else for_values<1>(row, [&](int, float v) { atomicAdd(&row.cursors[cut.bin(v, part)], 1); });
    exclusive_sums(row.cursors, cut.bins + 1, warp_totals);
    const float narrow = static_cast<float>(cut.buckets) / static_cast<float>(row.cursors[cut.bins]);
    for (int i = threadIdx.x; i < cut.bins; i += kBlock)
        cut.shares[i] = {static_cast<float>(row.cursors[i]) * narrow, static_cast<float>(row.cursors[i + 1]) * narrow};
    __syncthreads();
    for (int i = threadIdx.x; i <= cut.buckets; i += kBlock) row.cursors[i] = 0;
    __syncthreads();
}

// The chunk from a bucket on; begin(bucket) is its first place.
template <class Begin>
__device__ Chunk chunk_from(const Row& row, int buckets, int first, Begin begin) {
    Chunk chunk;
    chunk.first = chunk.last = first;
    chunk.begin = chunk.end = begin(first);
    if (first == buckets) return chunk;
    const int size = begin(first + 1) - chunk.begin;
    int low = first + 1, high = buckets;
    while (size <= kLarge && low < high) {
        const int middle = (low + high + 1) / 2;
        if (begin(middle) - chunk.begin <= row.room) low = middle;
        else high = middle - 1;
    }
    chunk.last = low;
    chunk.end = begin(low);
    chunk.fits = chunk.end - chunk.begin <= (size > kLarge ? row.room / 4 * 3 : row.room);
    return chunk;
}

// The rank of a value whose bucket is too large for shared memory.
__device__ int32_t rank_beyond(const Row& row, const Chunk& bucket, float value) {
    if (bucket.same) return row.columns - bucket.end;
    int32_t greater = 0;
    for (int other = 0; other < row.columns; ++other) greater += row.values[other] > value;
    return greater;
}

// Ranks of the chunk `before` go out, values of the chunk `here` come in. The next loads are on their way; values of
// other chunks are loaded with the rest, because waiting for the place of each costs more.
__device__ void exchange(const Row& row, const Chunk& before, const Chunk& here, bool is_last) {
    constexpr int kStep = static_cast<int>(kBlock);
    const uint32_t begin = static_cast<uint32_t>(here.begin), end = here.fits ? static_cast<uint32_t>(here.end) : 0;
    uint32_t next_words[kPairsAhead];
    float next_values[kPairsAhead];
    const auto load = [&](int base) {
#pragma unroll
        for (int a = 0; a < kPairsAhead; ++a) {
            const int i = base + a * kStep;
            next_words[a] = i < row.columns ? row.words[i] : kRanked;
            next_values[a] = i < row.columns && end > begin ? row.values[i] : 0.0f;
        }
    };
    load(static_cast<int>(threadIdx.x));
    for (int base = static_cast<int>(threadIdx.x); base < row.columns; base += kPairsAhead * kStep) {
        uint32_t words[kPairsAhead];
        float values[kPairsAhead];
#pragma unroll
        for (int a = 0; a < kPairsAhead; ++a) {
            words[a] = next_words[a];
            values[a] = next_values[a];
        }
        load(base + kPairsAhead * kStep);
#pragma unroll
        for (int a = 0; a < kPairsAhead; ++a) {
            const int i = base + a * kStep;
            if (words[a] >= begin && words[a] < end) {
                row.placed[words[a] - begin] = values[a];
            } else if (words[a] < static_cast<uint32_t>(before.end)) {
                const int32_t rank = before.fits ? row.columns - before.begin - row.ranked[words[a] - before.begin]
                                                 : rank_beyond(row, before, row.values[i]);
                row.words[i] = static_cast<uint32_t>(rank) | (is_last ? 0 : kRanked);
            } else if (is_last && i < row.columns) {
                row.words[i] = words[a] & ~kRanked;
            }
        }
    }
    __syncthreads();
}

__device__ void rank_small(const Row& row, const Cut& cut, const Chunk& chunk) {
    for (int i = threadIdx.x; i < chunk.end - chunk.begin; i += kBlock) {
        const float own = row.placed[i];
        const int bucket = cut.bucket(own);
        const int begin = bucket > chunk.first ? row.cursors[bucket - 1] - chunk.begin : 0;
        const int end = row.cursors[bucket] - chunk.begin;
        int upto = begin;
#pragma unroll 4
        for (int other = begin; other < end; ++other) upto += row.placed[other] <= own;
        row.ranked[i] = static_cast<uint16_t>(upto);
    }
    __syncthreads();
}

// Bitonic, every comparison upward, so that any length is one: what would lie beyond the end stays there.
__device__ void sort_block(float* values, int length) {
    for (int run = 2; run < 2 * length; run *= 2) {
        for (int step = run; step > 1; step /= 2) {
            const int mask = step == run ? run - 1 : step / 2;
            for (int i = threadIdx.x; i < length; i += kBlock) {
                const int other = i ^ mask;
                if (other > i && other < length && values[i] > values[other]) {
                    const float kept = values[i];
                    values[i] = values[other];
                    values[other] = kept;
                }
            }
            __syncthreads();
        }
    }
}

// A copy is sorted behind the values, and each looks for its place in it.
__device__ void rank_large(const Row& row, const Chunk& chunk) {
    const int length = chunk.end - chunk.begin;
    float* sorted = row.placed + length;
    for (int i = threadIdx.x; i < length; i += kBlock) sorted[i] = row.placed[i];
    __syncthreads();
    sort_block(sorted, length);
    for (int i = threadIdx.x; i < length; i += kBlock) {
        const float own = row.placed[i];
        int low = 0, high = length;
        while (low < high) {
            const int middle = (low + high) / 2;
            if (sorted[middle] <= own) low = middle + 1;
            else high = middle;
        }
        row.placed[i] = static_cast<float>(low);  // exact
    }
    __syncthreads();
    for (int i = threadIdx.x; i < length; i += kBlock) row.ranked[i] = static_cast<uint16_t>(row.placed[i]);
    __syncthreads();
}

// Whether the values of a bucket are all equal.
__device__ bool are_same(const Row& row, const Chunk& chunk, float* scratch) {
    float high = -INFINITY, low = INFINITY;
    for (int i = threadIdx.x; i < row.columns; i += kBlock) {
        const uint32_t place = row.words[i];
        if (place < static_cast<uint32_t>(chunk.begin) || place >= static_cast<uint32_t>(chunk.end)) continue;
        high = fmaxf(high, row.values[i]);
        low = fminf(low, row.values[i]);
    }
    high = block_max(high, scratch);
    return high == -block_max(-low, scratch);
}

// Some of the edges of a stretch, one thread's; those past the end repeat the last, which changes nothing.
struct Edges {
    static constexpr int kStep = kEdgesAhead * static_cast<int>(kBlock);
    int32_t from[kEdgesAhead], to[kEdgesAhead];

    __device__ void load(const int32_t* sources, const int32_t* targets, int base, int end) {
#pragma unroll
        for (int a = 0; a < kEdgesAhead; ++a) {
            const int edge = min(base + static_cast<int>(threadIdx.x + a * kBlock), end - 1);
            from[a] = base < end ? sources[edge] : 0;
            to[a] = base < end ? targets[edge] : 0;
        }
    }
    // Lowers best[to] to the values at `from`.
    __device__ void lower(const int32_t* values, int32_t* best) const {
        int32_t here[kEdgesAhead];
#pragma unroll
        for (int a = 0; a < kEdgesAhead; ++a) here[a] = values[from[a]];
#pragma unroll
        for (int a = 0; a < kEdgesAhead; ++a) atomicMin(&best[to[a]], here[a]);
    }
};

// A concept's subtree holds the best of its own rank and its children's.
__device__ void spread_best(const Levels& levels, int32_t* ranks, int32_t* best) {
    for (int slot = threadIdx.x; slot < levels.slots; slot += kBlock) best[slot] = INT32_MAX;
    __syncthreads();
    Edges here, next;
    next.load(levels.leaf, levels.leaf_slot, 0, levels.leaf_edges);
    for (int base = 0; base < levels.leaf_edges; base += Edges::kStep) {
        here = next;
        next.load(levels.leaf, levels.leaf_slot, base + Edges::kStep, levels.leaf_edges);
        here.lower(ranks, best);
    }
    __syncthreads();
    int begin = levels.edge_indptr[0], end = levels.edge_indptr[min(1, levels.count)];
    next.load(levels.child_slot, levels.parent_slot, begin, end);
    for (int level = 0; level < levels.count; ++level) {
        const int upto = levels.edge_indptr[min(level + 2, levels.count)];
        here = next;
        next.load(levels.child_slot, levels.parent_slot, end, upto);
        here.lower(best, best);
        for (int base = begin + Edges::kStep; base < end; base += Edges::kStep) {
            here.load(levels.child_slot, levels.parent_slot, base, end);
            here.lower(best, best);
        }
        __syncthreads();
        begin = end;
        end = upto;
    }
    for (int slot = threadIdx.x; slot < levels.slots; slot += kBlock) ranks[levels.nodes[slot]] = best[slot];
}

__global__ void __launch_bounds__(kBlock)
    all_ranks_kernel(Similarities similarities, Levels levels, Cut cut, int room, int32_t* scratch, int32_t* ranks) {
    DYNAMIC_SHARED(bytes);
    SHARED_ARRAY(int32_t, warp_totals, kWarps);
    SHARED_ARRAY(float, warp_values, kWarps);
    const int columns = static_cast<int>(similarities.columns), buckets = cut.buckets;
    int32_t* out = ranks + static_cast<int64_t>(blockIdx.x) * columns;
    cut.shares = reinterpret_cast<Bin*>(bytes);
    int32_t* cursors = reinterpret_cast<int32_t*>(cut.shares + cut.bins);
    float* placed = reinterpret_cast<float*>(cursors + buckets + 1);
    uint16_t* ranked = reinterpret_cast<uint16_t*>(placed + room);
    const Row row{similarities.data + static_cast<int64_t>(blockIdx.x) * similarities.pitch,
                  columns,
                  reinterpret_cast<uint32_t*>(out),
                  cursors,
                  placed,
                  ranked,
                  room};
    count_bins(row, cut, warp_values, warp_totals);
    for_values<1>(row, [&](int, float value) { atomicAdd(&cursors[cut.bucket(value)], 1); });
    exclusive_sums(cursors, buckets + 1, warp_totals);
    Chunk before, here = chunk_from(row, buckets, 0, [&](int bucket) { return cursors[bucket]; });
    __syncthreads();
    for_values<1>(row, [&](int i, float value) {
        const int place = atomicAdd(&cursors[cut.bucket(value)], 1);
        out[i] = place;
        if (place < here.end && here.fits) placed[place] = value;
    });
    const auto begin = [&](int bucket) { return bucket == 0 ? 0 : cursors[bucket - 1]; };
    while (here.first < buckets) {
        if (!here.fits) here.same = are_same(row, here, warp_values);
        else if (here.large()) rank_large(row, here);
        else rank_small(row, cut, here);
        before = here;
        here = chunk_from(row, buckets, before.last, begin);
        exchange(row, before, here, here.first == buckets);
    }
    if (levels.slots > 0)
        spread_best(levels, out,
                    scratch == nullptr ? reinterpret_cast<int32_t*>(placed)
                                       : scratch + static_cast<int64_t>(blockIdx.x) * levels.slots);
}

int buckets_for(int64_t concepts) {
    int buckets = 1;
    while (buckets < kMostBuckets && buckets * kOfBucket < concepts) buckets *= 2;
    return buckets;
}

int bins_for(int64_t concepts) { return max(buckets_for(concepts) / kBucketsOfBin, 1); }

}  // namespace

size_t ranks_shared_bytes(int64_t concepts, int32_t room) {
    return sizeof(Bin) * static_cast<size_t>(bins_for(concepts)) +
           sizeof(int32_t) * static_cast<size_t>(buckets_for(concepts) + 1) + 6 * static_cast<size_t>(room);
}

void all_ranks(const Similarities& similarities, const Levels& levels, int32_t room, int32_t* scratch, int32_t* ranks,
               Stream stream) {
    if (similarities.columns == 0) return;
    if (similarities.columns > kMaxRankedConcepts) throw std::invalid_argument("too many concepts to rank");
    if (room < kLarge || room > UINT16_MAX || room % 4 != 0)
        throw std::invalid_argument("room for too few or too many");
    if (scratch == nullptr && 4 * levels.slots > 6 * room) throw std::invalid_argument("no room for the slots");
    const int bins = bins_for(similarities.columns), buckets = buckets_for(similarities.columns);
    const Cut cut{0.0f, 0.0f, bins, buckets, nullptr};
    launch("all ranks", all_ranks_kernel, dim3(static_cast<unsigned>(similarities.rows)), kBlock,
           ranks_shared_bytes(similarities.columns, room), stream, similarities, levels, cut, room, scratch, ranks);
}

}  // namespace fastconcept::cuda
