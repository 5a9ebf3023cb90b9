#include "mapping.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace graft {

namespace {

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw std::runtime_error("can't open " + path + ": " + std::strerror(errno));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

#if defined(MADV_POPULATE_READ)
constexpr int kPopulateRead = MADV_POPULATE_READ;
#elif defined(__linux__)
constexpr int kPopulateRead = 22;
#else
constexpr int kPopulateRead = MADV_WILLNEED;
#endif

// Pages of a mapping count as this process's memory from when they are read until they are let go. Products read a matrix from end to end,
// some of them many times over, and the next product reads another: a matrix goes when another mapping is read, so that one at most is
// resident, and no page is asked for twice in a product.
class MappedStorage : public Storage {
 public:
  MappedStorage(void* base, size_t length, size_t skip, size_t bytes) : base_(static_cast<char*>(base)), length_(length), skip_(skip), bytes_(bytes) {}
  ~MappedStorage() override {
    const MappedStorage* self = this;
    lastRead_.compare_exchange_strong(self, nullptr);
    munmap(base_, length_);
  }
  const void* data() const override { return base_ + skip_; }
  size_t bytes() const override { return bytes_; }
  void reading() const override {
    if (lastRead_.load(std::memory_order_relaxed) == this) return;
    const MappedStorage* before = lastRead_.exchange(this);
    if (before != nullptr && before != this) madvise(before->base_, before->length_, MADV_DONTNEED);
    // All pages at once where the system can (Linux 5.14), rather than a fault for every few of them.
    madvise(base_, length_, kPopulateRead);
  }

 private:
  static std::atomic<const MappedStorage*> lastRead_;
  char* base_;
  size_t length_, skip_, bytes_;
};

std::atomic<const MappedStorage*> MappedStorage::lastRead_{nullptr};

// One read of the operating system, at most.
constexpr int64_t kReadBytes = int64_t{1} << 30;

}  // namespace

std::unique_ptr<Storage> readFile(const std::string& path, int64_t offset, int64_t bytes) {
  Descriptor file(path);
  auto storage = std::make_unique<OwnedStorage>(static_cast<size_t>(bytes));
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t count = pread(file.get(), static_cast<char*>(storage->writable()) + done, static_cast<size_t>(std::min(bytes - done, kReadBytes)), offset + done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw std::runtime_error("can't read " + path + ": " + (count == 0 ? "it is shorter than its header says" : std::strerror(errno)));
    done += count;
  }
  return storage;
}

std::unique_ptr<Storage> mapFile(const std::string& path, int64_t offset, int64_t bytes) {
  Descriptor file(path);
  struct stat status;
  if (fstat(file.get(), &status) != 0) throw std::runtime_error("can't map " + path + ": " + std::strerror(errno));
  // Reading a mapping beyond the end of its file ends the process.
  if (status.st_size < offset + bytes) throw std::runtime_error("can't map " + path + ": it is shorter than its header says");
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t start = offset / page * page;
  const auto skip = static_cast<size_t>(offset - start);
  const size_t length = static_cast<size_t>(bytes) + skip;
  void* base = mmap(nullptr, length, PROT_READ, MAP_PRIVATE, file.get(), start);
  if (base == MAP_FAILED) throw std::runtime_error("can't map " + path + ": " + std::strerror(errno));
  return std::make_unique<MappedStorage>(base, length, skip, static_cast<size_t>(bytes));
}

}  // namespace graft
