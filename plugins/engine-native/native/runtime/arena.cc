#include "arena.h"

#include <cstdint>
#include <cstdlib>
#include <new>

namespace graft {

namespace {

constexpr size_t kAlignment = 64;
// What no machine has, and a negative size turns into.
constexpr size_t kAbsurd = size_t{1} << 47;

#if defined(__SANITIZE_ADDRESS__)
// Every block is exact and new, so that a step beyond its end or a use after its time is seen.
constexpr bool kExact = true;
#else
constexpr bool kExact = false;
#endif

// Blocks from here on are cut from address space.
constexpr size_t kLarge = kExact ? kAbsurd + 1 : size_t{256} << 10;

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

void* allocate(size_t bytes) {
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes) != 0) throw std::bad_alloc();
  return block;
}

// What is kept unused where less than that would already be as much memory as was in use at once.
constexpr size_t kKeptAtLeast = size_t{16} << 20;

// Of what tensors never see: it outlives every engine.
struct LongLived {
  std::mutex mutex;
  Space space;
  size_t live = 0;
};
LongLived& longLived() {
  static auto& one = *new LongLived;
  return one;
}

}  // namespace

void* takeBlock(size_t bytes) {
  const size_t size = rounded(bytes);
  if (size < kLarge) return allocate(size);
  LongLived& blocks = longLived();
  std::lock_guard<std::mutex> lock(blocks.mutex);
  void* block = blocks.space.take(size);
  blocks.live += size;
  return block;
}

void giveBlock(void* block, size_t bytes) {
  const size_t size = rounded(bytes);
  if (size < kLarge) {
    std::free(block);
    return;
  }
  LongLived& blocks = longLived();
  std::lock_guard<std::mutex> lock(blocks.mutex);
  blocks.live -= size;
  blocks.space.give(block, size);
  blocks.space.release(blocks.live);
}

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
      std::free(it->second.back());
      it->second.pop_back();
      smallKept_ -= it->first;
    }
  }
  counters_.cached = smallKept_ + large_.held() - largeLive_;
}

}  // namespace graft
