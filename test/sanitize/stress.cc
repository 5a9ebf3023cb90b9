// Threads against the pool and the queue, for ThreadSanitizer: stress SECONDS SEED. `stress 0` prints what a job costs.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <random>
#include <stdexcept>

#include "isa/isa.h"
#include "runtime/runtime.h"

using graft::Pool;
using graft::Runtime;
using Clock = std::chrono::steady_clock;

namespace {

double secondsSince(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "stress: %s\n", what);
  std::abort();
}

// Plain memory written by the pieces and read by the caller: a piece that is lost, repeated or late is seen here or by the sanitizer.
void jobs(std::mt19937& random, Clock::time_point end) {
  while (Clock::now() < end) {
    Pool pool(1 + static_cast<int>(random() % 5));
    std::vector<int> touched;
    for (int round = 0; round < 200 && Clock::now() < end; round++) {
      const auto pieces = static_cast<int64_t>(random() % 40);
      const int64_t failing = random() % 4 == 0 && pieces > 0 ? static_cast<int64_t>(random() % static_cast<uint64_t>(pieces)) : -1;
      touched.assign(static_cast<size_t>(pieces), 0);
      bool threw = false;
      try {
        pool.run(pieces, [&](int64_t piece, int worker) {
          expect(worker >= 0 && worker < pool.threads(), "a worker has a number beyond the threads");
          if (piece == failing) throw std::runtime_error("as asked");
          touched[static_cast<size_t>(piece)]++;
        });
      } catch (const std::runtime_error&) {
        threw = true;
      }
      expect(threw == (failing >= 0), "an exception was lost or made up");
      for (const int times : touched) expect(threw ? times <= 1 : times == 1, "a piece did not run once");
      // Now and then the helpers fall asleep.
      if (random() % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

void add(Runtime& rt, graft::Args& args) {
  const float* from = args.floats();
  const double value = args.number();
  float* to = args.output(64);
  rt.pool.run(4, [&](int64_t piece, int) {
    for (int64_t i = piece * 16; i < (piece + 1) * 16; i++) to[i] = from[i] + static_cast<float>(value);
  });
}

void queue(std::mt19937& random, Clock::time_point end) {
  while (Clock::now() < end) {
    Runtime rt(graft::isaBase(), 1 + static_cast<int>(random() % 3));
    rt.enqueue([&rt] {
      auto* values = static_cast<float*>(rt.make(0, 256));
      for (int i = 0; i < 64; i++) values[i] = 0;
    });
    float expected = 0;
    int64_t at = 0;
    for (int step = 0; step < 3000 && Clock::now() < end; step++) {
      const double args[] = {static_cast<double>(at), 1, static_cast<double>(at + 1)};
      rt.enqueue(add, "add", args, 3);
      rt.enqueue([&rt, at] { rt.release(at); }, "release", random() % 1000);
      at++;
      expected++;
      if (random() % 100 == 0) expect(rt.arena.counters().live < (size_t{1} << 20), "memory of what was released is in use");
      if (random() % 400 == 0) rt.arena.trim();
      if (random() % 200 != 0) continue;
      std::promise<float> seen;
      rt.after([&](std::exception_ptr error) { seen.set_value(error == nullptr ? static_cast<float*>(rt.slot(at).data)[63] : -1); });
      expect(seen.get_future().get() == expected, "the queue was not executed in order");
    }
    if (random() % 2 == 0) rt.abandon();
  }
}

void cost() {
  Pool pool(2);
  std::atomic<int64_t> sum{0};
  for (const int64_t pieces : {2, 8, 64}) {
    double best = 1;
    for (int repeat = 0; repeat < 50; repeat++) {
      const auto begun = Clock::now();
      for (int i = 0; i < 200; i++) pool.run(pieces, [&](int64_t piece, int) { sum.fetch_add(piece, std::memory_order_relaxed); });
      best = std::min(best, secondsSince(begun) / 200);
    }
    std::printf("a job of %lld pieces on 2 threads: %.2f us\n", static_cast<long long>(pieces), best * 1e6);
  }
  Runtime rt(graft::isaBase(), 1);
  rt.enqueue([&rt] { rt.make(0, 256); });
  rt.drain();
  double best = 1;
  for (int repeat = 0; repeat < 20; repeat++) {
    const auto begun = Clock::now();
    for (int i = 0; i < 2000; i++) {
      const double args[] = {0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
      rt.enqueue(add, "add", args, 12);
    }
    best = std::min(best, secondsSince(begun) / 2000);
    rt.drain();
  }
  std::printf("an operation of 12 arguments enqueued: %.2f us\n", best * 1e6);
}

}  // namespace

int main(int, char** argv) {
  const double seconds = std::atof(argv[1]);
  if (seconds == 0) {
    cost();
    return 0;
  }
  const auto seed = static_cast<unsigned>(std::atol(argv[2]));
  std::mt19937 random(seed);
  std::printf("stress: %.0f s, seed %u\n", seconds, seed);
  const auto half = std::chrono::milliseconds(static_cast<int64_t>(seconds * 500));
  jobs(random, Clock::now() + half);
  queue(random, Clock::now() + half);
  std::printf("stress: nothing found\n");
  return 0;
}
