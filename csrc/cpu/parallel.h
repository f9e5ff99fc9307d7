// Runs independent tasks on a few threads. Tasks are numbered and write disjoint outputs, so results do not
// depend on how many threads there are or on who takes which task.
#pragma once

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "watch.h"

namespace fastconcept {

// Sends threads to other processors than the one that this was made on. Where other programs keep all of them busy,
// Linux tends to start a thread next to its maker and to move it only after tens of milliseconds, when our work is
// done.
class Elsewhere {
public:
#ifdef __linux__
    Elsewhere() {
        const int here = sched_getcpu();
        some_ = here >= 0 && here < CPU_SETSIZE && sched_getaffinity(0, sizeof others_, &others_) == 0;
        if (!some_) return;
        CPU_CLR(here, &others_);
        some_ = CPU_COUNT(&others_) > 0;
    }
    void send(std::thread& thread) const {  // a wish: failure changes nothing
        if (some_) pthread_setaffinity_np(thread.native_handle(), sizeof others_, &others_);
    }

private:
    cpu_set_t others_;
    bool some_;
#else
    void send(std::thread&) const {}
#endif
};

// Calls body(task, thread) for every task in [0, tasks). The calling thread takes part; the others are started
// for this call (about 20 us each) and joined before it returns, so nothing survives a fork or an exception.
// The first exception thrown by any task is rethrown here; tasks not yet begun are dropped.
template <class Body>
void parallel_for(int64_t tasks, int num_threads, Body&& body) {
    const int64_t wanted = num_threads < tasks ? num_threads : tasks;
    if (wanted <= 1) {
        for (int64_t task = 0; task < tasks; ++task) {
            check_stop();
            body(task, 0);
        }
        return;
    }
    Watch* const watch = Watch::current();
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex lock;
    std::condition_variable ended;
    int64_t helping = 0;  // under lock, as is failure
    auto work = [&](int thread) {
        const Watch::Use use(watch);
        try {
            for (int64_t task; (task = next.fetch_add(1)) < tasks;) {
                check_stop();
                body(task, thread);
            }
        } catch (...) {
            std::lock_guard<std::mutex> hold(lock);
            if (!failure) failure = std::current_exception();
            next.store(tasks);
        }
    };
    auto help = [&](int thread) {
        work(thread);
        std::lock_guard<std::mutex> hold(lock);
        --helping;
        ended.notify_one();
    };
    std::vector<std::thread> team;
    team.reserve(static_cast<size_t>(wanted - 1));
    const Elsewhere elsewhere;
    try {
        for (int64_t thread = 1; thread < wanted; ++thread) {
            team.emplace_back(help, static_cast<int>(thread));
            elsewhere.send(team.back());
            std::lock_guard<std::mutex> hold(lock);
            ++helping;
        }
    } catch (...) {
        // The system gave fewer threads than asked for: those we have finish the work.
    }
    work(0);
    if (watch) {  // its owner goes on asking while others work
        std::unique_lock<std::mutex> hold(lock);
        while (!ended.wait_for(hold, Watch::kInterval, [&] { return helping <= 0; })) watch->ask_at_times();
    }
    for (auto& member : team) member.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace fastconcept
