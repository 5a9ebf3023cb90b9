// Memory of tensors: 64-byte aligned blocks, kept for reuse, since a training step asks for the same sizes again and again
// and a fresh block costs a page fault for every 4 KiB.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace graft {

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

  size_t live() const { return live_; }
  size_t cached() const { return cached_; }
  size_t peak() const { return peak_; }

 private:
  void shrink(size_t limit);

  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> bySize_;
  size_t live_ = 0;
  size_t cached_ = 0;
  size_t peak_ = 0;
};

}  // namespace graft
