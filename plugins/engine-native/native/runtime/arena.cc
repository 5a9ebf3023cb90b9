#include "arena.h"

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace graft {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
// A multiple of the page, as are the steps of sizes from here on.
constexpr size_t kMapped = size_t{1} << 20;
// What no machine has, and a negative size turns into.
constexpr size_t kAbsurd = size_t{1} << 47;

#if defined(__SANITIZE_ADDRESS__)
// Every block is exact and new, so that a step beyond its end or a use after its time is seen.
constexpr bool kExact = true;
#else
constexpr bool kExact = false;
#endif

// Sizes come in steps of an eighth of their power of two, so that nearly equal ones share blocks.
size_t rounded(size_t bytes) {
  if (bytes > kAbsurd) throw std::bad_alloc();
  if (kExact) return bytes > 0 ? bytes : 1;
  if (bytes <= 256) return 256;
  size_t power = 256;
  while (power * 2 < bytes) power *= 2;
  const size_t step = power / 8;
  return (bytes + step - 1) / step * step;
}

#if defined(__linux__)
// Straight from the system, so that it has back what is freed: malloc would keep blocks of up to 32 MiB among those in use.
void* mapped(size_t bytes) {
  const size_t spare = bytes >= 2 * kHugePage ? kHugePage : 0;
  void* base = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  if (spare == 0) return base;
  // Begins at a huge page; what is before and behind is given back.
  auto* from = static_cast<char*>(base);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(from) % kHugePage) % kHugePage;
  if (before > 0) munmap(from, before);
  if (spare - before > 0) munmap(from + before + bytes, spare - before);
#if defined(MADV_HUGEPAGE)
  madvise(from + before, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return from + before;
}
#endif

void* allocate(size_t bytes) {
#if defined(__linux__)
  if (bytes >= kMapped && !kExact) return mapped(bytes);
#endif
#if defined(_WIN32)
  void* block = _aligned_malloc(bytes, kAlignment);
#else
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes) != 0) block = nullptr;
#endif
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void release(void* block, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  if (bytes >= kMapped && !kExact) {
    munmap(block, bytes);
    return;
  }
#endif
#if defined(_WIN32)
  _aligned_free(block);
#else
  std::free(block);
#endif
}

// What is kept unused where less than that would already be as much memory as was in use at once.
constexpr size_t kKeptAtLeast = size_t{48} << 20;

}  // namespace

void* takeBlock(size_t bytes) { return allocate(bytes); }
void giveBlock(void* block, size_t bytes) { release(block, bytes); }

Arena::~Arena() { trim(); }

void* Arena::take(size_t bytes) {
  size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  void* block = nullptr;
  // The smallest kept block that holds it, unless it is far larger or not worth it: batches of other lengths ask for other sizes.
  auto found = bySize_.lower_bound(size);
  while (found != bySize_.end() && found->second.empty()) ++found;
  if (found != bySize_.end() && (found->first == size || (!kExact && size >= kMapped && found->first <= size + size / 2))) {
    block = found->second.back();
    found->second.pop_back();
    counters_.cached -= found->first;
    if (found->first != size) largerThanAsked_[block] = size = found->first;
  } else {
    try {
      block = allocate(size);
    } catch (const std::bad_alloc&) {
      shrink(0);
      block = allocate(size);
    }
  }
  counters_.live += size;
  if (counters_.live > counters_.peak) counters_.peak = counters_.live;
  if (counters_.live > mostLive_) mostLive_ = counters_.live;
  shrink(keptAtMost());
  return block;
}

void Arena::give(void* block, size_t bytes) {
  size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  const auto larger = largerThanAsked_.find(block);
  if (larger != largerThanAsked_.end()) {
    size = larger->second;
    largerThanAsked_.erase(larger);
  }
  counters_.live -= size;
  bySize_[size].push_back(block);
  counters_.cached += size;
  shrink(keptAtMost());
}

// Used and unused blocks together stay within what was in use at once: keeping them costs no more memory than there has been, and a step
// that asks for what the step before it asked for finds it.
size_t Arena::keptAtMost() const {
  if (kExact) return 0;
  const size_t room = mostLive_ - counters_.live;
  return room > kKeptAtLeast ? room : kKeptAtLeast;
}

void Arena::trim() {
  std::lock_guard<std::mutex> lock(mutex_);
  mostLive_ = counters_.live;
  shrink(0);
}

// The largest go first: they are the ones whose size rarely comes again.
void Arena::shrink(size_t limit) {
  for (auto it = bySize_.rbegin(); it != bySize_.rend() && counters_.cached > limit; ++it) {
    while (!it->second.empty() && counters_.cached > limit) {
      release(it->second.back(), it->first);
      it->second.pop_back();
      counters_.cached -= it->first;
    }
  }
}

}  // namespace graft
