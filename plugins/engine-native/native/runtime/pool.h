// Threads that compute. Work is claimed piece by piece from an atomic counter; there are no barriers inside a job.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace graft {

// Thrown by `Pool::run` after `abandon`.
struct Abandoned : std::exception {
  const char* what() const noexcept override { return "the engine is shutting down"; }
};

class Pool {
 public:
  // `threads` counts the caller of `run`, which takes part. Throws std::runtime_error where the system starts no more threads.
  explicit Pool(int threads);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  // Calls body(piece, worker) for each piece in [0, pieces), worker in [0, threads()); returns when all are done. Where a body throws,
  // the pieces not yet begun are left out and the first exception is thrown on. Only one thread may call it, and no body.
  template <class Body>
  void run(int64_t pieces, const Body& body) {
    if (pieces > 1 && !helpers_.empty()) {
      runJob(pieces, [](const void* context, int64_t piece, int worker) { (*static_cast<const Body*>(context))(piece, worker); }, &body);
      return;
    }
    for (int64_t piece = 0; piece < pieces; piece++) {
      if (abandoned_.load(std::memory_order_relaxed)) throw Abandoned();
      body(piece, 0);
    }
  }

  // Splits [0, count) into ranges of at least `grain` and calls body(from, to, worker) for each.
  template <class Body>
  void ranges(int64_t count, int64_t grain, const Body& body) {
    if (count <= 0) return;
    const int64_t most = helpers_.empty() ? 1 : int64_t{threads()} * 4;
    int64_t pieces = count / (grain > 0 ? grain : 1);
    if (pieces < 1) pieces = 1;
    if (pieces > most) pieces = most;
    run(pieces, [&](int64_t piece, int worker) { body(count * piece / pieces, count * (piece + 1) / pieces, worker); });
  }

  // From any thread: what runs stops at the end of its pieces, and every run from now on throws Abandoned.
  void abandon() { abandoned_.store(true, std::memory_order_relaxed); }

 private:
  using Call = void (*)(const void* context, int64_t piece, int worker);
  struct Job {
    Call call = nullptr;
    const void* context = nullptr;
    int64_t pieces = 0;
  };

  void runJob(int64_t pieces, Call call, const void* context);
  void help(int worker);
  void work(int worker);
  void stop();

  std::vector<std::thread> helpers_;
  // Written between jobs only, while `inside_` is 0 and `epoch_` is even.
  Job job_;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  std::atomic<int64_t> next_{0};
  // Odd while a job may be joined. Helpers enter by counting themselves in `inside_`, and the caller leaves when it is 0.
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> inside_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace graft
