// Helpers for work of tens of microseconds, where starting a thread would cost more than it saves.
//
// parallel_for starts its threads and joins them: 25 us when the machine is idle, and milliseconds when it is not,
// because a thread that comes late is still waited for. A crew's threads live on. They are woken at the start of a
// solve, look for work without sleeping while it lasts, and nobody ever waits for one that has not come: the caller
// takes every task that no helper has taken. That also makes a crew safe after fork(), where its threads are gone.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace fastconcept {

class Crew {
public:
    // The crew of this process; leaked on purpose, so that no helper outlives what it looks at.
    static Crew& instance() {
        static Crew* crew = new Crew;
        return *crew;
    }

    // Reserves the crew for one caller, with up to `helpers` threads; a second caller at the same time gets none.
    class Shift {
    public:
        Shift(Crew& crew, int helpers) : crew_(crew), mine_(helpers > 0 && crew.begin(helpers)) {}
        ~Shift() {
            if (mine_) crew_.end();
        }
        Shift(const Shift&) = delete;
        Shift& operator=(const Shift&) = delete;

        // Calls body(task) for every task in [0, tasks), each once, and returns when all are done; the first
        // exception is rethrown. More tasks than a ticket can count are done by the caller.
        void run(int64_t tasks, const std::function<void(int64_t)>& body) {
            if (mine_ && tasks <= static_cast<int64_t>(kField)) {
                crew_.run(tasks, body);
            } else {
                for (int64_t task = 0; task < tasks; ++task) body(task);
            }
        }

    private:
        Crew& crew_;
        bool mine_;
    };

private:
    static constexpr int kMost = 15;  // helpers: more do not pay for work this small
    static constexpr uint64_t kField = (uint64_t{1} << 20) - 1;

    bool begin(int helpers) {
        if (busy_.exchange(true, std::memory_order_acquire)) return false;
        std::unique_lock<std::mutex> hold(lock_, std::try_to_lock);
        if (!hold) {  // a helper is just going to sleep, or went missing in a fork while it held the lock
            busy_.store(false, std::memory_order_release);
            return false;
        }
        wanted_ = std::min(helpers, kMost);
        try {
            for (; hired_ < wanted_; ++hired_) std::thread(&Crew::help, this, hired_).detach();
        } catch (...) {
            // The system gave fewer threads than asked for: the caller does their share.
        }
        on_shift_.store(true, std::memory_order_release);
        wake_.notify_all();
        return true;
    }

    void end() {
        on_shift_.store(false, std::memory_order_release);
        busy_.store(false, std::memory_order_release);
    }

    void run(int64_t tasks, const std::function<void(int64_t)>& body) {
        body_.store(&body, std::memory_order_relaxed);
        done_.store(0, std::memory_order_relaxed);
        round_ = (round_ + 1) % (uint64_t{1} << 24);
        ticket_.store(round_ << 40 | static_cast<uint64_t>(tasks) << 20, std::memory_order_release);
        work();
        while (done_.load(std::memory_order_acquire) < tasks) std::this_thread::yield();
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

    // Takes tasks of the round that is open until there are none. A ticket holds the round, how many tasks it has and
    // which is next, in one word. The exchange succeeds only if that very task is still free, and while one is, the
    // caller opens no other round: what was read before the exchange belongs to it.
    void work() {
        uint64_t ticket = ticket_.load(std::memory_order_acquire);
        for (;;) {
            const uint64_t task = ticket & kField, tasks = ticket >> 20 & kField;
            if (task >= tasks) return;
            const auto* body = body_.load(std::memory_order_relaxed);
            if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
            try {
                (*body)(static_cast<int64_t>(task));
            } catch (...) {
                std::lock_guard<std::mutex> hold(failure_lock_);
                if (!failure_) failure_ = std::current_exception();
            }
            done_.fetch_add(1, std::memory_order_release);
            ticket = ticket_.load(std::memory_order_acquire);
        }
    }

    void help(int number) {
        for (;;) {
            {
                std::unique_lock<std::mutex> hold(lock_);
                wake_.wait(hold, [&] { return on_shift_.load(std::memory_order_relaxed) && number < wanted_; });
            }
            while (on_shift_.load(std::memory_order_acquire)) {
                work();
                std::this_thread::yield();
            }
        }
    }

    std::atomic<bool> busy_{false}, on_shift_{false};
    std::atomic<uint64_t> ticket_{0};
    std::atomic<int64_t> done_{0};
    std::atomic<const std::function<void(int64_t)>*> body_{nullptr};
    uint64_t round_ = 0;  // of the caller alone
    std::exception_ptr failure_;  // under failure_lock_ while a round is open
    std::mutex lock_, failure_lock_;
    std::condition_variable wake_;
    int wanted_ = 0, hired_ = 0;  // under lock_
};

}  // namespace fastconcept
