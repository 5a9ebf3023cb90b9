#include "arena.h"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace graft {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
// Unused blocks are kept up to this, or to a quarter of what is in use where that is more.
constexpr size_t kCachedAtLeast = size_t{48} << 20;

// Sizes come in steps of an eighth of their power of two, so that nearly equal ones share blocks.
size_t rounded(size_t bytes) {
  if (bytes <= 256) return 256;
  size_t power = 256;
  while (power * 2 < bytes) power *= 2;
  const size_t step = power / 8;
  return (bytes + step - 1) / step * step;
}

void* allocate(size_t bytes) {
#if defined(_WIN32)
  void* block = _aligned_malloc(bytes, kAlignment);
#else
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  void* block = nullptr;
  if (posix_memalign(&block, alignment, bytes) != 0) block = nullptr;
#endif
  if (block == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= 2 * kHugePage) madvise(block, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return block;
}

void release(void* block) {
#if defined(_WIN32)
  _aligned_free(block);
#else
  std::free(block);
#endif
}

}  // namespace

Arena::~Arena() { trim(); }

void* Arena::take(size_t bytes) {
  const size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  void* block = nullptr;
  const auto found = bySize_.find(size);
  if (found != bySize_.end() && !found->second.empty()) {
    block = found->second.back();
    found->second.pop_back();
    cached_ -= size;
  } else {
    try {
      block = allocate(size);
    } catch (const std::bad_alloc&) {
      shrink(0);
      block = allocate(size);
    }
  }
  live_ += size;
  if (live_ > peak_) peak_ = live_;
  return block;
}

void Arena::give(void* block, size_t bytes) {
  const size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  live_ -= size;
  bySize_[size].push_back(block);
  cached_ += size;
  const size_t share = live_ / 4;
  shrink(share > kCachedAtLeast ? share : kCachedAtLeast);
}

void Arena::trim() {
  std::lock_guard<std::mutex> lock(mutex_);
  shrink(0);
}

// The largest go first: they are the ones whose size rarely comes again.
void Arena::shrink(size_t limit) {
  for (auto it = bySize_.rbegin(); it != bySize_.rend() && cached_ > limit; ++it) {
    while (!it->second.empty() && cached_ > limit) {
      release(it->second.back());
      it->second.pop_back();
      cached_ -= it->first;
    }
  }
}

}  // namespace graft
