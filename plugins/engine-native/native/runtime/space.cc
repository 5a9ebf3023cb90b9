#include "space.h"

#include <algorithm>
#include <iterator>
#include <new>

#include <sys/mman.h>

namespace graft {

namespace {

// Reserved at once: no memory until it is used.
constexpr size_t kRange = size_t{1} << 30;

void* reserved(size_t bytes) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#if defined(MAP_NORESERVE)
  // A larger range is of one block, all of it to be used: the system shall say now where it can't be had.
  if (bytes < 2 * kRange) flags |= MAP_NORESERVE;
#endif
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  return base == MAP_FAILED ? nullptr : base;
}
void giveBack(void* from, size_t bytes) {
#if defined(__linux__)
  madvise(from, bytes, MADV_DONTNEED);
#else
  madvise(from, bytes, MADV_FREE);
#endif
}

}  // namespace

Space::~Space() {
  for (const auto& [base, bytes] : ranges_) munmap(base, bytes);
}

// A range begins and ends at a chunk.
void Space::reserve(size_t bytes) {
  const size_t needed = (bytes + kChunk - 1) / kChunk * kChunk;
  size_t size = std::max(kRange, needed);
  auto* base = static_cast<char*>(reserved(size + kChunk));
  // Where the system counts what is reserved, as much as is needed may still be had.
  if (base == nullptr) base = static_cast<char*>(reserved((size = needed) + kChunk));
  if (base == nullptr) throw std::bad_alloc();
  const size_t before = (kChunk - reinterpret_cast<uintptr_t>(base) % kChunk) % kChunk;
  if (before > 0) munmap(base, before);
  if (before < kChunk) munmap(base + before + size, kChunk - before);
#if defined(MADV_HUGEPAGE)
  madvise(base + before, size, MADV_HUGEPAGE);
#endif
  ranges_[base + before] = size;
  addFree(base + before, size);
}

void Space::removeFree(std::map<char*, size_t>::iterator part) {
  bySize_.erase({part->second, part->first});
  free_.erase(part);
}

void Space::addFree(char* from, size_t bytes) {
  auto next = free_.lower_bound(from);
  if (next != free_.end() && from + bytes == next->first) {
    bytes += next->second;
    removeFree(next++);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == from) {
      from = previous->first;
      bytes += previous->second;
      removeFree(previous);
    }
  }
  free_[from] = bytes;
  bySize_.insert({bytes, from});
}

// The smallest part that holds it: the largest one is what was never used.
void* Space::take(size_t bytes) {
  auto found = bySize_.lower_bound({bytes, nullptr});
  if (found == bySize_.end()) {
    reserve(bytes);
    found = bySize_.lower_bound({bytes, nullptr});
  }
  const auto [size, block] = *found;
  removeFree(free_.find(block));
  if (size > bytes) addFree(block + bytes, size - bytes);
  const auto first = reinterpret_cast<uintptr_t>(block) / kChunk, last = (reinterpret_cast<uintptr_t>(block) + bytes - 1) / kChunk;
  for (uintptr_t chunk = first; chunk <= last; chunk++) touched_.insert(chunk);
  return block;
}

void Space::give(void* block, size_t bytes) { addFree(static_cast<char*>(block), bytes); }

void Space::release(size_t most) {
  for (auto part = bySize_.rbegin(); part != bySize_.rend() && part->first >= kChunk && held() > most; ++part) {
    const auto from = reinterpret_cast<uintptr_t>(part->second);
    // The chunks that are wholly free, from the end.
    const uintptr_t begin = (from + kChunk - 1) / kChunk, end = (from + part->first) / kChunk;
    auto at = touched_.lower_bound(end);
    while (held() > most && at != touched_.begin() && *std::prev(at) >= begin) {
      --at;
      giveBack(reinterpret_cast<void*>(*at * kChunk), kChunk);
      at = touched_.erase(at);
    }
  }
}

}  // namespace graft
