// Sums of products in one instruction set. product.cpp includes this once per set, in a namespace of its own, with
// PRODUCT_TARGET, PRODUCT_VECTOR, PRODUCT_LOAD, PRODUCT_STORE, PRODUCT_BROADCAST, PRODUCT_ADD and PRODUCT_MULTIPLY_ADD
// (a * b + c) defined, and with kLanes, the floats of a vector, and kDown, the patches whose sums fill the registers.

constexpr int64_t kAcross = 2 * kLanes;  // rows of the bank side by side: two vectors

// sums[i * stride + j] (+)= patch i (of `count`, kDepth apart) times column j of the panel.
template <int count>
PRODUCT_TARGET void add_products(const float* patches, const float* panel, int64_t depth, bool add, float* sums,
                                 int64_t stride) {
    PRODUCT_VECTOR low[count], high[count];
#pragma GCC unroll 12
    for (int i = 0; i < count; ++i) low[i] = high[i] = PRODUCT_VECTOR{};
    for (int64_t k = 0; k < depth; ++k) {
        const PRODUCT_VECTOR left = PRODUCT_LOAD(panel + k * kAcross);
        const PRODUCT_VECTOR right = PRODUCT_LOAD(panel + k * kAcross + kLanes);
#pragma GCC unroll 12
        for (int i = 0; i < count; ++i) {
            const PRODUCT_VECTOR value = PRODUCT_BROADCAST(patches[i * kDepth + k]);
            low[i] = PRODUCT_MULTIPLY_ADD(value, left, low[i]);
            high[i] = PRODUCT_MULTIPLY_ADD(value, right, high[i]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < count; ++i) {
        float* const sum = sums + i * stride;
        PRODUCT_STORE(sum, add ? PRODUCT_ADD(PRODUCT_LOAD(sum), low[i]) : low[i]);
        PRODUCT_STORE(sum + kLanes, add ? PRODUCT_ADD(PRODUCT_LOAD(sum + kLanes), high[i]) : high[i]);
    }
}

// add_products of every number of patches up to kDown.
template <int... counts>
Add choose(int64_t count, std::integer_sequence<int, counts...>) {
    constexpr Add all[] = {add_products<counts + 1>...};
    return all[count - 1];
}

// Patches times some rows of the bank, side by side in one panel, whose last columns may not exist. Patches are given
// kDepth dimensions at a time, `count` after `count`.
inline void multiply_panel(const float* patches, int64_t count, const float* panel, int64_t dims, int64_t width,
                           float* similarities, int64_t stride) {
    for (int64_t i = 0; i < count; i += kDown) {
        const int64_t down = std::min<int64_t>(kDown, count - i);
        const Add add = choose(down, std::make_integer_sequence<int, kDown>());
        float whole[kDown * kAcross];
        float* const sums = width == kAcross ? similarities + i * stride : whole;
        for (int64_t start = 0; start < dims; start += kDepth)
            add(patches + start * count + i * kDepth, panel + start * kAcross, std::min(kDepth, dims - start),
                start > 0, sums, width == kAcross ? stride : kAcross);
        for (int64_t row = 0; width < kAcross && row < down; ++row)
            std::copy(whole + row * kAcross, whole + row * kAcross + width, similarities + (i + row) * stride);
    }
}

#undef PRODUCT_TARGET
#undef PRODUCT_VECTOR
#undef PRODUCT_LOAD
#undef PRODUCT_STORE
#undef PRODUCT_BROADCAST
#undef PRODUCT_ADD
#undef PRODUCT_MULTIPLY_ADD
