// Memory of tensors: 64-byte aligned blocks, kept for reuse, since a training step asks for the same sizes again and again
// and a fresh block costs a page fault for every 4 KiB.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace graft {

// Memory straight from the system, 64-byte aligned and where it is large in huge pages; throws std::bad_alloc.
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

  // Bytes in use, kept for reuse, and in use at most so far.
  struct Counters {
    size_t live = 0, cached = 0, peak = 0;
  };
  Counters counters() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return counters_;
  }

 private:
  void shrink(size_t limit);
  size_t keptAtMost() const;

  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> bySize_;
  // Blocks in use that are larger than what was asked for, and their sizes.
  std::unordered_map<void*, size_t> largerThanAsked_;
  Counters counters_;
  // The most in use since the last `trim`.
  size_t mostLive_ = 0;
};

}  // namespace graft
