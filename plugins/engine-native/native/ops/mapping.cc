#include "mapping.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <sys/mman.h>
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

class MappedStorage : public Storage {
 public:
  MappedStorage(void* base, size_t length, size_t skip, size_t bytes) : base_(base), length_(length), skip_(skip), bytes_(bytes) {}
  ~MappedStorage() override { munmap(base_, length_); }
  const void* data() const override { return static_cast<const char*>(base_) + skip_; }
  size_t bytes() const override { return bytes_; }
  void used(size_t, size_t) const override { madvise(base_, length_, MADV_DONTNEED); }

 private:
  void* base_;
  size_t length_, skip_, bytes_;
};

}  // namespace

std::unique_ptr<Storage> readFile(const std::string& path, int64_t offset, int64_t bytes) {
  Descriptor file(path);
  auto storage = std::make_unique<OwnedStorage>(static_cast<size_t>(bytes));
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t count = pread(file.get(), static_cast<char*>(storage->writable()) + done, static_cast<size_t>(bytes - done), offset + done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw std::runtime_error("can't read " + path + ": " + (count == 0 ? "it is shorter than its header says" : std::strerror(errno)));
    done += count;
  }
  return storage;
}

std::unique_ptr<Storage> mapFile(const std::string& path, int64_t offset, int64_t bytes) {
  Descriptor file(path);
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t start = offset / page * page;
  const auto skip = static_cast<size_t>(offset - start);
  const size_t length = static_cast<size_t>(bytes) + skip;
  void* base = mmap(nullptr, length, PROT_READ, MAP_PRIVATE, file.get(), start);
  if (base == MAP_FAILED) throw std::runtime_error("can't map " + path + ": " + std::strerror(errno));
  return std::make_unique<MappedStorage>(base, length, skip, static_cast<size_t>(bytes));
}

}  // namespace graft
