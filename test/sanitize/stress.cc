// Threads against the pool and the queue, and blocks of the arena, for ThreadSanitizer: stress SECONDS SEED. `stress 0` prints what a job costs.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

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

// Blocks of all sizes, marked on each page: two that overlap, or one that is given back to the system too soon, lose their marks.
void memory(std::mt19937& random, Clock::time_point end) {
  struct Block {
    char* data;
    size_t bytes;
    char mark;
  };
  constexpr size_t kPage = 4096;
  constexpr size_t kSlack = size_t{64} << 20;
  while (Clock::now() < end) {
    graft::Arena arena;
    std::vector<Block> blocks;
    size_t most = 0;
    for (int step = 0; step < 20000 && Clock::now() < end; step++) {
      if (blocks.empty() || (blocks.size() < 60 && random() % 2 == 0)) {
        const size_t bytes = 1 + random() % (size_t{1} << (6 + random() % 18));
        Block block{static_cast<char*>(arena.take(bytes)), bytes, static_cast<char>(random())};
        for (size_t i = 0; i < bytes; i += kPage) block.data[i] = block.mark;
        block.data[bytes - 1] = block.mark;
        blocks.push_back(block);
      } else {
        std::swap(blocks[random() % blocks.size()], blocks.back());
        const Block block = blocks.back();
        blocks.pop_back();
        for (size_t i = 0; i < block.bytes; i += kPage) expect(block.data[i] == block.mark, "a block was written by another");
        expect(block.data[block.bytes - 1] == block.mark, "a block's end was written by another");
        arena.give(block.data, block.bytes);
      }
      const auto counted = arena.counters();
      most = std::max(most, counted.live);
      // Chunks that are free in part stay whole, two for each block at most.
      expect(counted.live + counted.cached <= most + kSlack + blocks.size() * (size_t{4} << 20), "more is kept than was ever in use");
      if (random() % 5000 == 0) {
        arena.trim();
        most = arena.counters().live;
      }
    }
    for (const Block& block : blocks) arena.give(block.data, block.bytes);
    arena.trim();
    expect(arena.counters().live == 0 && arena.counters().cached == 0, "an arena without blocks holds memory");
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
  const auto third = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000 / 3));
  jobs(random, Clock::now() + third);
  queue(random, Clock::now() + third);
  memory(random, Clock::now() + third);
  std::printf("stress: nothing found\n");
  return 0;
}
