// Lets a caller stop work that takes long. Loops that may run for more than some milliseconds call check_stop(), which
// throws Interrupted once the caller's question has been answered with yes. Only the thread that made the watch asks;
// threads that help it see the answer.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace fastconcept {

struct Interrupted {};

class Watch {
public:
    Watch() = default;
    virtual ~Watch() = default;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    void look() {
        if (std::this_thread::get_id() == owner_) ask_at_times();
        if (stopped_.load(std::memory_order_relaxed)) throw Interrupted();
    }
    void ask_at_times() {
        const auto now = std::chrono::steady_clock::now();
        if (now - asked_ < kInterval) return;
        asked_ = now;
        if (stop()) stopped_.store(true, std::memory_order_relaxed);
    }

    static constexpr std::chrono::milliseconds kInterval{50};

    // Makes a watch that of this thread, as long as it lives; null takes it away.
    class Use {
    public:
        explicit Use(Watch* watch) : before_(current()) { current() = watch; }
        ~Use() { current() = before_; }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;

    private:
        Watch* before_;
    };
    static Watch*& current() {
        thread_local Watch* watch = nullptr;
        return watch;
    }

protected:
    virtual bool stop() = 0;

private:
    const std::thread::id owner_ = std::this_thread::get_id();
    std::chrono::steady_clock::time_point asked_ = std::chrono::steady_clock::now();  // of the owner alone
    std::atomic<bool> stopped_{false};
};

inline void check_stop() {
    if (Watch* watch = Watch::current()) watch->look();
}

}  // namespace fastconcept
