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
constexpr size_t kMapped = size_t{1} << 20;
// What no machine has, and a negative size turns into.
constexpr size_t kAbsurd = size_t{1} << 47;

#if defined(__SANITIZE_ADDRESS__)
// Every block is exact and new, so that a step beyond its end or a use after its time is seen.
constexpr bool kExact = true;
#else
constexpr bool kExact = false;
#endif

// Blocks from here on are cut from address space.
#if defined(_WIN32)
constexpr size_t kLarge = kAbsurd + 1;
#else
constexpr size_t kLarge = kExact ? kAbsurd + 1 : size_t{256} << 10;
#endif

// Small sizes come in steps of an eighth of their power of two, so that nearly equal ones share blocks.
size_t rounded(size_t bytes) {
  if (bytes > kAbsurd) throw std::bad_alloc();
  if (kExact) return bytes > 0 ? bytes : 1;
  if (bytes >= kLarge) return (bytes + Space::kStep - 1) / Space::kStep * Space::kStep;
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

void* Arena::takeSmall(size_t size) {
  const auto kept = small_.find(size);
  if (kept != small_.end() && !kept->second.empty()) {
    void* block = kept->second.back();
    kept->second.pop_back();
    smallKept_ -= size;
    return block;
  }
  return allocate(size);
}

void* Arena::take(size_t bytes) {
  const size_t size = rounded(bytes);
  const auto attempt = [&] { return size >= kLarge ? large_.take(size) : takeSmall(size); };
  std::lock_guard<std::mutex> lock(mutex_);
  void* block;
  try {
    block = attempt();
  } catch (const std::bad_alloc&) {
    keepWithin(0);
    block = attempt();
  }
  if (size >= kLarge) largeLive_ += size;
  counters_.live += size;
  if (counters_.live > counters_.peak) counters_.peak = counters_.live;
  if (counters_.live > mostLive_) mostLive_ = counters_.live;
  keepWithin(keptAtMost());
  return block;
}

void Arena::give(void* block, size_t bytes) {
  const size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  counters_.live -= size;
  if (size >= kLarge) {
    large_.give(block, size);
    largeLive_ -= size;
  } else {
    small_[size].push_back(block);
    smallKept_ += size;
  }
  keepWithin(keptAtMost());
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
  keepWithin(0);
}

// Large blocks go first, since they come back in any size, and of the small ones the largest, whose size rarely comes again.
void Arena::keepWithin(size_t limit) {
  counters_.cached = smallKept_ + large_.held() - largeLive_;
  if (counters_.cached <= limit) return;
  large_.release(largeLive_ + (limit > smallKept_ ? limit - smallKept_ : 0));
  for (auto it = small_.rbegin(); it != small_.rend() && smallKept_ > limit; ++it) {
    while (!it->second.empty() && smallKept_ > limit) {
      release(it->second.back(), it->first);
      it->second.pop_back();
      smallKept_ -= it->first;
    }
  }
  counters_.cached = smallKept_ + large_.held() - largeLive_;
}

}  // namespace graft
