// Large blocks, cut from address space that is reserved in ranges. Free neighbours become one again, so that batches of other lengths,
// which ask for other sizes, find the memory of those before them instead of fresh pages.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace graft {

class Space {
 public:
  // Sizes are multiples of this.
  static constexpr size_t kStep = size_t{32} << 10;

  Space() = default;
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;
  ~Space();

  // Throws std::bad_alloc.
  void* take(size_t bytes);
  void give(void* block, size_t bytes);
  // Gives the memory of what is free back to the system until at most `most` bytes are held, or nothing more can be given.
  void release(size_t most);
  // Bytes of memory behind it, of blocks in use and of those that are kept for reuse.
  size_t held() const { return touched_.size() * kChunk; }

 private:
  // Memory comes and goes in huge pages.
  static constexpr size_t kChunk = size_t{2} << 20;

  void reserve(size_t bytes);
  void addFree(char* from, size_t bytes);
  void removeFree(std::map<char*, size_t>::iterator part);

  std::map<char*, size_t> ranges_;
  // The free parts by address, and by size.
  std::map<char*, size_t> free_;
  std::set<std::pair<size_t, char*>> bySize_;
  // The chunks that have been part of a block since they last were the system's.
  std::set<uintptr_t> touched_;
};

}  // namespace graft
