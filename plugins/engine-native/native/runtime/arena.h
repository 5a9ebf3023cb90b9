// Memory of tensors: 64-byte aligned blocks, kept for reuse, since a fresh block costs a page fault for every 4 KiB.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "space.h"

namespace graft {

// Memory that is kept for long, such as weights: 64-byte aligned, in huge pages where the system has them, and the system's again as soon
// as it is given. Throws std::bad_alloc.
void* takeBlock(size_t bytes);
// `bytes` as given to `takeBlock`.
void giveBlock(void* block, size_t bytes);

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // Uninitialised; throws std::bad_alloc.
  void* take(size_t bytes);
  // `bytes` as given to `take`.
  void give(void* block, size_t bytes);
  // Frees every block that nothing uses.
  void trim();

  // Bytes in use, kept for reuse (with what is unused of the pages of those in use), and in use at most so far.
  struct Counters {
    size_t live = 0, cached = 0, peak = 0;
  };
  Counters counters() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return counters_;
  }

 private:
  void* takeSmall(size_t size);
  void keepWithin(size_t limit);
  size_t keptAtMost() const;

  mutable std::mutex mutex_;
  // Small blocks that are kept, by size, and their bytes.
  std::map<size_t, std::vector<void*>> small_;
  size_t smallKept_ = 0;
  Space large_;
  size_t largeLive_ = 0;
  Counters counters_;
  // The most in use since the last `trim`.
  size_t mostLive_ = 0;
};

}  // namespace graft
