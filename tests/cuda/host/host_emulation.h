// Runs CUDA kernels as plain C++ on host memory, for tests on machines without a GPU. Include it in place of
// <cuda_runtime.h> (csrc/cuda/launch.h does, under FASTCONCEPT_HOST_EMULATION).
//
// Blocks run one after another; the threads of a block are fibers on one operating-system thread, switched only where
// a thread waits for others (__syncthreads, __syncwarp, shuffles, votes). Which ready fiber runs next is drawn at
// random, so a missing barrier shows as results that change from one launch to the next. Shared memory is poisoned
// before every block and each array is an allocation of its own, so that AddressSanitizer sees an overrun. A barrier
// that some threads never reach is an error, and so is a warp operation with a lane missing, or more shared memory than
// a block of compute capability 8.7 may have: 48 KiB, fixed arrays included, or 163 where the launch asks for more.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) int4 {
    int32_t x, y, z, w;
};
struct alignas(4) uchar4 {
    uint8_t x, y, z, w;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

class Block {
public:
    static Block& current() {
        static Block block;
        return block;
    }

    // Runs `body` once per thread of the block, which may use `room` bytes of shared memory in all.
    void run(unsigned threads, size_t dynamic_bytes, size_t room, const std::function<void()>& body) {
        if (threads % 32 != 0 || threads > 1024)
            throw std::runtime_error("emulation: block size " + std::to_string(threads));
        body_ = &body;
        shared_.clear();
        used_ = dynamic_bytes;
        dynamic_ = allocate(dynamic_bytes);
        fibers_.resize(std::max<size_t>(fibers_.size(), threads));
        waiting_all_.clear();
        waiting_warp_.assign(threads / 32, {});
        parity_.assign(threads, 0);
        alive_ = threads;
        alive_in_warp_.assign(threads / 32, 32);
        ready_.clear();
        for (unsigned thread = 0; thread < threads; ++thread) start(thread);
        while (!ready_.empty()) {
            random_ = random_ * 6364136223846793005u + 1442695040888963407u;
            std::swap(ready_[(random_ >> 33) % ready_.size()], ready_.back());
            running_ = ready_.back();
            ready_.pop_back();
            threadIdx = dim3(running_);
            resume(fibers_[running_]);
        }
        if (alive_ == 0 && used_ > room) {
            throw std::runtime_error("emulation: " + std::to_string(used_) + " bytes of shared memory where " +
                                     std::to_string(room) + " are allowed");
        }
        if (alive_ == 0) return;
        fibers_.clear();  // they stand in the middle of the kernel
        if (!failure_.empty()) throw std::runtime_error("emulation: " + std::exchange(failure_, {}));
        throw std::runtime_error("emulation: a barrier that not every thread reaches");
    }

    void sync_block() {
        waiting_all_.push_back(running_);
        if (waiting_all_.size() == alive_) release(waiting_all_);
        else pause();
    }

    // Every lane of the warp hands in a value; each may then read all 32 until its next warp operation.
    const uint64_t* exchange(uint64_t value) {
        const unsigned warp = running_ / 32;
        uint64_t* slots = slots_[warp][parity_[running_] ^= 1];
        slots[running_ % 32] = value;
        if (alive_in_warp_[warp] != 32) fail("a warp operation with a lane missing");
        waiting_warp_[warp].push_back(running_);
        if (waiting_warp_[warp].size() == 32) release(waiting_warp_[warp]);
        else pause();
        return slots;
    }

    void* dynamic() { return dynamic_.get(); }

    void* shared(const void* key, size_t bytes) {
        auto& memory = shared_[key];
        if (!memory) {
            memory = allocate(bytes);
            used_ += bytes;
        }
        return memory.get();
    }

private:
    static constexpr size_t kStack = 256 * 1024;
    struct Fiber {
        std::unique_ptr<char[]> stack;
        ucontext_t context;  // to enter it the first time
        jmp_buf place;  // to continue: an order of magnitude faster than swapcontext, which asks the kernel
        bool entered = false;
    };
    static std::shared_ptr<void> allocate(size_t bytes) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 16, std::max<size_t>(bytes, 1)) != 0) throw std::bad_alloc();
        std::memset(memory, 0xff, bytes);  // NaN as a float, -1 as an integer
        return std::shared_ptr<void>(memory, std::free);
    }

    void start(unsigned thread) {
        Fiber& fiber = fibers_[thread];
        if (!fiber.stack) {
            fiber.stack.reset(new char[kStack]);
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = kStack;
            makecontext(&fiber.context, &Block::enter, 0);
        }
        ready_.push_back(thread);
    }

    // A fiber lives on from block to block.
    static void enter() {
        for (Block& block = current();; block.pause()) {
            (*block.body_)();
            const unsigned warp = block.running_ / 32;
            --block.alive_in_warp_[warp];
            --block.alive_;
            if (!block.waiting_warp_[warp].empty()) block.fail("a thread left while its warp waits for it");
            if (block.alive_ > 0 && block.waiting_all_.size() == block.alive_) block.release(block.waiting_all_);
        }
    }

    void release(std::vector<unsigned>& waiting) {
        for (unsigned thread : waiting) {
            if (thread != running_) ready_.push_back(thread);
        }
        waiting.clear();
    }

    void resume(Fiber& fiber) {
        if (_setjmp(scheduler_) != 0) return;
        if (std::exchange(fiber.entered, true)) _longjmp(fiber.place, 1);
        setcontext(&fiber.context);
    }

    void pause() {
        if (_setjmp(fibers_[running_].place) == 0) _longjmp(scheduler_, 1);
    }

    // The fibers of a broken block are abandoned: nothing they hold has a destructor.
    void fail(const char* message) {
        failure_ = message;
        ready_.clear();
        ++alive_;  // never counts as finished
        pause();
    }

    const std::function<void()>* body_ = nullptr;
    std::vector<Fiber> fibers_;
    std::vector<unsigned> ready_, waiting_all_, alive_in_warp_;
    std::vector<std::vector<unsigned>> waiting_warp_;
    std::vector<unsigned char> parity_;
    uint64_t slots_[32][2][32] = {};
    std::map<const void*, std::shared_ptr<void>> shared_;
    std::shared_ptr<void> dynamic_;
    size_t used_ = 0;  // shared memory of the block
    jmp_buf scheduler_{};
    unsigned running_ = 0, alive_ = 0;
    uint64_t random_ = 1;
    std::string failure_;
};

template <class T>
uint64_t pack(T value) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
T unpack(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace emulation

inline void __syncthreads() { emulation::Block::current().sync_block(); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulation::Block::current().exchange(0); }

template <class T>
T __shfl_sync(unsigned, T value, unsigned lane) {
    return emulation::unpack<T>(emulation::Block::current().exchange(emulation::pack(value))[lane % 32]);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned step) {
    return __shfl_sync(mask, value, (threadIdx.x % 32) ^ step);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned step) {
    const unsigned lane = threadIdx.x % 32;
    return __shfl_sync(mask, value, lane >= step ? lane - step : lane);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
    const uint64_t* votes = emulation::Block::current().exchange(vote);
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; ++lane) result |= static_cast<unsigned>(votes[lane] != 0) << lane;
    return result;
}
inline bool __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }

// Fibers are never interrupted, so plain arithmetic is atomic.
template <class T>
T atomicAdd(T* target, T value) {
    const T old = *target;
    *target = old + value;
    return old;
}

template <class T>
T atomicMin(T* target, T value) {
    const T old = *target;
    *target = value < old ? value : old;
    return old;
}

inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline double __dmul_rn(double a, double b) { return a * b; }  // built with -ffp-contract=off
inline double __dadd_rn(double a, double b) { return a + b; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
using std::max;
using std::min;

namespace fastconcept::cuda {

using Stream = void*;
using Half = _Float16;
inline Half to_half(float value) { return static_cast<Half>(value); }
inline float to_float(Half value) { return static_cast<float>(value); }

template <class... Parameters, class... Arguments>
void launch(const char*, void (*kernel)(Parameters...), dim3 grid, unsigned block, size_t shared_bytes, Stream,
            Arguments... arguments) {
    const size_t room = (needs_allowance(shared_bytes) ? 163 : 48) * 1024;  // of compute capability 8.7
    gridDim = grid;
    blockDim = dim3(block);
    const std::function<void()> body = [&] { kernel(static_cast<Parameters>(arguments)...); };
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                emulation::Block::current().run(block, shared_bytes, room, body);
            }
        }
    }
}

}  // namespace fastconcept::cuda

#define SHARED_ARRAY(type, name, count)                                                                                \
    static const char name##_key = 0;                                                                                  \
    type(&name)[count] =                                                                                               \
        *static_cast<type(*)[count]>(emulation::Block::current().shared(&name##_key, sizeof(type) * (count)))
#define DYNAMIC_SHARED(name) unsigned char* name = static_cast<unsigned char*>(emulation::Block::current().dynamic())
