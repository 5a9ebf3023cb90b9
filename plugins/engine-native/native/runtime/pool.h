// Threads that compute. Work is claimed piece by piece from an atomic counter; there are no barriers inside a job.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace graft {

class Pool {
 public:
  // `threads` counts the caller of `run`, which takes part.
  explicit Pool(int threads);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  // Calls body(piece, worker) for each piece in [0, pieces), worker in [0, threads()); returns when all are done.
  // Only one thread may call it, and body may neither call it again nor throw.
  template <class Body>
  void run(int64_t pieces, const Body& body) {
    if (pieces <= 1 || helpers_.empty()) {
      for (int64_t piece = 0; piece < pieces; piece++) body(piece, 0);
      return;
    }
    runJob(pieces, [](const void* context, int64_t piece, int worker) { (*static_cast<const Body*>(context))(piece, worker); }, &body);
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

 private:
  using Call = void (*)(const void* context, int64_t piece, int worker);
  struct Job {
    Call call = nullptr;
    const void* context = nullptr;
    int64_t pieces = 0;
  };

  void runJob(int64_t pieces, Call call, const void* context);
  void help(int worker);
  void work(const Job& job, int worker);

  std::vector<std::thread> helpers_;
  Job job_;
  std::atomic<int64_t> next_{0};
  // Odd while a job may be joined. Helpers enter by counting themselves in `inside_`, and the caller leaves when it is 0.
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> inside_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace graft
