#include "pool.h"

#include <stdexcept>
#include <string>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace graft {

namespace {

inline void pauseBriefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Long enough to bridge two operations of a training step, short enough not to starve the other users of a shared core.
constexpr int kSpins = 2000;

}  // namespace

Pool::Pool(int threads) {
  try {
    for (int worker = 1; worker < threads; worker++) helpers_.emplace_back([this, worker] { help(worker); });
  } catch (const std::exception& error) {
    const std::string started = std::to_string(helpers_.size() + 1);
    stop();
    throw std::runtime_error("can't start " + std::to_string(threads) + " threads, only " + started + ": " + error.what());
  }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_.store(true);
  }
  wake_.notify_all();
  for (auto& helper : helpers_) helper.join();
}

void Pool::runJob(int64_t pieces, Call call, const void* context) {
  if (epoch_.load(std::memory_order_relaxed) % 2 == 1) throw std::logic_error("a job of the pool can't start another");
  job_ = Job{call, context, pieces};
  next_.store(0, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  work(0);
  // Nobody may join from here on; those inside are on their last piece.
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  for (int spins = 0; inside_.load(std::memory_order_seq_cst) != 0; spins++) {
    if (spins < kSpins) pauseBriefly();
    else std::this_thread::yield();
  }
  if (failed_.exchange(false, std::memory_order_relaxed)) std::rethrow_exception(std::exchange(error_, nullptr));
  if (abandoned_.load(std::memory_order_relaxed)) throw Abandoned();
}

void Pool::work(int worker) {
  try {
    while (!abandoned_.load(std::memory_order_relaxed)) {
      const int64_t piece = next_.fetch_add(1, std::memory_order_relaxed);
      if (piece >= job_.pieces) return;
      job_.call(job_.context, piece, worker);
    }
  } catch (...) {
    // The first to fail keeps its exception; the caller looks when nobody is inside any more.
    if (!failed_.exchange(true, std::memory_order_relaxed)) error_ = std::current_exception();
    next_.store(job_.pieces, std::memory_order_relaxed);
  }
}

void Pool::help(int worker) {
  uint64_t done = 0;
  for (;;) {
    uint64_t epoch = epoch_.load(std::memory_order_seq_cst);
    for (int spins = 0; spins < kSpins && (epoch == done || epoch % 2 == 0); spins++) {
      pauseBriefly();
      epoch = epoch_.load(std::memory_order_seq_cst);
    }
    if (epoch == done || epoch % 2 == 0) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] {
        epoch = epoch_.load(std::memory_order_seq_cst);
        return stopping_.load() || (epoch != done && epoch % 2 == 1);
      });
      sleeping_.fetch_sub(1, std::memory_order_seq_cst);
      if (stopping_.load()) return;
    }
    inside_.fetch_add(1, std::memory_order_seq_cst);
    // The job may have ended between the look at the epoch and the entry.
    if (epoch_.load(std::memory_order_seq_cst) == epoch) work(worker);
    inside_.fetch_sub(1, std::memory_order_seq_cst);
    done = epoch;
  }
}

}  // namespace graft
