#include "runtime.h"

#include "../ops/weight.h"

namespace graft {

namespace {
// JavaScript waits when it is so far ahead.
constexpr size_t kMostWaiting = 1 << 16;
}  // namespace

std::vector<int64_t> Args::integers() {
  const int64_t count = integer();
  if (count < 0 || static_cast<size_t>(count) > left()) throw std::out_of_range("an operation was given too few arguments");
  std::vector<int64_t> values(static_cast<size_t>(count));
  for (auto& value : values) value = integer();
  return values;
}

const Buffer* Args::tensor() {
  const int64_t id = integer();
  return id < 0 ? nullptr : &runtime_.slot(id);
}

void* Args::outputBytes(size_t bytes) {
  const int64_t id = integer();
  return id < 0 ? nullptr : runtime_.make(id, bytes);
}

const Weight* Args::weight() { return runtime_.weight(integer()); }

Runtime::Runtime(const Isa& chosen, int threads) : isa(chosen), pool(threads), thread_([this] { loop(); }) {}

Runtime::~Runtime() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  packedLeft.memory.clear();
  for (auto& buffer : slots_) {
    if (buffer.data != nullptr) arena.give(buffer.data, buffer.bytes);
  }
  for (Weight* weight : weights_) delete weight;
}

void Runtime::enqueue(Operation operation, const char* name, const double* args, size_t count) {
  std::unique_lock<std::mutex> lock(mutex_);
  room_.wait(lock, [&] { return queue_.size() < kMostWaiting; });
  const bool wasEmpty = queue_.empty();
  queue_.emplace_back();
  Command& command = queue_.back();
  command.operation = operation;
  command.name = name;
  command.args.assign(args, args + count);
  lock.unlock();
  if (wasEmpty) wake_.notify_one();
}

void Runtime::enqueue(std::function<void()> task, const char* name) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.emplace_back();
    queue_.back().name = name;
    queue_.back().task = std::move(task);
  }
  wake_.notify_one();
}

void Runtime::after(std::function<void(std::exception_ptr)> done) {
  enqueue([this, done = std::move(done)] {
    std::exception_ptr error;
    std::swap(error, error_);
    done(error);
  });
}

void Runtime::drain() {
  std::mutex mutex;
  std::condition_variable reached;
  bool isDone = false;
  std::exception_ptr error;
  after([&](std::exception_ptr thrown) {
    std::lock_guard<std::mutex> lock(mutex);
    error = thrown;
    isDone = true;
    reached.notify_one();
  });
  std::unique_lock<std::mutex> lock(mutex);
  reached.wait(lock, [&] { return isDone; });
  if (error != nullptr) std::rethrow_exception(error);
}

void Runtime::loop() {
  std::deque<Command> batch;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      batch.swap(queue_);
    }
    room_.notify_one();
    for (auto& command : batch) execute(command);
    batch.clear();
  }
}

// An operation that throws leaves its outputs unmade; what reads them throws in turn, and the first error is what is told.
void Runtime::execute(Command& command) {
  try {
    if (command.task) {
      command.task();
      return;
    }
    Args args(*this, command.args.data(), command.args.size());
    command.operation(*this, args);
  } catch (const std::bad_alloc&) {
    if (error_ == nullptr) error_ = std::make_exception_ptr(std::runtime_error(std::string("out of memory in ") + command.name));
  } catch (const std::exception& error) {
    if (error_ == nullptr) error_ = std::make_exception_ptr(std::runtime_error(std::string(command.name) + ": " + error.what()));
  }
}

Buffer& Runtime::slot(int64_t id) {
  if (id < 0 || static_cast<size_t>(id) >= slots_.size() || slots_[static_cast<size_t>(id)].data == nullptr) {
    throw std::runtime_error("tensor " + std::to_string(id) + " has no value: the operation that makes it failed");
  }
  return slots_[static_cast<size_t>(id)];
}

void* Runtime::make(int64_t id, size_t bytes) {
  void* block = arena.take(bytes);
  adopt(id, block, bytes);
  return block;
}

void Runtime::adopt(int64_t id, void* block, size_t bytes) {
  if (static_cast<size_t>(id) >= slots_.size()) slots_.resize(static_cast<size_t>(id) * 2 + 64);
  Buffer& buffer = slots_[static_cast<size_t>(id)];
  if (buffer.data != nullptr) arena.give(buffer.data, buffer.bytes);
  buffer = Buffer{block, bytes, nextSerial_++};
}

void Runtime::release(int64_t id) {
  if (static_cast<size_t>(id) >= slots_.size()) return;
  Buffer& buffer = slots_[static_cast<size_t>(id)];
  if (buffer.data != nullptr) arena.give(buffer.data, buffer.bytes);
  buffer = Buffer{};
}

const Weight* Runtime::weight(int64_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= weights_.size() || weights_[static_cast<size_t>(id)] == nullptr) throw std::runtime_error("a frozen weight was used after it was disposed");
  return weights_[static_cast<size_t>(id)];
}

void Runtime::adoptWeight(int64_t id, Weight* weight) {
  if (static_cast<size_t>(id) >= weights_.size()) weights_.resize(static_cast<size_t>(id) * 2 + 64, nullptr);
  weights_[static_cast<size_t>(id)] = weight;
}

void Runtime::releaseWeight(int64_t id) {
  delete weights_[static_cast<size_t>(id)];
  weights_[static_cast<size_t>(id)] = nullptr;
}

}  // namespace graft
