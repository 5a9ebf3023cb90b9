// What every operation works in. JavaScript appends operations to a queue and goes on; one thread executes them in order,
// with a pool behind it, so that the event loop never waits for arithmetic. Tensors are named by ids that JavaScript gives out.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "../isa/isa.h"
#include "arena.h"
#include "pool.h"

namespace graft {

struct Weight;

// A tensor's memory. `serial` names its contents: no two tensors ever have the same.
struct Buffer {
  void* data = nullptr;
  size_t bytes = 0;
  uint64_t serial = 0;
};

class Runtime;

// The arguments of one operation, read in the order in which they were written.
class Args {
 public:
  Args(Runtime& runtime, const double* from, size_t count) : runtime_(runtime), at_(from), end_(from + count) {}

  double number() {
    if (at_ == end_) throw std::out_of_range("an operation was given too few arguments");
    return *at_++;
  }
  float real() { return static_cast<float>(number()); }
  int64_t integer() { return static_cast<int64_t>(number()); }
  bool flag() { return number() != 0; }
  // A count, then so many integers.
  std::vector<int64_t> integers();
  size_t left() const { return static_cast<size_t>(end_ - at_); }

  // A tensor's id: its buffer. -1: nullptr.
  const Buffer* tensor();
  const float* floats() { const Buffer* b = tensor(); return b == nullptr ? nullptr : static_cast<const float*>(b->data); }
  const int32_t* ints() { const Buffer* b = tensor(); return b == nullptr ? nullptr : static_cast<const int32_t*>(b->data); }
  const uint8_t* bytes() { const Buffer* b = tensor(); return b == nullptr ? nullptr : static_cast<const uint8_t*>(b->data); }
  // The id of a tensor that the operation makes, with room for so many elements of 4 bytes; -1: nullptr, not asked for.
  float* output(size_t elements) { return static_cast<float*>(outputBytes(elements * 4)); }
  void* outputBytes(size_t bytes);
  // A frozen weight's id.
  const Weight* weight();

 private:
  Runtime& runtime_;
  const double* at_;
  const double* end_;
};

// Memory for the length of an operation.
template <class T>
class Scratch {
 public:
  Scratch(Arena& arena, size_t elements) : arena_(&arena), bytes_(elements * sizeof(T)), data_(static_cast<T*>(arena.take(bytes_))) {}
  Scratch(Scratch&& other) noexcept : arena_(other.arena_), bytes_(other.bytes_), data_(other.data_) { other.data_ = nullptr; }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (data_ != nullptr) arena_->give(data_, bytes_);
  }
  T* get() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  Arena* arena_;
  size_t bytes_;
  T* data_;
};

class Prepacked;
using Operation = void (*)(Runtime&, Args&);
struct NamedOperation {
  const char* name;
  Operation run;
};

class Runtime {
 public:
  Runtime(const Isa& isa, int threads);
  // Waits until everything enqueued is done, unless it was abandoned.
  ~Runtime();

  const Isa& isa;
  Pool pool;
  Arena arena;

  // --- JavaScript's thread ---
  void enqueue(Operation operation, const char* name, const double* args, size_t count);
  // `bytes`: memory that the task holds until it has run. JavaScript waits while too much of it is on its way.
  void enqueue(std::function<void()> task, const char* name = "task", size_t bytes = 0);
  // Waits until everything enqueued so far is done; throws what an operation has thrown since the last wait.
  void drain();
  // Runs `done` on the executing thread after everything enqueued so far, with the error if there was one.
  void after(std::function<void(std::exception_ptr)> done);
  // Time spent in each operation since it was last asked for; only where nothing is under way.
  struct Spent {
    uint64_t calls = 0;
    double seconds = 0;
  };
  std::map<std::string, Spent> takeProfile();
  // Lets go of what is enqueued, undone: the process is on its way out.
  void abandon();

  // --- the executing thread ---
  Buffer& slot(int64_t id);
  void* make(int64_t id, size_t bytes);
  // Takes over a block of the arena as the tensor's memory.
  void adopt(int64_t id, void* block, size_t bytes);
  void release(int64_t id);
  const Weight* weight(int64_t id) const;
  void adoptWeight(int64_t id, Weight* weight);
  void releaseWeight(int64_t id);

  template <class T>
  Scratch<T> scratch(size_t elements) { return Scratch<T>(arena, elements); }

  // The packed left side of the last product, where that was one whole tensor of few rows, by its serial: the projections of one input
  // follow each other.
  struct PackedLeft {
    uint64_t serial = 0;
    std::shared_ptr<const Prepacked> packed;
  } packedLeft;

 private:
  struct Command {
    Operation operation;
    const char* name;
    // Of an operation, among the numbers of its batch.
    size_t from, count;
    std::function<void()> task;
    size_t bytes;
  };
  // What is enqueued while the batch before is executed; both keep their memory, so that a call allocates nothing.
  struct Batch {
    std::vector<Command> commands;
    std::vector<double> numbers;
    void clear() {
      commands.clear();
      numbers.clear();
    }
  };
  void loop();
  void execute(const Command& command, const double* numbers);
  void fail(const std::string& message);

  // A deque: operations hold references while they make further tensors.
  std::deque<Buffer> slots_;
  std::vector<Weight*> weights_;
  uint64_t nextSerial_ = 1;
  // Tensors that the operation under way has made.
  std::vector<int64_t> made_;
  // By the operation's name, which is one pointer for each.
  std::unordered_map<const char*, Spent> profile_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable room_;
  Batch waiting_;
  size_t waitingBytes_ = 0;
  bool stopping_ = false;
  std::atomic<bool> abandoned_{false};
  std::exception_ptr error_;
  std::thread thread_;
};

// Every operation by name; each file of ops/ adds its own list.
const std::vector<NamedOperation>& operations();

}  // namespace graft
